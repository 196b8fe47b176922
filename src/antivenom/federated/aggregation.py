"""The decorators of aggregation rules and reducers, which take tensors, arrays or lists of vectors and return the same kind.

A rule defines the method that fits it, and the decorator derives the others:

    __call__(updates, weights, view) -> (d,)                   any rule
    coefficients(gram, weights, view) -> (n,)                  a rule that combines rows by their geometry alone
    step(updates, weights, view, state) -> ((d,), state)       a rule with memory; state is None in the first round

A reducer, which turns n rows into m before a rule sees them, does the same:

    __call__(updates, weights, view) -> ((m, d), (m,) or None)
    mixing(gram, weights, view) -> (m, n)                      one that combines rows by their geometry alone
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.registry import Kind, register
from antivenom.core.threat import Access
from antivenom.fast import kernels
from antivenom.federated.distances import Gram

if TYPE_CHECKING:
    from antivenom.core.protocols import LinearAggregator, ServerView

C = TypeVar("C", bound=type)
Given = Callable[[Tensor], Tensor | np.ndarray]  # turns a result into the kind that the caller gave


@typing.dataclass_transform(frozen_default=True)
def aggregator(*, goal: Iterable[str] | str, cite: str, reads_all: bool = False) -> Callable[[C], C]:
    """Register an aggregation rule: a class with `__call__`, `coefficients` or `step`.

    The method gets an (n, d) tensor of finite floats (or its Gram matrix), (n,) weights or None, and the server's view or
    None. The decorated rule also takes a numpy array or a list of vectors, and returns (d,) of the same kind. A pass over
    the rows refuses NaN and infinity first, unless the rule `reads_all`, in which case its kernels refuse them.
    """

    def decorate(cls: C) -> C:
        own = vars(cls)
        if not own.keys().isdisjoint(("__call__", "coefficients", "step")):
            call = own.get("__call__", _first_of(own["step"]) if "step" in own else _combined)
            step = own.get("step", _without_memory(call))
            refuses = reads_all or call is _combined
            if "has_memory" not in own:
                cls.has_memory = "step" in own  # type: ignore[attr-defined]
            _replace(cls, "__call__", _on_any_matrix(call, _vector, refuses))
            _replace(cls, "step", _on_any_matrix(step, _vector_and_state, refuses))
        return register(Kind.AGGREGATOR, (Access.LOGIC_CORRUPTION,), goal, cite)(cls)

    return decorate


@typing.dataclass_transform(frozen_default=True)
def reducer(*, goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register a reducer: a class with `__call__` or `mixing`, to be put before a rule by `Chain`.

    It is given what a rule is given, and returns (m, d) rows and their (m,) weights (None if it got None).
    """

    def decorate(cls: C) -> C:
        own = vars(cls)
        if not own.keys().isdisjoint(("__call__", "mixing")):
            call = own.get("__call__", _mixed)
            _replace(cls, "__call__", _on_any_matrix(call, _rows_and_weights, call is _mixed))
        return register(Kind.REDUCER, (Access.LOGIC_CORRUPTION,), goal, cite)(cls)

    return decorate


def step_of(rule: Any) -> Callable[..., tuple[Any, Any]]:
    """The rule's `step`; for a plain callable, which has no memory, a step that returns the state unchanged."""
    step = getattr(rule, "step", None)
    return step if step is not None else lambda updates, weights, view, state: (rule(updates, weights, view), state)


def has_memory(rule: object) -> bool:
    """Whether the rule takes a state from one round to the next; a rule made of another says so under that name."""
    return bool(getattr(rule, "has_memory", hasattr(rule, "step")))


def require_min_updates(rule: object, n: int) -> None:
    """Refuse n updates if the rule has the fields `f` and `fewest` = (a, b) and n is below a f + b; else do nothing.

    Raises:
        PluginError: there are too few updates.
    """
    per_f, more = getattr(rule, "fewest", (0, 0))
    f = getattr(rule, "f", 0)
    if n < per_f * f + more:
        most = (n - more) // per_f
        raise PluginError(
            f"n >= {per_f}f + {more} updates for {type(rule).__name__} with f = {f}",
            f"n = {n}",
            f"use f <= {most}" if most >= 1 else f"use at least {per_f * f + more} agents, or another rule",
        )


def mixed_weights(mixing: Tensor, weights: Tensor | None) -> Tensor | None:
    """(m,) weights of mixing (m, n) @ rows: each row's weight goes where the row goes, in the same proportions."""
    if weights is None:
        return None
    shares = mixing / mixing.sum(dim=0).where(mixing.any(dim=0), 1)
    return (shares @ weights.double().cpu()).to(weights)


# --- what the decorators derive ---------------------------------------------------------------------------------------


def _combined(self: LinearAggregator, updates: Tensor, weights: Tensor | None, view: ServerView | None) -> Tensor:
    return kernels.combine(self.coefficients(Gram.of(updates), weights, view), updates)


def _mixed(self: Any, updates: Tensor, weights: Tensor | None, view: object) -> tuple[Tensor, Tensor | None]:
    mixing = self.mixing(Gram.of(updates), weights, view)
    return kernels.mix(mixing, updates), mixed_weights(mixing, weights)


def _first_of(step: Callable[..., tuple[Tensor, object]]) -> Callable[..., Tensor]:
    @functools.wraps(step)
    def call(self: object, updates: Tensor, weights: Tensor | None, view: object) -> Tensor:
        vector: Tensor = step(self, updates, weights, view, None)[0]
        return vector

    return call


def _without_memory(call: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, object]]:
    def step(
        self: object, updates: Tensor, weights: Tensor | None, view: object, state: object
    ) -> tuple[Tensor, object]:
        return call(self, updates, weights, view), state

    return step


def _replace(cls: type, name: str, method: Callable[..., object]) -> None:
    method.__name__, method.__qualname__ = name, f"{cls.__qualname__}.{name}"
    setattr(cls, name, method)


# --- any matrix in, the same kind out ---------------------------------------------------------------------------------


def _on_any_matrix(rule: Callable[..., object], checked: Callable[..., object], refuses: bool) -> Callable[..., object]:
    @functools.wraps(rule)
    def call(self: object, updates: object, weights: object = None, view: object = None, *state: object) -> object:
        matrix = _matrix(updates, type(self).__name__)
        if not refuses:
            _finite(matrix, self)
        weights = None if weights is None else _shares(weights, matrix)
        as_given: Given = _same if isinstance(updates, Tensor) or _holds_tensors(updates) else _as_array
        try:
            result = rule(self, matrix, weights, view, *state)
        except FloatingPointError:
            _finite(matrix, self)
            raise
        return checked(result, matrix, self, as_given)

    return call


def _vector(result: object, matrix: Tensor, rule: object, as_given: Given) -> Tensor | np.ndarray:
    if not isinstance(result, Tensor) or result.shape != matrix.shape[1:]:
        got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise PluginError(f"an aggregate of shape {tuple(matrix.shape[1:])}", f"{got}", f"mend {type(rule).__name__}")
    return as_given(result)


def _vector_and_state(
    result: object, matrix: Tensor, rule: object, as_given: Given
) -> tuple[Tensor | np.ndarray, object]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise PluginError(
            f"an aggregate and a state from {type(rule).__name__}", type(result).__name__, "return both from step"
        )
    return _vector(result[0], matrix, rule, as_given), result[1]


def _rows_and_weights(
    result: object, matrix: Tensor, rule: object, as_given: Given
) -> tuple[Tensor | np.ndarray, Tensor | np.ndarray | None]:
    name = type(rule).__name__
    if not isinstance(result, tuple) or len(result) != 2:
        raise PluginError(f"rows and weights from {name}", type(result).__name__, "return both")
    rows, weights = result
    if not isinstance(rows, Tensor) or rows.dim() != 2 or len(rows) == 0 or rows.shape[1] != matrix.shape[1]:
        got = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        raise PluginError(f"rows of shape (m, {matrix.shape[1]}) from {name}", f"{got}", f"mend {name}")
    if weights is not None and weights.shape != rows.shape[:1]:
        raise PluginError(f"weights of shape ({len(rows)},) from {name}", f"{tuple(weights.shape)}", f"mend {name}")
    return as_given(rows), weights if weights is None else as_given(weights)


def _same(result: Tensor) -> Tensor:
    return result


def _as_array(result: Tensor) -> np.ndarray:
    return result.numpy()


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
            matrix = torch.as_tensor(_plain(np.asarray(updates)))
    except (ValueError, TypeError, RuntimeError, LookupError) as error:
        raise PluginError(
            f"updates of one length for {rule}", str(error).splitlines()[0], "pass an (n, d) matrix"
        ) from error
    if matrix.dim() != 2 or len(matrix) == 0:
        raise PluginError(
            f"an (n, d) matrix with n >= 1 for {rule}", f"shape {tuple(matrix.shape)}", "one update per row"
        )
    if matrix.is_complex() or matrix.layout is not torch.strided:
        raise PluginError(f"dense real numbers for {rule}", f"{matrix.dtype}, {matrix.layout}", "convert them first")
    if not matrix.is_floating_point():
        matrix = matrix.to(torch.get_default_dtype())
    return matrix


def _plain(array: np.ndarray) -> np.ndarray:
    """The array as torch can share it: no step backwards, bytes in this machine's order."""
    if array.dtype.isnative and all(step >= 0 for step in array.strides):
        return array
    return array.astype(array.dtype.newbyteorder("="), order="C")


def _shares(weights: object, matrix: Tensor) -> Tensor:
    """(n,) weights as a tensor beside the rows. A client's claim must not turn the result into NaN."""
    try:
        shares = torch.as_tensor(weights, dtype=matrix.dtype, device=matrix.device)
    except (ValueError, TypeError, RuntimeError) as error:
        raise PluginError("weights that are numbers", str(error).splitlines()[0], "one weight per update") from error
    if shares.shape != matrix.shape[:1]:
        raise PluginError(f"weights of shape ({len(matrix)},)", f"{tuple(shares.shape)}", "one weight per update")
    usable = shares.isfinite() & (shares >= 0)
    if not usable.all():
        row = int(torch.nonzero(~usable)[0])
        raise PluginError("finite weights >= 0", f"{float(shares[row])} for row {row}", "leave such clients out first")
    return shares


def _finite(matrix: Tensor, rule: object) -> None:
    finite = kernels.finite_rows(matrix)
    if not finite.all():
        raise PluginError(
            f"finite updates for {type(rule).__name__}",
            f"NaN or infinity in row {int(torch.nonzero(~finite)[0])}",
            "leave such clients out first",
        )
