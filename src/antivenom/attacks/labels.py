"""Attacks on labels alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from antivenom.attacks.terms import check_share, count, injected, mislabelled
from antivenom.data import Dataset, Poison
from antivenom.errors import DataError, PluginError
from antivenom.protocols import AttackContext
from antivenom.registry import attack
from antivenom.threat import Access, Goal


@attack(
    access=(Access.DATA_MANIPULATION,),
    goal=Goal.AVAILABILITY,
    cite="Biggio, Nelson and Laskov 2011, ACML, PMLR 20 (random flips)",
)
class LabelFlipping:
    """Gives random rows another class, drawn evenly from the wrong ones.

    Needs no knowledge of the model. Weakness: without a pattern the flips partly cancel out, so it takes many rows, and
    each of them disagrees with its neighbours. With one seed, a higher rate flips the same rows and more.

    Fields:
        poisoned_rate: share of the rows (of class `source`, if given) that get a wrong label, 0 to 1.
        source: flip only rows of this class; None is any.

    Reference: Biggio, Nelson and Laskov 2011, "Support Vector Machines Under Adversarial Label Noise", ACML, PMLR 20.
    """

    poisoned_rate: float = 0.2
    source: int | None = None

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "LabelFlipping.poisoned_rate")
        if self.source is not None and self.source < 0:
            raise PluginError("LabelFlipping.source >= 0", f"{self.source}", "name a class by its number")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        c = data.num_classes
        if c < 2 or (self.source is not None and self.source >= c):
            raise DataError(
                f"at least two classes, and source from 0 to {c - 1}",
                f"{c} classes, source {self.source}",
                "correct it",
            )
        rng = context.streams.numpy("flips")
        order, shift = rng.permutation(len(data)), rng.integers(1, c, size=len(data))
        eligible = order if self.source is None else order[data.y[order] == self.source]
        rows = eligible[: count(self.poisoned_rate, len(eligible))]
        y, mask = data.y.copy(), np.zeros(len(data), dtype=bool)
        y[rows] = (y[rows] + shift[rows]) % c
        mask[rows] = True
        return Poison(replace(data, y=y), mask)


@attack(access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Biggio, Nelson and Laskov 2012, arXiv:1206.6389")
class FlippedPoints:
    """Adds real rows under a wrong label: what the gradient attacks start from, so what their climb is worth.

    The rows are the attacker's own, if there are any, else copies of training rows; of equal streams, SVMPoisoning and
    BackGradient start from the same ones. Weakness: each disagrees with its neighbours, and many are needed.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.
        label: class that they claim; None is a random wrong one.

    Reference: Biggio, Nelson and Laskov 2012, arXiv:1206.6389, section 4 (the random label flips it compares with).
    """

    poisoned_rate: float = 0.1
    label: int | None = None

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "FlippedPoints.poisoned_rate")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        rows = data if context.rows is None else context.rows
        flipped, labels = mislabelled(rows, count(self.poisoned_rate, len(data)), context, self.label)
        return injected(data, flipped.x, labels)
