"""Order statistics of columns: by a sorting network in vector registers, or by `np.sort` if there are many rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch

from antivenom.fast.kernels import plain
from antivenom.fast.kernels.assembly import ColumnCode, Kernel
from antivenom.fast.kernels.networks import LOWER, UPPER, selection
from antivenom.fast.kernels.threads import over_columns

_MAX_NETWORK_ROWS = 256  # with more rows a network takes seconds to compile and is hardly faster than sorting
_BLOCK = 1 << 18  # numbers that are sorted at a time


def means(x: np.ndarray, first: int, last: int) -> tuple[np.ndarray, bool]:
    """(d,) mean of the order statistics `first` to `last` (both included) of each column of x (n, d).

    The second value is False if x is not finite or a sum overflows; the means are then meaningless.
    """
    rows = np.arange(len(x))
    if len(rows) > _MAX_NETWORK_ROWS:
        return _by_sorting(x, rows, lambda ordered: ordered[first : last + 1].mean(axis=0))
    return _by_network(x, rows, _mean(x.dtype.char, len(rows), first, last))


def nearest(x: np.ndarray, keep: int, rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """(d,) mean of those `keep` values of each column that are nearest to the column's median, among the given rows.

    The second value is False if these rows are not finite or a sum overflows; the means are then meaningless.
    """
    if len(rows) > _MAX_NETWORK_ROWS:
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
            finite &= bool(np.isfinite(ordered[[0, -1]]).all())  # numpy sorts NaN last, so the extremes tell
            out[taken] = rule(ordered)
        return finite

    return out, all(over_columns(x, work))


def _by_network(x: np.ndarray, rows: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, bool]:
    d = x.shape[1]
    if d < kernel.width:
        x = np.pad(x, ((0, 0), (0, kernel.width - d)))
    out = np.empty(x.shape[1], x.dtype)
    addresses = x.ctypes.data + x.strides[0] * rows
    seen = over_columns(x, lambda begin, end: kernel(addresses.ctypes.data, begin, end, out.ctypes.data))
    return out[:d], all(each == 0 for each in seen)


@lru_cache(maxsize=256)
def _mean(kind: str, n: int, first: int, last: int) -> Kernel:
    code = ColumnCode(kind)
    values, total = _sorted(code, n, first, last)
    mean = code.divide(code.sum(values), len(values))
    return code.kernel(mean, code.add(total, mean))


@lru_cache(maxsize=256)
def _mean_around_median(kind: str, n: int, keep: int) -> Kernel:
    """Code for `nearest`. In sorted order the nearest values form a window: the first one with the least distance from
    the median to its farther end.
    """
    code = ColumnCode(kind)
    values, total = _sorted(code, n, 0, n - 1)
    middle = code.divide(code.add(values[(n - 1) // 2], values[n // 2]), 2)
    reaches = [
        code.maximum(code.subtract(middle, values[s]), code.subtract(values[s + keep - 1], middle))
        for s in range(n - keep + 1)
    ]
    first = code.first_least(reaches)
    inside = [code.in_window(value, k, first, keep) for k, value in enumerate(values)]
    mean = code.divide(code.sum(inside), keep)
    return code.kernel(mean, code.sum([total, middle, mean]))


def _sorted(code: ColumnCode, n: int, first: int, last: int) -> tuple[list[str], str]:
    """Code for the sorted values `first` to `last` of n rows, and for the sum of all values, which shows NaN and infinity.

    A row is loaded just before its first comparison, so that it occupies a register no longer than necessary.
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
