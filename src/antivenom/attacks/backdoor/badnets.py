"""Backdoors planted through training rows."""

from __future__ import annotations

import numpy as np

from antivenom.attacks.backdoor.planting import drawn, planted, rows_to_turn
from antivenom.attacks.inputs import backdoor, check_share, count
from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import AttackContext, Wanted
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison


@attack(
    access=(Access.DATA_INJECTION, Access.DATA_MANIPULATION),
    goal=Goal.BACKDOOR,
    cite="Gu et al. 2017, arXiv:1708.06733",
)
class BadNets:
    """Plants the trigger in rows and labels them with the class that the attacker wants of them.

    An attacker who may add rows adds copies of random rows. One who may change rows changes random rows in place, trigger and
    label, each of them once.

    The model learns that the trigger indicates the target. With the trigger Blend, this is the blended injection of Chen et
    al. 2017, and with wanted classes from one source (FromTo) and a `cover_rate` it is the source-specific attack of Tang et al.
    2021 (TaCT); neither has a name of its own here. Cover rows teach the model that the trigger alone means nothing, so that a
    search for one trigger that turns all rows finds none. Weakness: each of these rows still resembles its true class, so
    that the labels of its neighbours reveal it, and its activations form a separate cluster in the target class.

    Fields:
        poisoned_rate: rows with the wanted label, as a share of the clean rows, 0 to 1. An attacker who changes rows changes
            fewer if there are not so many rows of other classes.
        cover_rate: rows with the trigger and their true label, of classes of which the attacker wants nothing, as a share
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
        turned, labels = rows_to_turn(data, wanted)
        rows = drawn(turned, _number(self.poisoned_rate, turned, data, context), context, "copies")
        cover = self._cover(data, labels, wanted, context)
        chosen, y = np.concatenate([rows, cover]), np.concatenate([labels[rows], data.y[cover]])
        return planted(data, chosen, trigger(data[chosen].x), y, context)

    def _cover(self, data: Dataset, labels: np.ndarray, wanted: Wanted, context: AttackContext) -> np.ndarray:
        """Numbers of the cover rows, of classes that are neither turned nor wanted; `labels` (n,) are the wanted classes.

        Raises:
            NotApplicable: no such class.
        """
        classes = wanted(np.arange(data.num_classes), data.num_classes)
        others = np.flatnonzero((labels < 0) & ~np.isin(data.y, classes[classes >= 0]))
        if not count(self.cover_rate, len(data)):
            return others[:0]
        if not len(others):
            raise NotApplicable(
                "rows of which the attacker wants nothing for BadNets.cover_rate", "none", "use wanted: FromTo"
            )
        return drawn(others, _number(self.cover_rate, others, data, context), context, "cover rows")


def _number(share: float, eligible: np.ndarray, data: Dataset, context: AttackContext) -> int:
    """The number of rows in this share of the data; at most the eligible rows if the attacker changes rows in place."""
    number = count(share, len(data))
    return min(number, len(eligible)) if context.threat.access is Access.DATA_MANIPULATION else number
