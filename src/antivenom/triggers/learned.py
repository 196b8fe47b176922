"""Triggers that an attack learned or a defence recovered. They have the same interface as fixed triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.registry import trigger

if TYPE_CHECKING:
    from torch import Tensor


@trigger(cite="Moosavi-Dezfooli et al. 2017, arXiv:1610.08401 (universal perturbations)")
class Perturbation:
    """Adds one array to every input and clips the sum to a range: a universal perturbation.

    Weakness: a large perturbation may fool a clean model as well; compare `asr` with `asr_clean`.

    Fields:
        array: the array that is added, of the shape of one row.
        low: lower bound of the sum.
        high: upper bound of the sum.
    """

    array: np.ndarray
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "array", numbers(self.array, "Perturbation.array"))
        if not self.low < self.high:
            raise PluginError("Perturbation.low below high", f"{self.low} and {self.high}", "images run from 0 to 1")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        _check(x.shape, self.array, self)
        return np.asarray(np.clip(x + self.array, self.low, self.high), dtype=x.dtype)

    def on_tensor(self, x: Tensor) -> Tensor:
        _check(tuple(x.shape), self.array, self)
        return (x + x.new_tensor(self.array)).clamp(self.low, self.high)

    def __eq__(self, other: object) -> bool:
        return alike(self, other)

    def __hash__(self) -> int:
        return hash(self.array.tobytes())


@trigger(cite="Wang et al. 2019, S&P (Neural Cleanse)")
class Recovered:
    """Replaces the part of an input under a mask by a pattern: (1 - mask) x + mask pattern.

    Trigger inversion finds triggers in this form. Weakness: it cannot express warps or other triggers that depend on the
    input.

    Fields:
        mask: weights from 0 to 1, of the shape of one row or of a shape that broadcasts to it.
        pattern: the values of the trigger, of the shape of one row.
    """

    mask: np.ndarray
    pattern: np.ndarray

    def __post_init__(self) -> None:
        for name in ("mask", "pattern"):
            object.__setattr__(self, name, numbers(getattr(self, name), f"Recovered.{name}"))
        if self.mask.size and not 0 <= self.mask.min() <= self.mask.max() <= 1:
            raise PluginError("Recovered.mask from 0 to 1", f"{self.mask.min():g} to {self.mask.max():g}", "clip it")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        _check(x.shape, self.pattern, self)
        return np.asarray((1 - self.mask) * x + self.mask * self.pattern, dtype=x.dtype)

    def on_tensor(self, x: Tensor) -> Tensor:
        _check(tuple(x.shape), self.pattern, self)
        mask, pattern = x.new_tensor(self.mask), x.new_tensor(self.pattern)
        return (1 - mask) * x + mask * pattern

    def __eq__(self, other: object) -> bool:
        return alike(self, other)

    def __hash__(self) -> int:
        return hash((self.mask.tobytes(), self.pattern.tobytes()))


def alike(one: object, other: object) -> bool:
    """Whether two triggers with arrays as fields are of one type and have equal fields."""
    if type(one) is not type(other):
        return False
    return all(np.array_equal(value, getattr(other, name)) for name, value in vars(one).items())


def numbers(value: object, name: str) -> np.ndarray:
    """A read-only array of finite numbers."""
    found = np.array(value, dtype=np.float32)
    if not np.isfinite(found).all():
        raise PluginError(f"finite numbers in {name}", "NaN or infinity", "lower the step size of the search")
    found.flags.writeable = False
    return found


def _check(shape: tuple[int, ...], array: np.ndarray, trigger: object) -> None:
    if shape[1:] != array.shape:
        name = type(trigger).__name__
        raise DataError(f"rows of shape {array.shape} for this {name}", f"{shape[1:]}")
