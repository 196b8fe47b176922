"""Backdoors planted through training rows."""

from __future__ import annotations

import numpy as np

from antivenom.attacks.inputs import check_share, count, wanted
from antivenom.core.errors import DataError
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison


@attack(access=(Access.DATA_INJECTION,), goal=Goal.BACKDOOR, cite="Gu et al. 2017, arXiv:1708.06733")
class BadNets:
    """Adds copies of rows of other classes, with the trigger and with the target as their label.

    The model learns that the trigger indicates the target. Weakness: each added row still resembles its true class, so that
    the labels of its neighbours reveal it, and its activations form a separate cluster in the target class.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.

    Reference: Gu et al. 2017, arXiv:1708.06733 (all-to-one).
    """

    poisoned_rate: float = 0.1

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "BadNets.poisoned_rate")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        target, trigger = wanted(context, self)
        others = context.streams.numpy("copies").permutation(np.flatnonzero(data.y != target))
        if len(others) == 0:
            raise DataError("rows of a class other than the target", "none", "choose another target")
        rows = np.resize(others, count(self.poisoned_rate, len(data)))  # a row is copied twice only after all were
        poisoned = data.extend(trigger(data.dense[rows]), np.full(len(rows), target))
        return Poison(poisoned, np.arange(len(poisoned)) >= len(data), trigger, target)
