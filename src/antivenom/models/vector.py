"""Parameters as one flat vector and back. Differentiable both ways; buffers are not parameters and stay apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


def flatten(parameters: Iterable[Tensor]) -> Tensor:
    """(d,) from tensors, in their order."""
    return torch.cat([p.reshape(-1) for p in parameters])


def unflatten(vector: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Named tensors from a vector (d,), or stacked ones (n, *shape) from a matrix (n, d). Views, not copies."""
    sizes = [shape.numel() for shape in shapes.values()]
    lead = vector.shape[:-1]
    parts = vector.split(sizes, dim=-1)
    return {name: part.reshape((*lead, *shape)) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
