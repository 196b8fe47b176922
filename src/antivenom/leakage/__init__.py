"""Leakage of training rows through poisoned data or models. Names are imported when they are first used."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from antivenom.leakage.accountant import epsilon
    from antivenom.leakage.capacity import CapacityAbuse, CorrelatedValues, LSBEncoding, SignEncoding
    from antivenom.leakage.disarm import cut_rare_units, round_mantissa
    from antivenom.leakage.dpsgd import DPSGD
    from antivenom.leakage.imprint import Imprint
    from antivenom.leakage.likelihood_ratio import curve, interval, lira, logit_scaled
    from antivenom.leakage.traps import DataTraps
    from antivenom.leakage.truth_serum import TruthSerum, UntargetedTruthSerum
    from antivenom.leakage.weights import Limits, Remark, screen

__all__ = [
    "DPSGD",
    "CapacityAbuse",
    "CorrelatedValues",
    "DataTraps",
    "Imprint",
    "LSBEncoding",
    "Limits",
    "Remark",
    "SignEncoding",
    "TruthSerum",
    "UntargetedTruthSerum",
    "curve",
    "cut_rare_units",
    "epsilon",
    "interval",
    "lira",
    "logit_scaled",
    "round_mantissa",
    "screen",
]

_ROOMS = {
    "accountant": ("epsilon",),
    "capacity": ("CapacityAbuse", "CorrelatedValues", "LSBEncoding", "SignEncoding"),
    "disarm": ("cut_rare_units", "round_mantissa"),
    "dpsgd": ("DPSGD",),
    "imprint": ("Imprint",),
    "likelihood_ratio": ("curve", "interval", "lira", "logit_scaled"),
    "weights": ("Limits", "Remark", "screen"),
    "traps": ("DataTraps",),
    "truth_serum": ("TruthSerum", "UntargetedTruthSerum"),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'antivenom.leakage' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"antivenom.leakage.{_HOME[name]}"), name)
    globals()[name] = value  # so that Python calls this function once per name
    return value
