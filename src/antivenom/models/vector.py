"""Conversion between named parameters and one flat vector. Both directions are differentiable. Buffers are not included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


def flatten(parameters: Iterable[Tensor]) -> Tensor:
    """The tensors, flattened and concatenated in their order: (d,)."""
    return torch.cat([p.reshape(-1) for p in parameters])


def unflatten(vector: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Named tensors of these shapes from a vector (d,), or stacked tensors (n, *shape) from a matrix (n, d).

    The tensors are views of the vector wherever its memory layout allows, not copies.
    """
    sizes = [shape.numel() for shape in shapes.values()]
    lead = vector.shape[:-1]
    parts = vector.split(sizes, dim=-1)
    return {name: part.reshape((*lead, *shape)) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
