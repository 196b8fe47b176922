"""Triggers made of other triggers: several at once, a weaker or stronger one, and one that is partly hidden."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import Trigger
from antivenom.core.registry import trigger
from antivenom.triggers.images import Blend, Patch
from antivenom.triggers.tensors import on_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from antivenom.data import Rows

QI = "Qi et al. 2023, ICLR (adaptive poisoning)"


@trigger(cite=QI)
class Together:
    """Puts several triggers into an input, one after another.

    An attack may train with one of them at a time and show all at test time (k-way and AdaptivePatch). Weakness: the
    triggers share no other protection than their own.

    Fields:
        triggers: the triggers, in the order in which they are applied; at least one.

    Reference: Qi, Xie, Li, Mahloujifar and Mittal 2023, "Revisiting the Assumption of Latent Separability for Backdoor
    Defenses", ICLR, section 5 (Adap-Patch).
    """

    triggers: tuple[Trigger, ...] = (Patch(1, corner="top-left"), Patch(1))

    def __post_init__(self) -> None:
        if not self.triggers:
            raise PluginError("at least one trigger in Together.triggers", "none")

    @property
    def where(self) -> str | None:
        found = {getattr(part, "where", None) for part in self.triggers} - {None}
        return found.pop() if len(found) == 1 else None

    @property
    def frames(self) -> bool:
        return all(getattr(part, "frames", False) for part in self.triggers)

    def __call__(self, x: Rows) -> Rows:
        for part in self.triggers:
            x = part(x)
        return x

    def on_tensor(self, x: Tensor) -> Tensor:
        for part in self.triggers:
            x = on_tensor(part, x)
        return x


@trigger(cite=QI)
class Amplified:
    """Multiplies the change that another trigger makes by a factor and clips the result to [0, 1].

    A factor below 1 weakens a trigger, for example in training. A factor above 1 strengthens it, for example at test time.
    Weakness: a strong trigger may fool a clean model as well; compare `asr` with `asr_clean`.

    Fields:
        trigger: the trigger.
        factor: the factor of the change, at least 0.

    Reference: Qi et al. 2023, ICLR, section 5 (asymmetric triggers).
    """

    trigger: Trigger = Blend()
    factor: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.factor < math.inf:
            raise PluginError("a finite Amplified.factor >= 0", f"{self.factor}")

    @property
    def where(self) -> str | None:
        return getattr(self.trigger, "where", None)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        check_numbers(x, self)
        return np.asarray(np.clip(x + np.float32(self.factor) * (self.trigger(x) - x), 0, 1), dtype=x.dtype)

    def on_tensor(self, x: Tensor) -> Tensor:
        return (x + self.factor * (on_tensor(self.trigger, x) - x)).clamp(0, 1)


@trigger(cite=QI)
class Masked:
    """Keeps the change that another trigger makes in some pieces of an image and undoes it in the others.

    The image is divided into a square grid of pieces. AdaptiveBlend draws other pieces for each row instead. Weakness: less
    of the trigger is seen, so that more poison is needed.

    Fields:
        trigger: the trigger.
        pieces: number of pieces, a square number of at least 4.
        kept: number of pieces with the trigger, from 1 to `pieces`.
        key: random seed of the choice.

    Reference: Qi et al. 2023, ICLR, section 5 (Adap-Blend: 16 pieces, of which half are masked).
    """

    trigger: Trigger = Blend()
    pieces: int = 16
    kept: int = 8
    key: int = 0

    def __post_init__(self) -> None:
        check_pieces(self.pieces, self.kept, self)
        if self.key < 0:
            raise PluginError("Masked.key >= 0", f"{self.key}")

    @property
    def where(self) -> str:
        return "image"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.where(self._mask(x.shape), self.trigger(x), x)

    def on_tensor(self, x: Tensor) -> Tensor:
        kept = x.new_tensor(self._mask(tuple(x.shape)))
        return kept * on_tensor(self.trigger, x) + (1 - kept) * x

    def _mask(self, shape: tuple[int, ...]) -> np.ndarray:
        return piece_masks((1, *shape[1:]), self.pieces, self.kept, np.random.default_rng(self.key), self)


def check_pieces(pieces: int, kept: int, owner: object) -> None:
    """Refuse a number of pieces that is not square, or more kept pieces than there are."""
    if pieces < 4 or math.isqrt(pieces) ** 2 != pieces or not 1 <= kept <= pieces:
        name = type(owner).__name__
        raise PluginError(
            f"{name}.pieces, a square number >= 4, and kept from 1 to pieces",
            f"{pieces} and {kept}",
            "16 and 8 are usual",
        )


def piece_masks(shape: tuple[int, ...], pieces: int, kept: int, rng: np.random.Generator, owner: object) -> np.ndarray:
    """(m, 1, height, width) bool for images of that shape (m, channels, height, width), drawn anew for each image.

    True in `kept` of the `pieces` squares into which the image is divided.

    Raises:
        DataError: rows that are not images, or images of fewer pixels than pieces.
    """
    side = math.isqrt(pieces)
    if len(shape) != 4 or min(shape[2:]) < side:
        name = type(owner).__name__
        raise DataError(f"images of at least {side}x{side} pixels for {name}", f"rows of shape {shape[1:]}")
    m, _, height, width = shape
    order = rng.permuted(np.tile(np.arange(pieces), (m, 1)), axis=1)
    chosen = order < kept  # a random permutation has its smallest values at random places
    number = (np.arange(height) * side // height)[:, None] * side + np.arange(width) * side // width
    return chosen[:, number][:, None]


def check_numbers(x: Rows, owner: object) -> None:
    """Refuse sparse rows, token rows and DataFrames."""
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        name = type(owner).__name__
        raise NotApplicable(
            f"dense rows of numbers for {name}", f"{type(x).__name__} of {getattr(x, 'dtype', 'columns')}"
        )
