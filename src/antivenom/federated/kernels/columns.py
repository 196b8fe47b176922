"""Kernels for a CPU, compiled once and kept on disk: each reads the matrix once, in blocks of columns that stay in cache.

Columns are shared among plain threads, since a second OpenMP runtime beside torch's slows both down. No NaN is assumed
away while loading: every kernel also says whether all it read was finite.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from antivenom.compiled import EXACT, compiled
from antivenom.federated.kernels.networks import selection

_WIDTH = 256  # columns in cache while sorting
_TILE = 512  # columns in cache while multiplying
_STRETCH = 4096  # columns of a result in cache while rows are added to it
_ALONE = 1 << 18  # numbers below which a second thread does not pay


@compiled(fastmath=EXACT)
def _load(x: Any, rows: Any, begin: int, width: int, block: Any) -> Any:  # pragma: no cover - compiled
    """Copy columns of these rows into the block; the result is 0 if all of them are finite, else NaN."""
    bad = x.dtype.type(0)
    for k in range(rows.size):
        row, to = x[rows[k], begin : begin + width], block[k, :width]
        for t in range(width):
            value = row[t]
            to[t] = value
            bad += value * 0
    return bad


@compiled(fastmath=True)
def _sort(pairs: Any, block: Any, width: int) -> None:  # pragma: no cover - compiled
    for m in range(pairs.shape[0]):
        a, b = block[pairs[m, 0]], block[pairs[m, 1]]
        if pairs[m, 2] == 0:
            for t in range(width):
                u, v = a[t], b[t]
                a[t], b[t] = min(u, v), max(u, v)
        elif pairs[m, 2] == 1:
            for t in range(width):
                a[t] = min(a[t], b[t])
        else:
            for t in range(width):
                b[t] = max(a[t], b[t])


@compiled(fastmath=EXACT)
def _average(block: Any, first: int, last: int, width: int, out: Any) -> None:  # pragma: no cover - compiled
    for t in range(width):
        out[t] = block[first, t]
    for k in range(first + 1, last + 1):
        row = block[k]
        for t in range(width):
            out[t] += row[t]
    if last > first:
        for t in range(width):
            out[t] /= last - first + 1


@compiled()
def _means(x: Any, pairs: Any, first: int, last: int, begin: int, end: int, out: Any) -> Any:  # pragma: no cover
    """Mean of the order statistics `first` to `last` of each column."""
    block = np.zeros((x.shape[0], _WIDTH), x.dtype)
    rows = np.arange(x.shape[0])
    bad = x.dtype.type(0)
    while begin < end:
        width = min(_WIDTH, end - begin)
        bad += _load(x, rows, begin, width, block)
        _sort(pairs, block, _WIDTH)
        _average(block, first, last, width, out[begin : begin + width])
        begin += width
    return bad


@compiled()
def _nearest(x: Any, rows: Any, pairs: Any, keep: int, begin: int, end: int, out: Any) -> Any:  # pragma: no cover
    """Mean of the `keep` values of each column nearest its median, neighbours in order."""
    block = np.zeros((rows.size, _WIDTH), x.dtype)
    first = np.empty(_WIDTH, np.int32)
    least = np.empty(_WIDTH, x.dtype)
    bad = x.dtype.type(0)
    while begin < end:
        width = min(_WIDTH, end - begin)
        bad += _load(x, rows, begin, width, block)
        _sort(pairs, block, _WIDTH)
        _around(block, keep, first, least, width, out[begin : begin + width])
        begin += width
    return bad


@compiled(fastmath=EXACT)
def _around(block: Any, keep: int, first: Any, least: Any, width: int, out: Any) -> None:  # pragma: no cover
    n = block.shape[0]
    low, high = block[(n - 1) // 2], block[n // 2]
    half = block.dtype.type(0.5)
    for s in range(n - keep + 1):
        a, b = block[s], block[s + keep - 1]
        for t in range(width):
            middle = (low[t] + high[t]) * half
            reach = max(middle - a[t], b[t] - middle)
            if s == 0 or reach < least[t]:
                first[t], least[t] = s, reach
    for t in range(width):
        out[t] = 0
    for k in range(n):
        row = block[k]
        for t in range(width):
            out[t] += row[t] if first[t] <= k < first[t] + keep else block.dtype.type(0)
    for t in range(width):
        out[t] /= keep


@compiled(fastmath=EXACT)
def _sizes(x: Any, begin: int, end: int, sizes: Any) -> None:  # pragma: no cover - compiled
    """For each row a number that is finite if its columns are: of single precision 0, of double the sum of squares."""
    single = x.itemsize == 4
    for k in range(x.shape[0]):
        row = x[k, begin:end]
        total = x.dtype.type(0)
        if single:
            for t in range(row.size):
                total += row[t] * 0
        else:
            for t in range(row.size):
                total += row[t] * row[t]
        sizes[k] = total


@compiled(fastmath=EXACT)
def _about(x: Any, centre: Any, begin: int, end: int, squares: Any) -> None:  # pragma: no cover - compiled
    """Add each row's sum of squared differences from the centre."""
    while begin < end:
        width = min(_TILE, end - begin)
        middle = centre[begin : begin + width]
        for k in range(x.shape[0]):
            row = x[k, begin : begin + width]
            total = x.dtype.type(0)
            for t in range(width):
                apart = row[t] - middle[t]
                total += apart * apart
            squares[k] += total
        begin += width


@compiled(fastmath=EXACT)
def _sums(c: Any, x: Any, begin: int, end: int, out: Any) -> Any:  # pragma: no cover - compiled
    """c @ x; rows are read one after another in long stretches."""
    bad = x.dtype.type(0)
    while begin < end:
        width = min(_STRETCH, end - begin)
        to, row = out[begin : begin + width], x[0, begin : begin + width]
        for t in range(width):
            to[t] = c[0] * row[t]
        for k in range(1, x.shape[0]):
            factor, row = c[k], x[k, begin : begin + width]
            for t in range(width):
                to[t] += factor * row[t]
        for t in range(width):
            bad += to[t] * 0
        begin += width
    return bad


@compiled(fastmath=EXACT)
def _products(block: Any, n: int, width: int, total: Any) -> None:  # pragma: no cover - compiled
    """Add the lower triangle of block @ block.T, nine products at a time so that each number loaded is used thrice."""
    zero = block.dtype.type(0)
    for i in range(0, n, 3):
        a, b, c = block[i], block[i + 1], block[i + 2]
        for j in range(0, i + 3, 3):
            d, e, f = block[j], block[j + 1], block[j + 2]
            ad = ae = af = bd = be = bf = cd = ce = cf = zero
            for t in range(width):
                u, v, w = a[t], b[t], c[t]
                x, y, z = d[t], e[t], f[t]
                ad += u * x
                ae += u * y
                af += u * z
                bd += v * x
                be += v * y
                bf += v * z
                cd += w * x
                ce += w * y
                cf += w * z
            total[i, j] += ad
            total[i, j + 1] += ae
            total[i, j + 2] += af
            total[i + 1, j] += bd
            total[i + 1, j + 1] += be
            total[i + 1, j + 2] += bf
            total[i + 2, j] += cd
            total[i + 2, j + 1] += ce
            total[i + 2, j + 2] += cf


@compiled(fastmath=EXACT)
def _grams(x: Any, begin: int, end: int, total: Any) -> None:  # pragma: no cover - compiled
    n, padded = x.shape[0], total.shape[0]
    block = np.zeros((padded, _TILE), x.dtype)
    centre = np.empty(_TILE, x.dtype)
    norms = np.empty(n, x.dtype)
    while begin < end:
        width = min(_TILE, end - begin)
        for k in range(n):
            row, to = x[k, begin : begin + width], block[k]
            norm = x.dtype.type(0)
            for t in range(width):
                value = row[t]
                to[t] = value
                norm += value * value
            norms[k] = norm
        centre[:width] = block[np.argsort(norms)[(n - 1) // 2], :width]
        block[n, :width] = 0
        for k in range(n + 1):
            to = block[k]
            for t in range(width):
                to[t] -= centre[t]
        _products(block, padded, width, total)
        begin += width


def _shared(x: np.ndarray, work: Callable[[int, int], Any]) -> list[Any]:
    """What `work(begin, end)` returns for each thread's columns."""
    columns = x.shape[1]
    threads = min(torch.get_num_threads(), max(1, x.size // _ALONE))
    cuts = [columns * i // threads for i in range(threads + 1)]
    spans = list(itertools.pairwise(cuts))
    if threads == 1:
        return [work(*spans[0])]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda span: work(*span), spans))


def means(x: np.ndarray, first: int, last: int) -> tuple[np.ndarray, bool]:
    """(d,) mean of the order statistics `first` to `last` of each column of (n, d), and whether all was finite."""
    out = np.empty(x.shape[1], x.dtype)
    pairs = selection(len(x), first, last)
    return out, _all_finite(_shared(x, lambda begin, end: _means(x, pairs, first, last, begin, end, out)))


def nearest(x: np.ndarray, keep: int, rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """(d,) mean of the `keep` values, among these rows', of each column nearest their median, and whether all was finite."""
    out = np.empty(x.shape[1], x.dtype)
    pairs = selection(len(rows), 0, len(rows) - 1)
    return out, _all_finite(_shared(x, lambda begin, end: _nearest(x, rows, pairs, keep, begin, end, out)))


def combine(c: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, bool]:
    """(d,) coefficients (n,) @ x, and whether all of it was finite."""
    out = np.empty(x.shape[1], x.dtype)
    return out, _all_finite(_shared(x, lambda begin, end: _sums(c, x, begin, end, out)))


def gram(x: np.ndarray) -> np.ndarray:
    """(n + 1, n + 1) inner products of the rows and the origin about a shift, the row of median norm in each block.

    Sums within a block are in the rows' own precision (relative error about 1e-7 in float32), those over blocks in double.
    """
    n = len(x) + 1
    padded = (n + 2) // 3 * 3

    def work(begin: int, end: int) -> np.ndarray:
        total = np.zeros((padded, padded))
        _grams(x, begin, end, total)
        return total

    lower: np.ndarray = np.tril(sum(_shared(x, work))[:n, :n])
    return np.asarray(lower + np.tril(lower, -1).T)


def norms_about(x: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(n,) L2 norms of the rows less `centre`; sums within a block are in the rows' own precision."""

    def work(begin: int, end: int) -> np.ndarray:
        squares = np.zeros(len(x))
        _about(x, centre, begin, end, squares)
        return squares

    return np.asarray(np.sqrt(sum(_shared(x, work))))


def finite_rows(x: np.ndarray) -> np.ndarray:
    """(n,) bool: rows whose sum of squares is finite."""

    def work(begin: int, end: int) -> np.ndarray:
        sizes = np.empty(len(x))
        _sizes(x, begin, end, sizes)
        return sizes

    return np.asarray(np.isfinite(sum(_shared(x, work))))


def _all_finite(sums: list[Any]) -> bool:
    return all(float(each) == 0 for each in sums)
