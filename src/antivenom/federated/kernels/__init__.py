"""The passes over an (n, d) matrix that aggregation rules are made of. Rules call these and nothing else that costs d.

`plain` holds them in plain torch: short, on any device, and the oracle. On a CPU in float32 and float64 they are compiled.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from antivenom.federated.kernels import plain
from antivenom.federated.kernels.plain import combine

_ROWS = 512  # beyond this, sorting a column in place beats a network


def _compiled(x: Tensor, most: int = _ROWS) -> bool:
    fits = x.dim() == 2 and 0 < len(x) <= most and x.shape[1] > 0
    return fits and x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


def _array(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


def median(x: Tensor) -> Tensor:
    """(d,) coordinate-wise median of (n, d); for even n the mean of the two middle values."""
    return _of_order(x, (len(x) - 1) // 2, len(x) // 2) if _compiled(x) else plain.median(x)


def trimmed_mean(x: Tensor, f: int) -> Tensor:
    """(d,) mean of what is left of each column without its f lowest and f highest values."""
    return _of_order(x, f, len(x) - f - 1) if _compiled(x) else plain.trimmed_mean(x, f)


def _of_order(x: Tensor, first: int, last: int) -> Tensor:
    from antivenom.federated.kernels import columns

    return torch.from_numpy(columns.means(_array(x), first, last)[0])


def mean_around_median(x: Tensor, keep: int) -> Tensor:
    """(d,) mean of the `keep` values of each column nearest its median; the lower ones on a tie."""
    if not _compiled(x):
        return plain.mean_around_median(x, keep)
    from antivenom.federated.kernels import columns

    return torch.from_numpy(columns.nearest(_array(x), keep)[0])


def gram(x: Tensor) -> Tensor:
    """(n + 1, n + 1) inner products of the rows of (n, d) and, last, of the origin, about a common shift; float64, on the CPU."""
    if not _compiled(x, 1 << 12):
        return plain.gram(x)
    from antivenom.federated.kernels import columns

    products = torch.from_numpy(columns.gram(_array(x)))
    return products if products.isfinite().all() else plain.gram(x)  # rows of 1e19 and more overflow single precision


def norms_about(x: Tensor, centre: Tensor) -> Tensor:
    """(n,) L2 norms of the rows of (n, d) less `centre` (d,); float64."""
    if not _compiled(x, 1 << 20):
        return plain.norms_about(x, centre)
    from antivenom.federated.kernels import columns

    norms = torch.from_numpy(columns.norms_about(_array(x), _array(centre.to(x))))
    return norms if norms.isfinite().all() else plain.norms_about(x, centre)


def finite_rows(x: Tensor) -> Tensor:
    """(n,) bool: the rows of (n, d) without NaN, infinity or a norm whose square overflows double precision."""
    if not _compiled(x, 1 << 20):
        return plain.finite_rows(x)
    from antivenom.federated.kernels import columns

    return torch.from_numpy(columns.finite_rows(_array(x)))


__all__ = ["combine", "finite_rows", "gram", "mean_around_median", "median", "norms_about", "trimmed_mean"]
