"""Order statistics of columns: by a network in vector registers or, of many rows, by sorting."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch

from antivenom.fast.kernels import plain
from antivenom.fast.kernels.assembly import Columns, Kernel
from antivenom.fast.kernels.networks import LOWER, UPPER, selection
from antivenom.fast.kernels.threads import shared

_MOST = 256  # rows beyond which a network takes seconds to compile and is hardly faster than sorting
_BLOCK = 1 << 18  # numbers sorted at a time


def means(x: np.ndarray, first: int, last: int) -> tuple[np.ndarray, bool]:
    """(d,) mean of the order statistics `first` to `last` of each column of (n, d), and whether all was finite."""
    rows = np.arange(len(x))
    if len(rows) > _MOST:
        return _by_sorting(x, rows, lambda ordered: ordered[first : last + 1].mean(axis=0))
    return _by_network(x, rows, _mean(x.dtype.char, len(rows), first, last))


def nearest(x: np.ndarray, keep: int, rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """(d,) mean of the `keep` values, among these rows', of each column nearest their median, and whether all was finite."""
    if len(rows) > _MOST:
        return _by_sorting(x, rows, lambda ordered: plain.nearest(torch.from_numpy(ordered), keep).numpy())
    return _by_network(x, rows, _mean_around_median(x.dtype.char, len(rows), keep))


def _by_sorting(x: np.ndarray, rows: np.ndarray, rule: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, bool]:
    out = np.empty(x.shape[1], x.dtype)
    step = max(1, _BLOCK // len(rows))

    def work(begin: int, end: int) -> bool:
        finite = True
        for start in range(begin, end, step):
            taken = slice(start, min(start + step, end))
            ordered = np.sort(x[rows, taken], axis=0)
            finite &= bool(np.isfinite(ordered[[0, -1]]).all())  # NaN is sorted last
            out[taken] = rule(ordered)
        return finite

    return out, all(shared(x, work))


def _by_network(x: np.ndarray, rows: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, bool]:
    d = x.shape[1]
    if d < kernel.width:
        x = np.pad(x, ((0, 0), (0, kernel.width - d)))
    out = np.empty(x.shape[1], x.dtype)
    addresses = x.ctypes.data + x.strides[0] * rows
    seen = shared(x, lambda begin, end: kernel(addresses.ctypes.data, begin, end, out.ctypes.data))
    return out[:d], all(each == 0 for each in seen)


@lru_cache(maxsize=256)
def _mean(kind: str, n: int, first: int, last: int) -> Kernel:
    code = Columns(kind)
    values, total = _sorted(code, n, first, last)
    mean = code.divide(code.sum(values), len(values))
    return code.kernel(mean, code.add(total, mean))


@lru_cache(maxsize=256)
def _mean_around_median(kind: str, n: int, keep: int) -> Kernel:
    """Sorted, the nearest values are neighbours: of all windows of that length, the first that reaches least far."""
    code = Columns(kind)
    values, total = _sorted(code, n, 0, n - 1)
    middle = code.divide(code.add(values[(n - 1) // 2], values[n // 2]), 2)
    reaches = [
        code.maximum(code.subtract(middle, values[s]), code.subtract(values[s + keep - 1], middle))
        for s in range(n - keep + 1)
    ]
    first = code.first_least(reaches)
    inside = [code.within(value, k, first, keep) for k, value in enumerate(values)]
    mean = code.divide(code.sum(inside), keep)
    return code.kernel(mean, code.sum([total, middle, mean]))


def _sorted(code: Columns, n: int, first: int, last: int) -> tuple[list[str], str]:
    """The values of n rows that sorting would put from `first` to `last`; and the sum of all, finite only if they are.

    A row is loaded where it is first compared, to be held no longer than need be.
    """
    values: dict[int, str] = {}
    total = ""

    def value(row: int) -> str:
        nonlocal total
        if row not in values:
            values[row] = code.load(row)
            total = code.add(total, values[row]) if total else values[row]
        return values[row]

    for i, j, used in selection(n, first, last):
        a, b = value(i), value(j)
        if used != UPPER:
            values[i] = code.minimum(a, b)
        if used != LOWER:
            values[j] = code.maximum(a, b)
    ordered = [value(k) for k in range(n)]
    return ordered[first : last + 1], total
