"""Malicious agents: each is a value that turns an AgentView into the updates (k, d) it sends."""

from antivenom.federated.agents.alternating import AlternatingMinimization
from antivenom.federated.agents.boosting import ExplicitBoosting, ImplicitBoosting
from antivenom.federated.agents.combinators import BenignEstimation, Delayed, HoldOff, WithHonest
from antivenom.federated.agents.dirty_label import DirtyLabel
from antivenom.federated.agents.stealthy import StealthyPoisoning

__all__ = [
    "AlternatingMinimization",
    "BenignEstimation",
    "Delayed",
    "DirtyLabel",
    "ExplicitBoosting",
    "HoldOff",
    "ImplicitBoosting",
    "StealthyPoisoning",
    "WithHonest",
]
