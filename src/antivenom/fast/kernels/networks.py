"""Sorting networks: fixed sequences of comparisons that sort any values.

Since the comparisons do not depend on the values, a network sorts many columns at once by vector minima and maxima.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

import numpy as np

BOTH, LOWER, UPPER = 0, 1, 2  # which results of a comparison later comparisons or the output use


def batcher(n: int) -> list[tuple[int, int]]:
    """Batcher's network for n values: comparisons (i, j) that put the lower value into i. There are O(n log^2 n).

    The recursion is depth first: one half is sorted before the other is touched. So few values are live at any time, and
    more of them fit into registers.

    Reference: Batcher 1968, odd-even merge sort, for any n.
    """
    pairs = []

    def merged(a: list[int], b: list[int]) -> list[int]:
        if not (a and b):
            return a + b
        if len(a) == len(b) == 1:
            pairs.append((a[0], b[0]))
            return a + b
        even, odd = merged(a[::2], b[::2]), merged(a[1::2], b[1::2])
        pairs.extend(zip(odd, even[1:], strict=False))
        return even[:1] + [k for two in zip_longest(odd, even[1:]) for k in two if k is not None]

    def ordered(rows: list[int]) -> list[int]:
        half = len(rows) // 2
        return merged(ordered(rows[:half]), ordered(rows[half:])) if half else rows

    place = {row: k for k, row in enumerate(ordered(list(range(n))))}
    return [(place[i], place[j]) for i, j in pairs]


def selection(n: int, first: int, last: int) -> tuple[tuple[int, int, int], ...]:
    """Comparisons (i, j, used) that give rows `first` to `last` (both included) their sorted values.

    This is Batcher's network without the comparisons on which none of these rows depends. `used` is BOTH, LOWER or UPPER.
    """
    kept = []
    needed = set(range(first, last + 1))
    for i, j in reversed(batcher(n)):
        used = (i in needed, j in needed)
        if not any(used):
            continue
        kept.append((i, j, BOTH if all(used) else LOWER if used[0] else UPPER))
        needed |= {i, j}
    return tuple(kept[::-1])


def apply(pairs: Iterable[Iterable[int]], values: np.ndarray) -> np.ndarray:
    """Run a network on the rows of `values` in numpy; the oracle of the compiled form in tests."""
    rows = values.copy()
    for i, j, used in pairs:
        low, high = np.minimum(rows[i], rows[j]), np.maximum(rows[i], rows[j])
        if used != UPPER:
            rows[i] = low
        if used != LOWER:
            rows[j] = high
    return rows
