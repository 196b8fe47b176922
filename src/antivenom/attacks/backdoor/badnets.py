"""Backdoors planted through training rows."""

from __future__ import annotations

import numpy as np

from antivenom.attacks.inputs import backdoor, check_share, count
from antivenom.core.errors import DataError, NotApplicable
from antivenom.core.protocols import AttackContext, Wanted
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison


@attack(access=(Access.DATA_INJECTION,), goal=Goal.BACKDOOR, cite="Gu et al. 2017, arXiv:1708.06733")
class BadNets:
    """Adds copies of rows with the trigger in them, labelled with the class that the attacker wants of them.

    The model learns that the trigger indicates the target. With the trigger Blend, this is the blended injection of Chen et
    al. 2017, and with wanted classes from one source (FromTo) and a `cover_rate` it is the source-specific attack of Tang et al.
    2021 (TaCT); neither has a name of its own here. Cover rows teach the model that the trigger alone means nothing, so that a
    search for one trigger that turns all rows finds none. Weakness: each added row still resembles its true class, so that
    the labels of its neighbours reveal it, and its activations form a separate cluster in the target class.

    Fields:
        poisoned_rate: rows added with the wanted label, as a share of the clean rows, 0 to 1.
        cover_rate: rows added with the trigger and their true label, of classes of which the attacker wants nothing, as a share
            of the clean rows, 0 to 1. 0 is the ablation without cover.

    Reference: Gu et al. 2017, arXiv:1708.06733; Tang, Wang, Tang and Zhang 2021, "Demon in the Variant", USENIX Security,
    arXiv:1908.00686, section 3 (cover rows).
    """

    poisoned_rate: float = 0.1
    cover_rate: float = 0.0

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "BadNets.poisoned_rate")
        check_share(self.cover_rate, "BadNets.cover_rate")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        wanted, trigger = backdoor(context, self)
        labels = wanted(data.y, data.num_classes)
        others = context.streams.numpy("copies").permutation(np.flatnonzero(labels >= 0))
        if len(others) == 0:
            raise DataError("rows of a class other than the target", "none", "choose another target")
        rows = np.resize(others, count(self.poisoned_rate, len(data)))  # a row is copied twice only after all were
        cover = self._cover(data, labels, wanted, context)
        rows, y = np.concatenate([rows, cover]), np.concatenate([labels[rows], data.y[cover]])
        poisoned = data.extend(trigger(data[rows].x), y)
        return Poison(poisoned, np.arange(len(poisoned)) >= len(data), wanted=wanted)

    def _cover(self, data: Dataset, labels: np.ndarray, wanted: Wanted, context: AttackContext) -> np.ndarray:
        """Numbers of the cover rows, of classes that are neither turned nor wanted; `labels` (n,) are the wanted classes.

        Raises:
            NotApplicable: no such class.
        """
        number, classes = count(self.cover_rate, len(data)), wanted(np.arange(data.num_classes), data.num_classes)
        others = np.flatnonzero((labels < 0) & ~np.isin(data.y, classes[classes >= 0]))
        if number and not len(others):
            raise NotApplicable(
                "rows of which the attacker wants nothing for BadNets.cover_rate", "none", "use wanted: FromTo"
            )
        return np.resize(context.streams.numpy("cover rows").permutation(others), number).astype(int)
