"""Norms, inner products and finiteness of rows, compiled once and kept on disk: each reads the matrix once, in pieces that stay in cache.

No NaN is assumed away: from every result it can be seen whether all that was read was finite.

Sums of at most `PIECE` products are in the rows' own precision, and sums of these in double precision. Whatever the order in
which a processor's vectors take up a piece, its error is at most PIECE roundings of the sum of absolute products; two more
come from a shift. In float32 that is (PIECE + 2) * 2**-24, about 3e-5, at worst, and 1e-7 where roundings are as likely up as
down.
"""

from __future__ import annotations

import numpy as np

from antivenom.fast.compiled import EXACT, compiled
from antivenom.fast.kernels.plain import MARGIN
from antivenom.fast.kernels.threads import shared

_STRETCH = 4096  # columns of a row read at a time: from shorter pieces, memory is slow
PIECE = 512  # products that are summed in the rows' own precision


@compiled(fastmath=EXACT)
def _sizes(x: np.ndarray, begin: int, end: int, sizes: np.ndarray) -> None:  # pragma: no cover - compiled
    """For each row a number that is finite if its columns are: of single precision 0, of double its squares with a margin."""
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
    """Write each row's sum of squares."""
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
def _about(
    x: np.ndarray, centre: np.ndarray, begin: int, end: int, squares: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add each row's sum of squared differences from the centre."""
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
def _products(block: np.ndarray, n: int, width: int, total: np.ndarray) -> None:  # pragma: no cover - compiled
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
def _centred(
    x: np.ndarray, centre: np.ndarray, begin: int, width: int, block: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Copy the rows less the centre, and the origin less the centre, into the block."""
    middle, n = centre[begin : begin + width], x.shape[0]
    for k in range(n):
        row, to = x[k, begin : begin + width], block[k]
        for t in range(width):
            to[t] = row[t] - middle[t]
    to = block[n]
    for t in range(width):
        to[t] = -middle[t]


@compiled()
def _grams(
    x: np.ndarray, begin: int, end: int, total: np.ndarray, norms: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add the products about a shift, and the squared norms of the rows about the origin."""
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
            _centred(x, centre, begin, width, block)
            _products(block, padded, width, total)
            begin += width


def gram(x: np.ndarray) -> np.ndarray:
    """(n + 1, n + 1) inner products of the rows and the origin about a shift, the row of median norm in each stretch.

    Products with the origin are those that give back norms taken before the shift, of which short rows would keep nothing.
    """
    n = len(x)
    padded = (n + 3) // 3 * 3

    def work(begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        total, norms = np.zeros((padded, padded)), np.zeros(n)
        _grams(x, begin, end, total, norms)
        return total, norms

    parts = shared(x, work)
    lower: np.ndarray = np.tril(sum(total for total, _ in parts)[: n + 1, : n + 1])
    norms = sum(squares for _, squares in parts)
    with np.errstate(invalid="ignore"):  # where single precision overflows
        lower[n, :n] = (lower.diagonal()[:n] + lower[n, n] - norms) / 2
    return np.asarray(lower + np.tril(lower, -1).T)


def norms_about(x: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(n,) L2 norms of the rows less `centre`."""

    def work(begin: int, end: int) -> np.ndarray:
        squares = np.zeros(len(x))
        _about(x, centre, begin, end, squares)
        return squares

    return np.asarray(np.sqrt(sum(shared(x, work))))


def finite_rows(x: np.ndarray) -> np.ndarray:
    """(n,) bool: rows whose sum of squares is finite."""

    def work(begin: int, end: int) -> np.ndarray:
        sizes = np.empty(len(x))
        _sizes(x, begin, end, sizes)
        return sizes

    return np.asarray(np.isfinite(sum(shared(x, work))))
