"""Intervals over seeds.

The unit of observation is the seed, never the test row: rows of one trial share one model and are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and an interval about it.

    Harms, which verdicts rest on, have the bounds of `antivenom.auditing.evidence`. What is only described, such as an accuracy,
    has the 95 % confidence interval by Student's t, which is too narrow for skewed values; see `of`.

    Fields:
        mean: the mean over the seeds.
        low, high: the ends of the interval; infinite if there is a single seed and the interval is Student's.
        n: number of seeds.
        values: one value per seed.
    """

    mean: float
    low: float
    high: float
    n: int
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float], bounds: tuple[float, float] = (-1.0, 1.0)) -> Interval | None:
        """The 95 % interval by Student's t of one value per seed, or None if no value is defined.

        >>> interval = Interval.of([0.8, 0.9, 1.0])
        >>> round(interval.low, 3), interval.high
        (0.652, 1.0)

        Args:
            values: one per seed; nan values are left out.
            bounds: the range that the quantity can have, to which the interval is clipped.
        """
        numbers = np.array([v for v in values if not math.isnan(v)], dtype=float)
        n = len(numbers)
        if n == 0:
            return None
        mean = float(numbers.mean())
        if n == 1:
            return cls(mean, -math.inf, math.inf, 1, tuple(numbers))
        from scipy.special import stdtrit  # here, because the import takes a second, which --dry-run can do without

        half = float(stdtrit(n - 1, 0.975)) * float(numbers.std(ddof=1)) / math.sqrt(n)
        return cls(mean, max(mean - half, bounds[0]), min(mean + half, bounds[1]), n, tuple(numbers))
