"""Two trivial sanitizers, which are the extremes of every scale."""

from __future__ import annotations

import numpy as np

from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Access, goals
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset


@sanitizer(access=tuple(Access), goal=goals(), cite="none: the sanitizer that trusts every row")
class FlagNone:
    """Trusts every row; a pipeline with it must equal one without a defence.

    It is the lower end of the scale: no detection, no false alarm, no cost. Weakness: it stops nothing.
    """

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        return Verdict(np.zeros(len(data)), np.zeros(len(data), dtype=bool))


@sanitizer(access=tuple(Access), goal=goals(), cite="none: the sanitizer that trusts no row")
class FlagAll:
    """Trusts no row, so that no rows are left for training and the trial ends with an error.

    It is the upper end of the scale: it detects every poisoned row. Weakness: it also flags every clean row.
    """

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        return Verdict(np.ones(len(data)), np.ones(len(data), dtype=bool))
