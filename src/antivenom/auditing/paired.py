"""The harms of one pair of attack and defence in two audits, compared within the seeds that both ran."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from antivenom.auditing.evidence import above, bounds
from antivenom.auditing.judging import Harms
from antivenom.auditing.statistics import Interval


class Change(enum.StrEnum):
    """What happened to a pair of attack and defence between two audits, the worst first."""

    WORSE = "worse"
    GONE = "no longer measured"
    OPEN = "no longer decided"
    BETTER = "better"
    NEW = "newly measured"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Seeds:
    """The harms of a pair of attack and defence.

    Fields:
        harms: of all seeds in their order; nan where it is not known.
        places: seed -> its place in `harms`.
    """

    harms: Harms
    places: Mapping[int, int]


@dataclass(frozen=True)
class _Paired:
    """The shared seeds of two cells.

    Fields:
        known: (harm before, harm after) of each seed in which both are known.
        least, most: the difference of every shared seed at least and at most, as each harm is known to one test row at best,
            and an unknown harm may be anything.
    """

    known: tuple[tuple[float, float], ...]
    least: np.ndarray
    most: np.ndarray

    @classmethod
    def of(cls, a: Seeds, b: Seeds) -> _Paired:
        known, least, most = [], [], []
        for seed, i in a.places.items():
            if seed not in b.places:
                continue
            j = b.places[seed]
            first, then, row = a.harms.values[i], b.harms.values[j], a.harms.rows[i] + b.harms.rows[j]
            is_known = not math.isnan(first) and not math.isnan(then)
            known += [(first, then)] if is_known else []
            least.append(max(then - first - row, -1.0) if is_known else -1.0)
            most.append(min(then - first + row, 1.0) if is_known else 1.0)
        return cls(tuple(known), np.array(least), np.array(most))

    def rises(self, tolerance: float) -> np.ndarray:
        """(n,) 1.0 for each seed whose harm rose by more than the tolerance, 0.0 for the others."""
        return (self.least > tolerance).astype(float)

    def falls(self) -> np.ndarray:
        """(n,) 1.0 for each seed whose harm fell, 0.0 for the others."""
        return (self.most < 0).astype(float)


def _difference(a: Seeds, b: Seeds, paired: _Paired, error: float) -> tuple[float, float, Interval]:
    """(mean harm before, after, the difference with its bounds, each of which fails with a probability of at most `error`).

    Half of the error goes to the paired differences, half to the bounds of the two means, which use all seeds.
    """
    low, high = bounds([*(1 + paired.least) / 2], [*(1 + paired.most) / 2], error / 2)
    earlier, later = a.harms.interval(error / 4), b.harms.interval(error / 4)
    assert earlier is not None
    assert later is not None
    low, high = max(2 * low - 1, later.low - earlier.high), min(2 * high - 1, later.high - earlier.low)
    before, after = earlier.mean, later.mean
    if paired.known:
        before, after = (float(np.mean(side)) for side in zip(*paired.known, strict=True))
    mean = after - before
    values = tuple(then - first for first, then in paired.known)
    return before, after, Interval(mean, min(low, mean), max(high, mean), len(values), values)


def judged(
    before: Seeds, after: Seeds, error: float, tolerance: float = 0.0
) -> tuple[Change, str, tuple[float, float], Interval]:
    """(what happened, why, mean harm before and after, their difference), by the harms alone.

    Args:
        before, after: the harms; some are known on both sides.
        error: the probability with which the pair may be called worse although it is not, and better although it is not.
        tolerance: as in `compare`.
    """
    paired = _Paired.of(before, after)
    *means, found = _difference(before, after, paired, error / 2)
    ends = (means[0], means[1])
    for change, is_shown, seeds, said in (
        (Change.WORSE, found.low > tolerance, paired.rises(tolerance), "rose"),
        (Change.BETTER, found.high < 0, paired.falls(), "fell"),
    ):
        if above(seeds, 0.5, error / 2).any() and 2 * seeds.sum() > len(seeds):
            return change, f"the harm {said} in {seeds.sum():.0f} of {len(seeds)} shared seeds", ends, found
        if is_shown:
            return change, f"the mean harm {said}", ends, found
    return Change.UNCHANGED, "no change shown", ends, found
