"""Find out how a machine-learning pipeline can be poisoned, and what stops it.

The names below are looked up when they are first used, so that `import antivenom` loads neither torch nor anything else.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antivenom.artifacts import convert, detonate, guard, safe_load, sign, verify
    from antivenom.certificates import Bound, certify
    from antivenom.data import Dataset, Poison, load
    from antivenom.federated import (
        AlternatingMinimization,
        BenignEstimation,
        Delayed,
        DirtyLabel,
        ExplicitBoosting,
        Federation,
        HoldOff,
        ImplicitBoosting,
        Krum,
        Mean,
        Median,
        StealthyPoisoning,
        WithHonest,
    )
    from antivenom.federated.aggregation import aggregator, reducer
    from antivenom.registry import (
        agent,
        attack,
        client_detector,
        evasion,
        feature_map,
        logic_attack,
        mitigation,
        model,
        model_attack,
        model_detector,
        partition,
        robust_learner,
        sanitizer,
        trigger,
    )
    from antivenom.rng import Streams
    from antivenom.scenarios.central import Central
    from antivenom.scenarios.federated import Federated
    from antivenom.scenarios.membership import Membership
    from antivenom.scenarios.transfer import Transfer
    from antivenom.threat import Access, Goal, ThreatModel
    from antivenom.verdict import Verdict

    __version__: str

__all__ = [
    "Access",
    "AlternatingMinimization",
    "BenignEstimation",
    "Bound",
    "Central",
    "Dataset",
    "Delayed",
    "DirtyLabel",
    "ExplicitBoosting",
    "Federated",
    "Federation",
    "Goal",
    "HoldOff",
    "ImplicitBoosting",
    "Krum",
    "Mean",
    "Median",
    "Membership",
    "Poison",
    "StealthyPoisoning",
    "Streams",
    "ThreatModel",
    "Transfer",
    "Verdict",
    "WithHonest",
    "__version__",
    "agent",
    "aggregator",
    "attack",
    "certify",
    "client_detector",
    "convert",
    "detonate",
    "evasion",
    "feature_map",
    "guard",
    "load",
    "logic_attack",
    "mitigation",
    "model",
    "model_attack",
    "model_detector",
    "partition",
    "reducer",
    "robust_learner",
    "safe_load",
    "sanitizer",
    "sign",
    "trigger",
    "verify",
]

_ROOMS = {
    "artifacts": ("convert", "detonate", "guard", "safe_load", "sign", "verify"),
    "certificates": ("Bound", "certify"),
    "data": ("Dataset", "Poison", "load"),
    "federated.aggregation": ("aggregator", "reducer"),
    "registry": (
        *("agent", "attack", "client_detector", "evasion", "feature_map", "logic_attack", "mitigation", "model"),
        *("model_attack", "model_detector", "partition", "robust_learner", "sanitizer", "trigger"),
    ),
    "rng": ("Streams",),
    "scenarios.central": ("Central",),
    "scenarios.federated": ("Federated",),
    "scenarios.membership": ("Membership",),
    "scenarios.transfer": ("Transfer",),
    "threat": ("Access", "Goal", "ThreatModel"),
    "verdict": ("Verdict",),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        value: Any = metadata.version("antivenom")
    elif name in __all__:
        value = getattr(importlib.import_module(f"antivenom.{_HOME.get(name, 'federated')}"), name)
    else:
        raise AttributeError(f"module 'antivenom' has no attribute {name!r}")
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
