"""Federated learning: the round engine, malicious agents, aggregation rules and client detectors."""

from antivenom.data.shards import IID, Dirichlet
from antivenom.federated.agents import (
    AlternatingMinimization,
    BenignEstimation,
    Delayed,
    DirtyLabel,
    ExplicitBoosting,
    HoldOff,
    ImplicitBoosting,
    StealthyPoisoning,
    WithHonest,
)
from antivenom.federated.aggregators import Krum, Mean, Median
from antivenom.federated.detectors import AccuracyCheck, RangeCheck
from antivenom.federated.engine import Federation, Round, Weighting
from antivenom.registry import partition

# Partitions are values below the registry, so they are entered here, where they are used.
partition(cite="McMahan et al. 2017, arXiv:1602.05629")(IID)
partition(cite="Hsu et al. 2019, arXiv:1909.06335")(Dirichlet)

__all__ = [
    "IID",
    "AccuracyCheck",
    "AlternatingMinimization",
    "BenignEstimation",
    "Delayed",
    "Dirichlet",
    "DirtyLabel",
    "ExplicitBoosting",
    "Federation",
    "HoldOff",
    "ImplicitBoosting",
    "Krum",
    "Mean",
    "Median",
    "RangeCheck",
    "Round",
    "StealthyPoisoning",
    "Weighting",
    "WithHonest",
]
