"""Backdoors planted through training rows."""

from __future__ import annotations

import numpy as np

from antivenom.attacks.inputs import backdoor, check_share, count
from antivenom.core.errors import DataError
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison


@attack(access=(Access.DATA_INJECTION,), goal=Goal.BACKDOOR, cite="Gu et al. 2017, arXiv:1708.06733")
class BadNets:
    """Adds copies of rows with the trigger in them, labelled with the class that the attacker wants of them.

    The model learns that the trigger indicates the target. With the trigger Blend, this is the blended injection of Chen et
    al. 2017, which has no name of its own here. Weakness: each added row still resembles its true class, so that
    the labels of its neighbours reveal it, and its activations form a separate cluster in the target class.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.

    Reference: Gu et al. 2017, arXiv:1708.06733.
    """

    poisoned_rate: float = 0.1

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "BadNets.poisoned_rate")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        wanted, trigger = backdoor(context, self)
        labels = wanted(data.y, data.num_classes)
        others = context.streams.numpy("copies").permutation(np.flatnonzero(labels >= 0))
        if len(others) == 0:
            raise DataError("rows of a class other than the target", "none", "choose another target")
        rows = np.resize(others, count(self.poisoned_rate, len(data)))  # a row is copied twice only after all were
        poisoned = data.extend(trigger(data[rows].x), labels[rows])
        return Poison(poisoned, np.arange(len(poisoned)) >= len(data), wanted=wanted)
