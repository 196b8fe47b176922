"""Find out how a machine-learning pipeline can be poisoned, and what stops it.

The names below are looked up when they are first used, so that `import antivenom` loads neither torch nor anything else.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antivenom.artifacts import convert, detonate, guard, safe_load, sign, verify
    from antivenom.auditing.comparing import Comparison, compare
    from antivenom.certify.bounds import Bound, certified_bound
    from antivenom.core.outcome import Outcome
    from antivenom.core.registry import (
        agent,
        architecture,
        attack,
        client_detector,
        estimator,
        evasion,
        feature_map,
        gate,
        goal,
        local_training,
        logic_attack,
        mitigation,
        model_attack,
        model_detector,
        partition,
        robust_learner,
        sanitizer,
        scenario,
        trigger,
        wanted,
    )
    from antivenom.core.streams import Streams
    from antivenom.core.threat import Access, Goal, ThreatModel
    from antivenom.core.verdict import Verdict
    from antivenom.data import Dataset, Poison, load
    from antivenom.defences.defended import Defended
    from antivenom.defences.sanitize import Sanitized, sanitize
    from antivenom.defences.suspects import Suspects, suspects
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
    from antivenom.pipelines import Audit, assert_robust, audit
    from antivenom.scenarios.acceptance import Acceptance
    from antivenom.scenarios.central import Central
    from antivenom.scenarios.federated import Federated
    from antivenom.scenarios.membership import Membership
    from antivenom.scenarios.transfer import Transfer
    from antivenom.search import WorstCase, worst_case

    __version__: str

__all__ = [
    "Acceptance",
    "Access",
    "AlternatingMinimization",
    "Audit",
    "BenignEstimation",
    "Bound",
    "Central",
    "Comparison",
    "Dataset",
    "Defended",
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
    "Outcome",
    "Poison",
    "Sanitized",
    "StealthyPoisoning",
    "Streams",
    "Suspects",
    "ThreatModel",
    "Transfer",
    "Verdict",
    "WithHonest",
    "WorstCase",
    "__version__",
    "agent",
    "aggregator",
    "architecture",
    "assert_robust",
    "attack",
    "audit",
    "certified_bound",
    "client_detector",
    "compare",
    "convert",
    "detonate",
    "estimator",
    "evasion",
    "feature_map",
    "gate",
    "goal",
    "guard",
    "load",
    "local_training",
    "logic_attack",
    "mitigation",
    "model_attack",
    "model_detector",
    "partition",
    "reducer",
    "robust_learner",
    "safe_load",
    "sanitize",
    "sanitizer",
    "scenario",
    "sign",
    "suspects",
    "trigger",
    "verify",
    "wanted",
    "worst_case",
]

_ROOMS = {
    "artifacts": ("convert", "detonate", "guard", "safe_load", "sign", "verify"),
    "auditing.comparing": ("Comparison", "compare"),
    "certify.bounds": ("Bound", "certified_bound"),
    "data": ("Dataset", "Poison", "load"),
    "defences.defended": ("Defended",),
    "defences.sanitize": ("Sanitized", "sanitize"),
    "defences.suspects": ("Suspects", "suspects"),
    "federated.aggregation": ("aggregator", "reducer"),
    "core.registry": (
        *("agent", "architecture", "attack", "client_detector", "estimator", "evasion", "feature_map", "gate"),
        *(
            "local_training",
            "logic_attack",
            "mitigation",
            "model_attack",
            "model_detector",
            "partition",
            "robust_learner",
            "sanitizer",
        ),
        *("goal", "scenario", "trigger", "wanted"),
    ),
    "core.outcome": ("Outcome",),
    "pipelines": ("Audit", "assert_robust", "audit"),
    "core.streams": ("Streams",),
    "scenarios.acceptance": ("Acceptance",),
    "scenarios.central": ("Central",),
    "scenarios.federated": ("Federated",),
    "scenarios.membership": ("Membership",),
    "scenarios.transfer": ("Transfer",),
    "search": ("WorstCase", "worst_case"),
    "core.threat": ("Access", "Goal", "ThreatModel"),
    "core.verdict": ("Verdict",),
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
