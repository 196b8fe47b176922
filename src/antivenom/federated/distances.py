"""Distances between updates, from one Gram matrix."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 1 << 16  # columns at a time: the double-precision copy stays in cache


def squared_distances(updates: Tensor) -> Tensor:
    """(n, n) squared L2 distances between the rows of (n, d), in double precision.

    The rows are shifted by their mean first, because updates share a large common part that would cancel badly.
    Must equal `torch.cdist(updates, updates) ** 2` to rounding.
    """
    n = len(updates)
    gram = updates.new_zeros(n, n, dtype=torch.float64)
    for block in updates.split(_BLOCK, dim=1):
        part = block.double()
        part = part - part.mean(dim=0)
        gram += part @ part.T
    norms = gram.diagonal()
    squares = (norms[:, None] + norms[None, :] - 2 * gram).clamp_min_(0)
    return squares.fill_diagonal_(0)


def distances(updates: Tensor) -> Tensor:
    """(n, n) L2 distances, in double precision."""
    return squared_distances(updates).sqrt_()
