"""Intervals over seeds. The seed is the unit, never the test image; few seeds give wide intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval over seeds.

    Fields:
        mean: over the seeds.
        low, high: Student's t; infinite for a single seed, which says nothing about spread.
        n: number of seeds.
        values: one per seed.
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
        """The interval of one value per seed, clipped to what the quantity can be; None without values.

        `resolution` is the standard error that one seed's value has in itself; seeds that agree by chance cannot make
        the interval narrower than that.
        """
        numbers = np.array([v for v in values if not math.isnan(v)], dtype=float)
        n = len(numbers)
        if n == 0:
            return None
        mean = float(numbers.mean())
        if n == 1:
            return cls(mean, -math.inf, math.inf, 1, tuple(numbers))
        error = max(float(numbers.std(ddof=1)), resolution) / math.sqrt(n)
        from scipy.special import stdtrit  # a second that a dry run need not wait

        half = float(stdtrit(n - 1, 0.975)) * error
        return cls(mean, max(mean - half, bounds[0]), min(mean + half, bounds[1]), n, tuple(numbers))


def excluded_at_most(n: int) -> float:
    """The share of runs that zero successes in n runs do not exclude: one-sided 95 % Clopper-Pearson bound."""
    return 1.0 - 0.05 ** (1.0 / n) if n else 1.0
