"""Attacks on rows, on training code and on pretrained models. Malicious agents live in `antivenom.federated`."""

from antivenom.attacks.backdoor import BadNets
from antivenom.attacks.labels import LabelFlipping
from antivenom.attacks.logic import BlindBackdoor
from antivenom.attacks.nothing import NoAttack
from antivenom.attacks.regression import RegressionPoisoning, StatP
from antivenom.attacks.subpopulation import SubpopulationAttack
from antivenom.attacks.transfer import RIPPLe
from antivenom.attacks.triggers import Patch, Stamp

__all__ = [
    "BadNets",
    "BlindBackdoor",
    "LabelFlipping",
    "NoAttack",
    "Patch",
    "RIPPLe",
    "RegressionPoisoning",
    "Stamp",
    "StatP",
    "SubpopulationAttack",
]
