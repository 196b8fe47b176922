"""The kernels as torch spells them: the specification, and what runs on an accelerator."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 1 << 16  # columns at a time: the double-precision copy stays in cache


def median(x: Tensor) -> Tensor:
    """(d,) coordinate-wise median of (n, d); for even n the mean of the two middle values."""
    n = len(x)
    ordered = x.sort(dim=0).values
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def trimmed_mean(x: Tensor, f: int) -> Tensor:
    """(d,) mean of what is left of each column without its f lowest and f highest values."""
    return x.sort(dim=0).values[f : len(x) - f].mean(dim=0)


def mean_around_median(x: Tensor, keep: int) -> Tensor:
    """(d,) mean of the `keep` values of each column nearest its median; the lower ones on a tie."""
    n = len(x)
    ordered = x.sort(dim=0).values
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    starts = range(n - keep + 1)  # the nearest values are neighbours in order
    reach = torch.stack([torch.maximum(middle - ordered[s], ordered[s + keep - 1] - middle) for s in starts])
    first = reach.argmin(dim=0)
    rows = first + torch.arange(keep, device=x.device)[:, None]
    return ordered.gather(0, rows).mean(dim=0)


def gram(x: Tensor, shifted: bool) -> Tensor:
    """(n, n) inner products of the rows, in double precision.

    With `shifted`, of the rows less one of them, chosen for each block of columns by its median norm: differences of
    rows stay what they are, and neither a large common part nor one huge row drowns the others.
    """
    n = len(x)
    total = x.new_zeros(n, n, dtype=torch.float64)
    for block in x.split(_BLOCK, dim=1):
        part = block.double()
        if shifted:
            part = part - part[part.norm(dim=1).argsort()[(n - 1) // 2]]
        total += part @ part.T
    return total


def combine(coefficients: Tensor, x: Tensor) -> Tensor:
    """(d,) sum of c_i x_i; a row with c_i = 0 is left out, whatever it holds."""
    used = coefficients != 0
    if int(used.sum()) == 1:
        return x[used][0] * coefficients[used].to(x.dtype)
    return coefficients[used].to(x.dtype) @ x[used] if not used.all() else coefficients.to(x.dtype) @ x


def finite_rows(x: Tensor) -> Tensor:
    """(n,) bool: rows without NaN and infinity."""
    return torch.isfinite(x).all(dim=1)
