"""Compiled norms, inner products and finiteness of rows. Each reads the matrix once, in pieces that stay in cache.

NaN and infinity propagate, so that each result shows whether its input was finite.

Up to PIECE products are summed in the precision of the rows, and these sums are added in double precision. In whatever order
vector units add a piece, its error is at most PIECE roundings of the sum of absolute products; a shift adds two more. In
float32 the relative bound is (PIECE + 2) * 2**-24, about 3e-5; typical errors, with unbiased rounding, are 1e-7.
"""

from __future__ import annotations

import numpy as np

from antivenom.fast.compiled import EXACT, compiled
from antivenom.fast.kernels.plain import MARGIN
from antivenom.fast.kernels.threads import over_columns

_STRETCH = 4096  # columns of a row that are read at a time; shorter stretches waste memory bandwidth
PIECE = 512  # products that are summed in the precision of the rows


@compiled(fastmath=EXACT)
def _finiteness(x: np.ndarray, begin: int, end: int, sizes: np.ndarray) -> None:  # pragma: no cover - compiled
    """Write a number for each row that is finite if and only if the row's columns are.

    In single precision it is 0 or NaN; in double precision it is MARGIN times the sum of squares, which must not overflow.
    """
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
        sizes[k] = MARGIN * total


@compiled(fastmath=EXACT)
def _squares(x: np.ndarray, begin: int, end: int, squares: np.ndarray) -> None:  # pragma: no cover - compiled
    """Write the sum of squares of each row, from column `begin` to `end`."""
    for k in range(x.shape[0]):
        whole = 0.0
        for start in range(begin, end, PIECE):
            row = x[k, start : min(start + PIECE, end)]
            total = x.dtype.type(0)
            for t in range(row.size):
                total += row[t] * row[t]
            whole += total
        squares[k] = whole


@compiled(fastmath=EXACT)
def _add_squares_about(
    x: np.ndarray, centre: np.ndarray, begin: int, end: int, squares: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add the sum of squared differences from `centre` for each row to `squares`."""
    while begin < end:
        stop = min(begin + _STRETCH, end)
        for k in range(x.shape[0]):
            whole = 0.0
            for start in range(begin, stop, PIECE):
                width = min(PIECE, stop - start)
                row, middle = x[k, start : start + width], centre[start : start + width]
                total = x.dtype.type(0)
                for t in range(width):
                    apart = row[t] - middle[t]
                    total += apart * apart
                whole += total
            squares[k] += whole
        begin = stop


@compiled(fastmath=EXACT)
def _add_products(block: np.ndarray, n: int, width: int, total: np.ndarray) -> None:  # pragma: no cover - compiled
    """Add the lower triangle of block @ block.T, in tiles of 3 x 3 so that each loaded number is used three times."""
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
def _centre_into(
    x: np.ndarray, centre: np.ndarray, begin: int, width: int, block: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Write the rows minus the centre, and the origin minus the centre as the last row, into the block."""
    middle, n = centre[begin : begin + width], x.shape[0]
    for k in range(n):
        row, to = x[k, begin : begin + width], block[k]
        for t in range(width):
            to[t] = row[t] - middle[t]
    to = block[n]
    for t in range(width):
        to[t] = -middle[t]


@compiled()
def _add_gram(
    x: np.ndarray, begin: int, end: int, total: np.ndarray, norms: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add the inner products about a shift to `total`, and the squared norms about the origin to `norms`."""
    n, padded = x.shape[0], total.shape[0]
    block = np.zeros((padded, PIECE), x.dtype)
    squares = np.empty(n)
    while begin < end:
        stop = min(begin + _STRETCH, end)
        _squares(x, begin, stop, squares)
        norms += squares
        centre = x[np.argsort(squares)[(n - 1) // 2]]
        while begin < stop:
            width = min(PIECE, stop - begin)
            _centre_into(x, centre, begin, width, block)
            _add_products(block, padded, width, total)
            begin += width


def gram(x: np.ndarray) -> np.ndarray:
    """(n + 1, n + 1) inner products of the rows and, last, the origin, after a shift; see `plain.gram`.

    The shift is the row of median norm, chosen for each stretch of columns. Products with the origin are derived from norms
    that were measured before the shift, since the shift would cancel the norms of short rows.
    """
    n = len(x)
    padded = (n + 3) // 3 * 3

    def work(begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        total, norms = np.zeros((padded, padded)), np.zeros(n)
        _add_gram(x, begin, end, total, norms)
        return total, norms

    parts = over_columns(x, work)
    lower: np.ndarray = np.tril(sum(total for total, _ in parts)[: n + 1, : n + 1])
    norms = sum(squares for _, squares in parts)
    with np.errstate(invalid="ignore"):  # infinities if single precision overflowed; the caller then uses `plain`
        lower[n, :n] = (lower.diagonal()[:n] + lower[n, n] - norms) / 2
    return np.asarray(lower + np.tril(lower, -1).T)


def norms_about(x: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(n,) L2 norms of the rows minus `centre` (d,)."""

    def work(begin: int, end: int) -> np.ndarray:
        squares = np.zeros(len(x))
        _add_squares_about(x, centre, begin, end, squares)
        return squares

    return np.asarray(np.sqrt(sum(over_columns(x, work))))


def finite_rows(x: np.ndarray) -> np.ndarray:
    """(n,) bool, True for rows without NaN, infinity or overflow of their squares in double precision."""

    def work(begin: int, end: int) -> np.ndarray:
        sizes = np.empty(len(x))
        _finiteness(x, begin, end, sizes)
        return sizes

    return np.asarray(np.isfinite(sum(over_columns(x, work))))
