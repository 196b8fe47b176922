"""Attacks on rows, on training code and on pretrained models. Malicious agents live in `antivenom.federated`."""

from antivenom.attacks.backdoor import BadNets
from antivenom.attacks.kkt import KKTAttack
from antivenom.attacks.labels import LabelFlipping
from antivenom.attacks.logic import BlindBackdoor
from antivenom.attacks.min_max import MinMax
from antivenom.attacks.nothing import NoAttack
from antivenom.attacks.transfer import RIPPLe
from antivenom.attacks.triggers import Patch, Stamp

__all__ = ["BadNets", "BlindBackdoor", "KKTAttack", "LabelFlipping", "MinMax", "NoAttack", "Patch", "RIPPLe", "Stamp"]
