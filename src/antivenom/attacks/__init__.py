"""Attacks on rows, on training code and on pretrained models. Malicious agents live in `antivenom.federated`."""

from antivenom.attacks.back_gradient import BackGradient
from antivenom.attacks.backdoor import BadNets
from antivenom.attacks.evasion import CostSensitiveAdversary, GoodWords
from antivenom.attacks.influence import InfluenceAttack
from antivenom.attacks.kkt import KKTAttack
from antivenom.attacks.labels import FlippedPoints, LabelFlipping
from antivenom.attacks.logic import BlindBackdoor
from antivenom.attacks.min_max import MinMax
from antivenom.attacks.nothing import NoAttack
from antivenom.attacks.perturbations import (
    AdversarialPoison,
    ClassMeanShift,
    DeepConfuse,
    ErrorMinimizingNoise,
    SeparableShortcuts,
)
from antivenom.attacks.regression import RegressionPoisoning, StatP
from antivenom.attacks.spam import DictionaryAttack, FocusedAttack, Pseudospam
from antivenom.attacks.subpopulation import SubpopulationAttack
from antivenom.attacks.svm import SVMPoisoning
from antivenom.attacks.transfer import RIPPLe
from antivenom.attacks.triggers import Patch, Stamp

__all__ = [
    "AdversarialPoison",
    "BackGradient",
    "BadNets",
    "BlindBackdoor",
    "ClassMeanShift",
    "CostSensitiveAdversary",
    "DeepConfuse",
    "DictionaryAttack",
    "ErrorMinimizingNoise",
    "FlippedPoints",
    "FocusedAttack",
    "GoodWords",
    "InfluenceAttack",
    "KKTAttack",
    "LabelFlipping",
    "MinMax",
    "NoAttack",
    "Patch",
    "Pseudospam",
    "RIPPLe",
    "RegressionPoisoning",
    "SVMPoisoning",
    "SeparableShortcuts",
    "Stamp",
    "StatP",
    "SubpopulationAttack",
]
