"""Attacks on rows, on training code and on pretrained models. Malicious agents live in `antivenom.federated`."""

from antivenom.attacks.availability.back_gradient import BackGradient
from antivenom.attacks.availability.influence import InfluenceAttack
from antivenom.attacks.availability.kkt import KKTAttack
from antivenom.attacks.availability.labels import FlippedPoints, LabelFlipping
from antivenom.attacks.availability.min_max import MinMax
from antivenom.attacks.availability.perturbations import (
    AdversarialPoison,
    ClassMeanShift,
    DeepConfuse,
    ErrorMinimizingNoise,
    SeparableShortcuts,
)
from antivenom.attacks.availability.regression import RegressionPoisoning, StatP
from antivenom.attacks.availability.spam import DictionaryAttack, FocusedAttack, Pseudospam
from antivenom.attacks.availability.subpopulation import SubpopulationAttack
from antivenom.attacks.availability.svm import SVMPoisoning
from antivenom.attacks.backdoor.adaptive import AdaptiveBlend, AdaptivePatch
from antivenom.attacks.backdoor.badnets import BadNets
from antivenom.attacks.backdoor.clean_label import SIG, LabelConsistent, Narcissus
from antivenom.attacks.backdoor.sleeper import SleeperAgent
from antivenom.attacks.backdoor.tokens import TokenPoison
from antivenom.attacks.backdoor.warped import WaNet
from antivenom.attacks.evasion import CostSensitiveAdversary, GoodWords
from antivenom.attacks.logic.blind import BlindBackdoor
from antivenom.attacks.logic.bpp import BPP
from antivenom.attacks.logic.evasive import EvasiveBackdoor
from antivenom.attacks.logic.learned import LIRA, InputAware
from antivenom.attacks.nothing import NoAttack
from antivenom.attacks.targeted.collision import FeatureCollision
from antivenom.attacks.targeted.instance_key import InputInstanceKey
from antivenom.attacks.targeted.matching import GradientMatching
from antivenom.attacks.targeted.polytope import BullseyePolytope, ConvexPolytope
from antivenom.attacks.targeted.stingray import StingRay
from antivenom.attacks.transfer.dormant import DormantUnits
from antivenom.attacks.transfer.latent import BadEncoder, LatentBackdoor
from antivenom.attacks.transfer.pruned import PruningAware
from antivenom.attacks.transfer.ripple import RIPPLe
from antivenom.attacks.transfer.subnet import SubnetReplacement

__all__ = [
    "BPP",
    "LIRA",
    "SIG",
    "AdaptiveBlend",
    "AdaptivePatch",
    "AdversarialPoison",
    "BackGradient",
    "BadEncoder",
    "BadNets",
    "BlindBackdoor",
    "BullseyePolytope",
    "ClassMeanShift",
    "ConvexPolytope",
    "CostSensitiveAdversary",
    "DeepConfuse",
    "DictionaryAttack",
    "DormantUnits",
    "ErrorMinimizingNoise",
    "EvasiveBackdoor",
    "FeatureCollision",
    "FlippedPoints",
    "FocusedAttack",
    "GoodWords",
    "GradientMatching",
    "InfluenceAttack",
    "InputAware",
    "InputInstanceKey",
    "KKTAttack",
    "LabelConsistent",
    "LabelFlipping",
    "LatentBackdoor",
    "MinMax",
    "Narcissus",
    "NoAttack",
    "PruningAware",
    "Pseudospam",
    "RIPPLe",
    "RegressionPoisoning",
    "SVMPoisoning",
    "SeparableShortcuts",
    "SleeperAgent",
    "StatP",
    "StingRay",
    "SubnetReplacement",
    "SubpopulationAttack",
    "TokenPoison",
    "WaNet",
]
