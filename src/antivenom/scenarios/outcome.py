"""What a scenario measured: numbers, curves over rounds, and sentences a reader must know."""

from __future__ import annotations

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
