"""What a poisoned training set or model leaks about other people's rows. Names are looked up when they are first used."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antivenom.leakage.accountant import epsilon
    from antivenom.leakage.dpsgd import DPSGD
    from antivenom.leakage.likelihood_ratio import curve, interval, lira, logit_scaled
    from antivenom.leakage.truth_serum import TruthSerum, UntargetedTruthSerum

__all__ = ["DPSGD", "TruthSerum", "UntargetedTruthSerum", "curve", "epsilon", "interval", "lira", "logit_scaled"]

_ROOMS = {
    "accountant": ("epsilon",),
    "dpsgd": ("DPSGD",),
    "likelihood_ratio": ("curve", "interval", "lira", "logit_scaled"),
    "truth_serum": ("TruthSerum", "UntargetedTruthSerum"),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'antivenom.leakage' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"antivenom.leakage.{_HOME[name]}"), name)
    globals()[name] = value  # asked for once
    return value
