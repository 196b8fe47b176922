"""What a scenario measured: numbers, curves over rounds, and sentences a reader must know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """Measured by the judge on the test rows, which no attack or defence saw.

    Fields:
        metrics: name -> number; nan where it is undefined.
        curves: name -> one number per round; nan where it is undefined.
        notes: what a reader of the numbers must know.
    """

    metrics: dict[str, float]
    curves: dict[str, list[float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def harm_done(goal: str, own: Mapping[str, float], twin: Mapping[str, float]) -> float:
    """What an attack did in one seed, from its metrics and those of its clean twin; nan where it was not measured.

    Share of the above-chance accuracy that is lost (availability), or the rise of the target confidence (targeted), of
    the ASR (backdoor) or of the members found at 1 % false alarms (privacy).
    """
    if goal == "availability":
        above = twin.get("clean_accuracy", math.nan) - twin.get("chance_accuracy", math.nan)
        lost = twin.get("clean_accuracy", math.nan) - own.get("clean_accuracy", math.nan)
        return min(lost / above, 1.0) if above > 0 else math.nan  # below chance there is nothing more to lose
    metric = {"backdoor": "asr", "targeted": "target_confidence", "privacy": "tpr_at_1"}[goal]
    return own.get(metric, math.nan) - twin.get(metric, math.nan)
