"""The result of one trial: numbers, curves over the rounds of a federation, and notes on how to read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Cell:
    """One value of a sample input, as text, before and after the attack."""

    column: str
    before: str
    after: str


@dataclass(frozen=True)
class Sample:
    """An input as an attack made it, beside the input from which it was made, for the report.

    Fields:
        kind: what it is, such as "changed row", "added row" or "test input with the trigger".
        label: the class that it carries or, for a test input, that the attacker wants.
        was: the class of the original; empty if that is not known.
        cells: some of its values, the changed ones first; empty for an image.
        changed: how many values differ from the original.
        columns: how many values the input has.
        before, after: the original and the input as pictures, (height, width) or (height, width, 3) of bytes; None if it is no
            image or the original is not known.
        known: whether there is an original to compare with. That of an added row is the closest clean row.
    """

    kind: str
    label: str
    was: str
    cells: tuple[Cell, ...] = ()
    changed: int = 0
    columns: int = 0
    before: np.ndarray | None = None
    after: np.ndarray | None = None
    known: bool = True


@dataclass(frozen=True)
class Outcome:
    """What the judge measured on the test rows, which no attack or defence saw.

    Fields:
        metrics: name -> number; nan where it is undefined.
        curves: name -> one number per round; nan where it is undefined.
        notes: whole sentences that a reader of the numbers must know, shown beside them.
        pictures: name -> an input as a picture, (height, width) or (height, width, 3) of bytes: one without the trigger, the
            same with it, and with the trigger that a detector recovered.
        samples: a few inputs as the attack made them. A scenario whose rows are private gives neither these nor pictures.
    """

    metrics: dict[str, float]
    curves: dict[str, list[float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Curve:
    """How the report labels and draws one of an outcome's curves.

    Fields:
        name: its key in `Outcome.curves`. With `band`, the keys are name_min and name_max.
        words: its label in legends and table heads.
        share: whether it is a share from 0 to 1, which is shown in percent.
        band: whether it consists of two curves, the minimum and the maximum, and is drawn as the band between them.
    """

    name: str
    words: str
    share: bool = True
    band: bool = False


@dataclass(frozen=True)
class Chart:
    """A figure of the report: curves of an outcome that share their axes.

    Fields:
        title: the measured quantity with its unit.
        curves: the curves, in the order of drawing.
    """

    title: str
    curves: tuple[Curve, ...]
