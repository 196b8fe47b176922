"""The result of one trial: numbers, curves over rounds, and sentences that a reader of the numbers must know."""

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


@dataclass(frozen=True)
class Curve:
    """How the report calls and draws one of an outcome's curves.

    Fields:
        name: its key in `Outcome.curves`. With `band`, the keys are name_min and name_max.
        words: what a legend or a table head calls it.
        share: it is a share from 0 to 1 and is shown in percent.
        band: two curves, the least and the greatest value, drawn as a band.
    """

    name: str
    words: str
    share: bool = True
    band: bool = False


@dataclass(frozen=True)
class Chart:
    """Curves of an outcome that share axes.

    Fields:
        title: what is measured, with its unit.
        curves: drawn in this order.
    """

    title: str
    curves: tuple[Curve, ...]
