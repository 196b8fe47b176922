"""Triggers that a small network computes anew for each input. An attack trains the network; the trigger holds its weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.registry import trigger
from antivenom.triggers.learned import alike, numbers

if TYPE_CHECKING:
    from torch import Tensor

X = TypeVar("X", np.ndarray, "Tensor")


@trigger(cite="Doan et al. 2021, ICCV (LIRA)")
class GeneratedNoise:
    """Adds noise that a dense auto-encoder computes from the input: x + epsilon tanh(g(x)), clipped to [0, 1].

    Weakness: large noise fools a clean model as well; compare `asr` with `asr_clean`.

    Fields:
        weights: the auto-encoder's weights, see `coded`.
        code: width of its hidden layer.
        epsilon: maximal change of a feature.

    Reference: Doan, Lao, Zhao and Li 2021, "LIRA: Learnable, Imperceptible and Robust Backdoor Attacks", ICCV.
    """

    weights: np.ndarray
    code: int
    epsilon: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", numbers(self.weights, "GeneratedNoise.weights"))
        if self.code < 1 or not 0 < self.epsilon <= 1:
            raise PluginError(
                "GeneratedNoise.code >= 1, and epsilon above 0 and up to 1", f"{self.code} and {self.epsilon}"
            )

    def __call__(self, x: np.ndarray) -> np.ndarray:
        change = np.tanh(coded(self.weights, self.code, x))
        return np.asarray(np.clip(x + self.epsilon * change, 0, 1), dtype=x.dtype)

    def on_tensor(self, x: Tensor) -> Tensor:
        return noised(x.new_tensor(self.weights), self.code, self.epsilon, x)

    def __eq__(self, other: object) -> bool:
        return alike(self, other)

    def __hash__(self) -> int:
        return hash(self.weights.tobytes())


@trigger(cite="Nguyen and Tran 2020, arXiv:2010.08138 (input-aware)")
class GeneratedPatch:
    """Replaces a part of the input: (1 - mask) x + mask pattern, where dense auto-encoders compute mask and pattern from x.

    The mask has one value from 0 to 1 for each feature. Weakness: the patch is visible, and it changes many pixels.

    Fields:
        mask: weights of the mask's auto-encoder, see `coded`.
        pattern: weights of the pattern's auto-encoder.
        code: width of their hidden layers.

    Reference: Nguyen and Tran 2020, "Input-Aware Dynamic Backdoor Attack", NeurIPS, arXiv:2010.08138, section 3.
    """

    mask: np.ndarray
    pattern: np.ndarray
    code: int

    def __post_init__(self) -> None:
        for name in ("mask", "pattern"):
            object.__setattr__(self, name, numbers(getattr(self, name), f"GeneratedPatch.{name}"))
        if self.code < 1:
            raise PluginError("GeneratedPatch.code >= 1", f"{self.code}")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.crossed(x, x)

    def crossed(self, x: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Inputs x (m, ...) with the masks and patterns of the inputs `others` (m, ...)."""
        mask = np.tanh(SHARPNESS * coded(self.mask, self.code, others)) / 2 + 0.5
        pattern = np.tanh(coded(self.pattern, self.code, others)) / 2 + 0.5
        return np.asarray((1 - mask) * x + mask * pattern, dtype=x.dtype)

    def on_tensor(self, x: Tensor) -> Tensor:
        mask, pattern = masked(x.new_tensor(self.mask), self.code, x), painted(x.new_tensor(self.pattern), self.code, x)
        return (1 - mask) * x + mask * pattern

    def __eq__(self, other: object) -> bool:
        return alike(self, other)

    def __hash__(self) -> int:
        return hash((self.mask.tobytes(), self.pattern.tobytes()))


SHARPNESS = 10  # of the mask's tanh, so that most values of a mask are near 0 or 1


def length(shape: tuple[int, ...], code: int) -> int:
    """Number of weights of an auto-encoder for rows of that shape."""
    return (2 * code + 1) * math.prod(shape) + code


def coded(weights: X, code: int, x: X) -> X:
    """The output of a dense auto-encoder with one hidden layer of ReLU units for rows x (m, ...), of the shape of x.

    Its weights are one vector: encoder (width, code), its bias (code,), decoder (code, width), its bias (width,).

    Raises:
        DataError: weights for rows of another width.
    """
    shape = tuple(x.shape)
    width = math.prod(shape[1:])
    if len(weights) != length(shape[1:], code):
        raise DataError(f"rows of {(len(weights) - code) // (2 * code + 1)} features for this trigger", f"{width}")
    encoder, bias = weights[: width * code].reshape(width, code), weights[width * code : (width + 1) * code]
    decoder, shift = weights[(width + 1) * code : -width].reshape(code, width), weights[-width:]
    hidden = x.reshape(shape[0], width) @ encoder + bias
    found: X = ((hidden * (hidden > 0)) @ decoder + shift).reshape(shape)
    return found


def noised(weights: Tensor, code: int, epsilon: float, x: Tensor) -> Tensor:
    """Inputs x (m, ...) with generated noise; differentiable in weights and x."""
    return (x + epsilon * coded(weights, code, x).tanh()).clamp(0, 1)


def masked(weights: Tensor, code: int, x: Tensor) -> Tensor:
    """The masks (m, ...) of inputs x (m, ...)."""
    return (SHARPNESS * coded(weights, code, x)).tanh() / 2 + 0.5


def painted(weights: Tensor, code: int, x: Tensor) -> Tensor:
    """The patterns (m, ...) of inputs x (m, ...)."""
    return coded(weights, code, x).tanh() / 2 + 0.5
