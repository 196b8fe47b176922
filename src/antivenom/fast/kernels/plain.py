"""The oracle: every kernel as its definition says, in torch."""

from __future__ import annotations

import torch
from torch import Tensor

MARGIN = 64  # by which squared norms stay below the largest number, for distances and inner products to do so, too
_BLOCK = 1 << 16  # columns at a time: the double-precision copy stays in cache


def finite_rows(x: Tensor) -> Tensor:
    """(n,) bool: the rows of (n, d) without NaN, infinity or a norm near 1e153, whose square overflows double precision."""
    squares = x.new_zeros(len(x), dtype=torch.float64)
    for block in x.split(_BLOCK, dim=1):
        squares += block.double().square().sum(dim=1)
    return (MARGIN * squares).isfinite()


def median(x: Tensor) -> Tensor:
    """(d,) coordinate-wise median of (n, d); for even n the mean of the two middle values."""
    n = len(x)
    return _mean(x.sort(dim=0).values[[(n - 1) // 2, n // 2]])


def trimmed_mean(x: Tensor, f: int) -> Tensor:
    """(d,) mean of each coordinate of (n, d) without its f lowest and its f highest values; n > 2f."""
    return _mean(x.sort(dim=0).values[f : len(x) - f])


def _mean(values: Tensor) -> Tensor:
    """(d,) mean of (k, d), finite even where their sum is not."""
    mean = values.mean(dim=0)
    return mean if mean.isfinite().all() else (values / len(values)).sum(dim=0)


def mean_around_median(x: Tensor, keep: int) -> Tensor:
    """(d,) mean of the `keep` values of each coordinate of (n, d) nearest to its median; of two equally near, the lower."""
    return nearest(x.sort(dim=0).values, keep)


def nearest(ordered: Tensor, keep: int) -> Tensor:
    """The same of (n, d) values in order: the nearest are neighbours; of all windows of that length, the one that reaches least far."""
    n = len(ordered)
    middle = _mean(ordered[[(n - 1) // 2, n // 2]])
    reach = torch.maximum(middle - ordered[: n - keep + 1], ordered[keep - 1 :] - middle)  # (windows, d)
    first = reach.argmin(dim=0)
    inside = first + torch.arange(keep, device=first.device)[:, None]
    return _mean(ordered.gather(0, inside))  # differences of running sums would lose small values beside huge ones


def gram(x: Tensor) -> Tensor:
    """(n + 1, n + 1) inner products of the rows of (n, d) and, last, of the origin, about a common shift; float64, on the CPU.

    Updates share a large part that would cancel badly in distances, so it is taken off first: the mean of the rows whose
    norm is at most the median norm. With a plain mean one huge row would drown the distances between all the others.
    Products with the origin are those that give back norms taken before the shift, of which short rows would keep nothing.
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
    """(n,) L2 norms of the rows of (n, d) less `centre` (d,); float64."""
    squares = x.new_zeros(len(x), dtype=torch.float64)
    for block, middle in zip(x.split(_BLOCK, dim=1), centre.split(_BLOCK), strict=True):
        squares += (block.double() - middle.double()).square().sum(dim=1)
    return squares.sqrt()


def combine(c: Tensor, x: Tensor) -> Tensor:
    """c @ x for coefficients (n,) and rows (n, d), in the type of the rows.

    A row that is taken whole comes out bit by bit.
    """
    if int((c != 0).sum()) == 1:
        k = int(c.nonzero())
        return x[k] * float(c[k])
    return c.to(x) @ x
