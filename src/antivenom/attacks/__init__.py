"""Attacks on rows, on training code and on pretrained models. Malicious agents live in `antivenom.federated`."""

from antivenom.attacks.backdoor import BadNets
from antivenom.attacks.labels import LabelFlipping
from antivenom.attacks.logic import BlindBackdoor
from antivenom.attacks.nothing import NoAttack
from antivenom.attacks.perturbations import (
    AdversarialPoison,
    ClassMeanShift,
    DeepConfuse,
    ErrorMinimizingNoise,
    SeparableShortcuts,
)
from antivenom.attacks.transfer import RIPPLe
from antivenom.attacks.triggers import Patch, Stamp

__all__ = [
    "AdversarialPoison",
    "BadNets",
    "BlindBackdoor",
    "ClassMeanShift",
    "DeepConfuse",
    "ErrorMinimizingNoise",
    "LabelFlipping",
    "NoAttack",
    "Patch",
    "RIPPLe",
    "SeparableShortcuts",
    "Stamp",
]
