"""Reference forms of all kernels in plain torch, the oracle of the compiled ones."""

from __future__ import annotations

import torch
from torch import Tensor

MARGIN = 64  # squared norms must stay below the largest double by this factor, so that squared distances are finite too
_BLOCK = 1 << 16  # columns at a time, so that their double-precision copy stays in cache


def finite_rows(x: Tensor) -> Tensor:
    """(n,) bool, True for rows of x (n, d) without NaN or infinity and with a norm below about 1e153.

    The squares of larger norms overflow double precision.
    """
    squares = x.new_zeros(len(x), dtype=torch.float64)
    for block in x.split(_BLOCK, dim=1):
        squares += block.double().square().sum(dim=1)
    return (MARGIN * squares).isfinite()


def median(x: Tensor) -> Tensor:
    """(d,) coordinate-wise median of x (n, d); for even n the mean of the two middle values."""
    n = len(x)
    return _mean(x.sort(dim=0).values[[(n - 1) // 2, n // 2]])


def trimmed_mean(x: Tensor, f: int) -> Tensor:
    """(d,) mean of each coordinate of x (n, d) without its f lowest and f highest values; n > 2f."""
    return _mean(x.sort(dim=0).values[f : len(x) - f])


def _mean(values: Tensor) -> Tensor:
    """(d,) mean of values (k, d), which is finite even if their sum overflows."""
    mean = values.mean(dim=0)
    return mean if mean.isfinite().all() else (values / len(values)).sum(dim=0)


def mean_around_median(x: Tensor, keep: int) -> Tensor:
    """(d,) mean of the `keep` values of each coordinate of x (n, d) nearest to its median; ties go to the lower value."""
    return nearest(x.sort(dim=0).values, keep)


def nearest(ordered: Tensor, keep: int) -> Tensor:
    """`mean_around_median` of columns that are already sorted, ordered (n, d).

    In sorted order the nearest values form a window: the one with the least distance from the median to its farther end.
    """
    n = len(ordered)
    middle = _mean(ordered[[(n - 1) // 2, n // 2]])
    reach = torch.maximum(middle - ordered[: n - keep + 1], ordered[keep - 1 :] - middle)  # (windows, d)
    first = reach.argmin(dim=0)
    inside = first + torch.arange(keep, device=first.device)[:, None]
    return _mean(ordered.gather(0, inside))  # cumulative sums would be faster, but lose small values beside huge ones


def gram(x: Tensor) -> Tensor:
    """(n + 1, n + 1) inner products of the rows of x (n, d) and, last, the origin, after a common shift; float64, on the CPU.

    Distances are G_ii - 2 G_ij + G_jj. Updates share a large common part, which would cancel badly there, so it is
    subtracted first: the mean of the rows whose norm is at most the median norm. With the mean of all rows, one huge row
    would swamp the distances between the others. Products with the origin are derived from norms that were measured before
    the shift, since the shift would cancel the norms of short rows.
    """
    squares = sum(block.double().square().sum(dim=1) for block in x.split(_BLOCK, dim=1))
    small = squares <= squares.median()  # the lower median
    products = x.new_zeros(len(x) + 1, len(x) + 1, dtype=torch.float64)
    for block in x.split(_BLOCK, dim=1):
        part = torch.cat([block.double(), block.new_zeros(1, block.shape[1], dtype=torch.float64)])
        part -= part[:-1][small].mean(dim=0)
        products += part @ part.T
    products[-1, :-1] = products[:-1, -1] = (products.diagonal()[:-1] + products[-1, -1] - squares) / 2
    return products.cpu()


def norms_about(x: Tensor, centre: Tensor) -> Tensor:
    """(n,) L2 norms of the rows of x (n, d) minus `centre` (d,); float64."""
    squares = x.new_zeros(len(x), dtype=torch.float64)
    for block, middle in zip(x.split(_BLOCK, dim=1), centre.split(_BLOCK), strict=True):
        squares += (block.double() - middle.double()).square().sum(dim=1)
    return squares.sqrt()


def combine(c: Tensor, x: Tensor) -> Tensor:
    """c @ x (d,) for coefficients c (n,) and rows x (n, d), in the type of the rows.

    Coefficients that select a single row reproduce it bit by bit.
    """
    if int((c != 0).sum()) == 1:
        k = int(c.nonzero())
        return x[k] * float(c[k])
    return c.to(x) @ x
