"""Confidence intervals over seeds.

The unit of observation is the seed, never the test row: rows of one trial share one model and are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % confidence interval by Student's t.

    Fields:
        mean: the mean over the seeds.
        low, high: the ends of the interval; infinite for a single seed, which holds no information about the spread.
        n: number of seeds.
        values: one value per seed.
    """

    mean: float
    low: float
    high: float
    n: int
    values: tuple[float, ...]

    @classmethod
    def of(
        cls, values: Sequence[float], bounds: tuple[float, float] = (-1.0, 1.0), resolution: float = 0.0
    ) -> Interval | None:
        """The interval of one value per seed, or None if no value is defined.

        >>> interval = Interval.of([0.8, 0.9, 1.0])
        >>> round(interval.low, 3), interval.high
        (0.652, 1.0)

        Args:
            values: one per seed; nan values are left out.
            bounds: the range that the quantity can have, to which the interval is clipped.
            resolution: the standard error of one seed's value itself, for example of a rate over few test rows. It is a
                lower bound on the standard deviation, because few seeds may agree by chance.
        """
        numbers = np.array([v for v in values if not math.isnan(v)], dtype=float)
        n = len(numbers)
        if n == 0:
            return None
        mean = float(numbers.mean())
        if n == 1:
            return cls(mean, -math.inf, math.inf, 1, tuple(numbers))
        error = max(float(numbers.std(ddof=1)), resolution) / math.sqrt(n)
        from scipy.special import stdtrit  # here, because the import takes a second, which --dry-run can do without

        half = float(stdtrit(n - 1, 0.975)) * error
        return cls(mean, max(mean - half, bounds[0]), min(mean + half, bounds[1]), n, tuple(numbers))


def excluded_at_most(n: int) -> float:
    """With zero successes in n runs, the one-sided 95 % Clopper-Pearson upper bound on the success rate; 1 for n = 0.

    >>> round(excluded_at_most(3), 2)
    0.63
    """
    return 1.0 - 0.05 ** (1.0 / n) if n else 1.0
