"""What every aggregation rule shares: it takes a tensor, an array or a list of vectors, and gives back the same kind."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from antivenom.errors import PluginError
from antivenom.registry import Kind, register
from antivenom.threat import Access

C = TypeVar("C", bound=type)


@typing.dataclass_transform(frozen_default=True)
def aggregator(*, goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register an aggregation rule.

    The class's `__call__(updates, weights, view)` gets an (n, d) tensor of finite floats, (n,) weights or None, and
    what the server sees or None. As seen from outside it also takes a numpy array or a list of vectors, and returns
    (d,) of the same kind.
    """

    def decorate(cls: C) -> C:
        setattr(cls, "__call__", _on_any_matrix(vars(cls)["__call__"]))  # noqa: B010 - mypy refuses to see a method replaced
        return register(Kind.AGGREGATOR, (Access.LOGIC_CORRUPTION,), goal, cite)(cls)

    return decorate


def _on_any_matrix(rule: Callable[..., Tensor]) -> Callable[..., Any]:
    @functools.wraps(rule)
    def call(self: Any, updates: Any, weights: Any = None, view: Any = None) -> Any:
        matrix = _matrix(updates, type(self).__name__)
        if weights is not None:
            weights = torch.as_tensor(weights, dtype=matrix.dtype, device=matrix.device)
            if weights.shape != matrix.shape[:1]:
                raise PluginError(
                    f"weights of shape ({len(matrix)},)", f"{tuple(weights.shape)}", "one weight per update"
                )
        result = rule(self, matrix, weights, view)
        if not isinstance(result, Tensor) or result.shape != matrix.shape[1:]:
            got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise PluginError(
                f"an aggregate of shape {tuple(matrix.shape[1:])}", f"{got}", f"mend {type(self).__name__}"
            )
        return result if isinstance(updates, Tensor) or _holds_tensors(updates) else result.numpy()

    return call


def _holds_tensors(updates: Any) -> bool:
    return not isinstance(updates, np.ndarray) and isinstance(updates[0], Tensor)


def _matrix(updates: Any, rule: str) -> Tensor:
    """An (n, d) floating tensor from whatever was given."""
    try:
        if isinstance(updates, Tensor):
            matrix = updates
        elif _holds_tensors(updates):
            matrix = torch.stack(list(updates))
        else:
            matrix = torch.as_tensor(np.asarray(updates))
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        raise PluginError(
            f"updates of one length for {rule}", str(error).splitlines()[0], "pass an (n, d) matrix"
        ) from error
    if matrix.dim() != 2 or len(matrix) == 0:
        raise PluginError(
            f"an (n, d) matrix with n >= 1 for {rule}", f"shape {tuple(matrix.shape)}", "one update per row"
        )
    if not matrix.is_floating_point():
        matrix = matrix.to(torch.get_default_dtype())
    finite = torch.isfinite(matrix).all(dim=1)
    if not finite.all():
        rows = torch.nonzero(~finite).flatten().tolist()
        raise PluginError(
            f"finite updates for {rule}", f"NaN or infinity in row {rows[0]}", "leave such clients out first"
        )
    return matrix
