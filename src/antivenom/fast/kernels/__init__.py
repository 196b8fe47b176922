"""The passes over an (n, d) matrix of updates that aggregation rules consist of.

Rules do all work that grows with d through these functions. `plain` holds their reference forms in torch, for any device.
On a CPU, in float32 and float64, compiled forms run if numba is installed (`antivenom.fast.available`). All raise
FloatingPointError if a row that they read is not finite in the sense of `finite_rows`; the check needs no extra pass.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from antivenom.fast import available
from antivenom.fast.kernels import plain


def _can_compile(x: Tensor, max_rows: int = 1 << 20) -> bool:
    fits = x.dim() == 2 and 0 < len(x) <= max_rows and x.shape[1] > 0
    return fits and x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and available()


def _array(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


def median(x: Tensor) -> Tensor:
    """(d,) coordinate-wise median of x (n, d); for even n the mean of the two middle values."""
    return trimmed_mean(x, (len(x) - 1) // 2)


def trimmed_mean(x: Tensor, f: int) -> Tensor:
    """(d,) mean of each column of x (n, d) without its f lowest and f highest values; n > 2f."""
    if _can_compile(x):
        from antivenom.fast.kernels import orders

        means, finite = orders.means(_array(x), f, len(x) - f - 1)
        if finite:
            return torch.from_numpy(means)
    refuse(x)
    return plain.trimmed_mean(x, f)  # all rows are finite, so a compiled sum overflowed; `plain` avoids that


def mean_around_median(x: Tensor, keep: int, rows: Tensor | None = None) -> Tensor:
    """(d,) mean of the `keep` values of each column nearest to its median, among `rows` or all rows of x (n, d).

    Ties go to the lower value.
    """
    if _can_compile(x):
        from antivenom.fast.kernels import orders

        means, finite = orders.nearest(_array(x), keep, np.arange(len(x)) if rows is None else rows.numpy())
        if finite:
            return torch.from_numpy(means)
    taken = x if rows is None else x[rows]
    refuse(taken)
    return plain.mean_around_median(taken, keep)


def gram(x: Tensor) -> Tensor:
    """(n + 1, n + 1) inner products of the rows of x (n, d) and, last, the origin, after a common shift; float64, on the CPU.

    Differences of its entries give distances; `plain.gram` says why the rows are shifted.
    """
    if _can_compile(x, 1 << 12):
        from antivenom.fast.kernels import rows

        products = torch.from_numpy(rows.gram(_array(x)))
        if products.isfinite().all():
            return products
    refuse(x)
    return plain.gram(x)  # products of rows of length 1e19 and more overflow single precision


def norms(x: Tensor) -> Tensor:
    """(n,) L2 norms of the rows of x (n, d); float64."""
    return norms_about(x, x.new_zeros(x.shape[1]))


def norms_about(x: Tensor, centre: Tensor) -> Tensor:
    """(n,) L2 norms of the rows of x (n, d) minus `centre` (d,); float64."""
    if _can_compile(x):
        from antivenom.fast.kernels import rows

        norms = torch.from_numpy(rows.norms_about(_array(x), _array(centre.to(x))))
        if norms.isfinite().all():
            return norms
    refuse(x)
    return plain.norms_about(x, centre)


def combine(c: Tensor, x: Tensor) -> Tensor:
    """c @ x (d,) for coefficients c (n,) and rows x (n, d), in the type of the rows.

    Coefficients that select a single row reproduce it bit by bit.
    """
    taken = c.nonzero().flatten()
    if len(taken) == 1:
        c, x = c[taken], x[int(taken) : int(taken) + 1]
    if not _can_compile(x):
        combined = plain.combine(c, x)
        finite = bool(combined.isfinite().all())
    else:
        from antivenom.fast.kernels import mixing

        values, finite = mixing.mix(_array(c[None]), _array(x))
        combined = torch.from_numpy(values[0])
    if not finite:  # a row is not finite, or finite rows gave a sum that overflows
        refuse(x)
    return combined


def mix(c: Tensor, x: Tensor) -> Tensor:
    """c @ x (m, d) for coefficients c (m, n) and rows x (n, d), in the type of the rows."""
    if not _can_compile(x) or not len(c):
        mixed = c.to(x) @ x
        finite = bool(mixed.isfinite().all())
    else:
        from antivenom.fast.kernels import mixing

        values, finite = mixing.mix(_array(c), _array(x))
        mixed = torch.from_numpy(values)
    if not finite:  # a row is not finite, or finite rows gave a sum that overflows
        refuse(x)
    return mixed


def finite_rows(x: Tensor) -> Tensor:
    """(n,) bool, True for rows of x (n, d) without NaN or infinity and with a norm below about 1e153."""
    if not _can_compile(x):
        return plain.finite_rows(x)
    from antivenom.fast.kernels import rows

    return torch.from_numpy(rows.finite_rows(_array(x)))


def refuse(x: Tensor) -> None:
    """Raise FloatingPointError if a row of (n, d) is not finite."""
    if not finite_rows(x).all():
        raise FloatingPointError("NaN or infinity in a row")


__all__ = [
    "combine",
    "finite_rows",
    "gram",
    "mean_around_median",
    "median",
    "mix",
    "norms",
    "norms_about",
    "refuse",
    "trimmed_mean",
]
