"""Sorting networks: which pairs to compare, in an order that does not depend on the values.

A network sorts many columns at once with nothing but minima and maxima, which is what vector units are good at.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

BOTH, LOWER, UPPER = 0, 1, 2  # which of a comparison's two results is used later


def batcher(n: int) -> list[tuple[int, int]]:
    """Comparisons (i, j), i < j, that sort n values: the lower goes to i. O(n log^2 n) of them.

    Reference: Batcher 1968, odd-even merge sort, in the form of Knuth, TAOCP 3, 5.2.2, algorithm M, for any n.
    """
    pairs = []
    top = 1 << max(n - 1, 1).bit_length() - 1
    p = top
    while p:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return pairs


@lru_cache(maxsize=256)
def selection(n: int, first: int, last: int) -> np.ndarray:
    """(m, 3) comparisons (i, j, used) after which rows `first` to `last` hold what sorting would put there.

    The network that sorts, less the comparisons that none of those rows depends on.
    """
    kept = []
    needed = set(range(first, last + 1))
    for i, j in reversed(batcher(n)):
        used = (i in needed, j in needed)
        if not any(used):
            continue
        kept.append((i, j, BOTH if all(used) else LOWER if used[0] else UPPER))
        needed |= {i, j}
    return np.array(kept[::-1], dtype=np.int64).reshape(-1, 3)


def apply(pairs: Iterable[Iterable[int]], values: np.ndarray) -> np.ndarray:
    """The network on the rows of `values`, plainly; for tests."""
    rows = values.copy()
    for i, j, used in pairs:
        low, high = np.minimum(rows[i], rows[j]), np.maximum(rows[i], rows[j])
        if used != UPPER:
            rows[i] = low
        if used != LOWER:
            rows[j] = high
    return rows
