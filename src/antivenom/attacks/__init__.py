"""Attacks on rows, on training code and on pretrained models. Malicious agents live in `antivenom.federated`."""

from antivenom.attacks.back_gradient import BackGradient
from antivenom.attacks.backdoor import BadNets
from antivenom.attacks.labels import FlippedPoints, LabelFlipping
from antivenom.attacks.logic import BlindBackdoor
from antivenom.attacks.nothing import NoAttack
from antivenom.attacks.svm import SVMPoisoning
from antivenom.attacks.transfer import RIPPLe
from antivenom.attacks.triggers import Patch, Stamp

__all__ = [
    "BackGradient",
    "BadNets",
    "BlindBackdoor",
    "FlippedPoints",
    "LabelFlipping",
    "NoAttack",
    "Patch",
    "RIPPLe",
    "SVMPoisoning",
    "Stamp",
]
