"""Evidence on the mean of values from 0 to 1 that holds after any number of seeds, by betting.

Whoever doubts that the mean is below a limit bets on each new value at odds that are fair if the mean equals the limit. If
the doubt is right, the bettor's capital of 1 reaches 1 / error with a probability of at most `error`, at any time (Ville's
inequality). One may therefore look after every seed, and stop. No distribution is assumed: seeds may be skewed, or an
attack may work in every fifth run only.

Reference: Waudby-Smith and Ramdas 2023, "Estimating means of bounded random variables by betting", JRSS B 86, section 4
(here with constant bets, and a mixture of three).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

ERROR = 0.05  # probability of a false HELD, and of a false BREACHED, in a whole report
HELD_SHARE = 0.2  # HELD also excludes that the attack works in this share of the runs or more
BETS = ((1.0, 0.6), (0.5, 0.25), (0.2, 0.15))  # (share of the largest bet without debt, share of the capital)
_TINY = 1e-12


def below(values: np.ndarray, limit: float, error: float) -> np.ndarray:
    """(..., n) bool: whether the first 1 to n values (..., n) show that the mean is below the limit.

    Args:
        values: from 0 to 1, in the order in which they were observed.
        limit: from 0 to 1.
        error: the probability with which any entry is True although the mean is `limit` or more.
    """
    return _reached((1.0 - values) / max(1.0 - limit, _TINY), error)


def above(values: np.ndarray, limit: float, error: float) -> np.ndarray:
    """(..., n) bool: whether the first 1 to n values show that the mean is above the limit; arguments as in `below`."""
    return _reached(values / max(limit, _TINY), error)


def _reached(odds: np.ndarray, error: float) -> np.ndarray:
    """Whether the capital has reached 1 / error so far, if each value pays `odds` (..., n), whose mean is 1 at the limit."""
    with np.errstate(divide="ignore"):  # a bet of everything can be lost
        capitals = [np.log(part) + np.cumsum(np.log1p(share * (odds - 1.0)), axis=-1) for share, part in BETS]
    reached: np.ndarray = np.maximum.accumulate(np.logaddexp.reduce(capitals, axis=0), axis=-1) >= -np.log(error)
    return reached


def bounds(low_values: Sequence[float], high_values: Sequence[float], error: float) -> tuple[float, float]:
    """A lower and an upper bound on the mean, each of which fails with a probability of at most `error`.

    `below` and `above` are True for exactly the limits outside of them, to 1e-9.

    >>> low, high = bounds([0.0] * 14, [0.0] * 14, 0.05)
    >>> low, round(high, 2)
    (0.0, 0.22)

    Args:
        low_values: what is known of each seed's value at least, in the order of the seeds.
        high_values: what is known of it at most.
        error: of each bound.
    """
    return _bounds(tuple(low_values), tuple(high_values), error)


def fall(lows: Sequence[float], highs: Sequence[float]) -> tuple[int, int] | None:
    """The places of an earlier and a later mean of which the earlier is shown to be larger; None if no two are.

    >>> fall([0.0, 0.5, 0.1], [0.2, 0.7, 0.4]), fall([0.0, 0.3], [0.2, 0.6])
    ((1, 2), None)

    Args:
        lows, highs: bounds on the means. Of several such pairs it is the one with the largest gap between the bounds.
    """
    pairs = [(lows[i] - highs[j], i, j) for j in range(len(highs)) for i in range(j)]
    gap, i, j = max(pairs, default=(0.0, 0, 0))
    return (i, j) if gap > 0 else None


@functools.lru_cache(maxsize=4000)  # an audit judges the same cells again in every round
def _bounds(low_values: tuple[float, ...], high_values: tuple[float, ...], error: float) -> tuple[float, float]:
    lows, highs = np.array(low_values), np.array(high_values)
    low = _edge(lambda limit: not above(lows, limit, error).any()) if len(lows) else 0.0
    high = _edge(lambda limit: bool(below(highs, limit, error).any())) if len(highs) else 1.0
    return low, high


def _edge(holds: Callable[[float], bool]) -> float:
    """The point of [0, 1] from which on `holds` is True; 0 if it always is, 1 if it never is."""
    if holds(0.0):
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
