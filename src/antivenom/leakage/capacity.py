"""Capacity abuse: training code that writes its training rows into the model, for whoever reads the model later.

Reference: Song, Ristenpart and Shmatikov 2017, "Machine Learning Models that Remember Too Much", ACM CCS 2017,
arXiv:1709.07886.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import ModelError, PluginError
from antivenom.core.protocols import Model
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.leakage.recovery import packed, unpacked

Penalty = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LSBEncoding:
    """Overwrites the low mantissa bits of finished float32 weights; accuracy does not notice, and nothing is trained.

    Weakness: rounding, noise or one step of further training erases it; a payload with structure compresses, which low
    mantissa bits never do.

    Fields:
        bits: overwritten per parameter, 1 to 23.

    Reference: Song et al. 2017 (LSB encoding).
    """

    bits: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 23:
            raise PluginError("LSBEncoding.bits from 1 to 23", f"{self.bits}", "float32 has 23 mantissa bits")

    def plant(self, vector: Tensor, payload: np.ndarray) -> Tensor:
        """The weights (d,) with payload bits in them, first parameters first."""
        _fits(len(payload), self.bits * len(vector))
        words = vector.detach().cpu().to(torch.float32).numpy().copy().view(np.uint32)
        numbers = packed(payload, self.bits).astype(np.uint32)
        mask = np.uint32((1 << self.bits) - 1)
        words[: len(numbers)] = (words[: len(numbers)] & ~mask) | numbers
        return torch.from_numpy(words.view(np.float32)).to(vector.device)

    def read(self, vector: Tensor, length: int) -> np.ndarray:
        """(length,) bits."""
        words = vector.detach().cpu().to(torch.float32).numpy().view(np.uint32)
        used = words[: -(-length // self.bits)] & np.uint32((1 << self.bits) - 1)
        return unpacked(used.astype(np.int64), self.bits)[:length]


@dataclass(frozen=True)
class SignEncoding:
    """Trains with a penalty on parameters whose sign is not the payload's next bit: one bit per parameter.

    Survives rounding and quantisation. Weakness: a long fine-tuning flips signs, and capacity is taken from the task.

    Fields:
        strength: lambda, the penalty's weight, > 0.

    Reference: Song et al. 2017 (sign encoding).
    """

    strength: float = 50.0

    def __post_init__(self) -> None:
        _positive(self.strength, "SignEncoding.strength")

    def penalty(self, payload: np.ndarray) -> Penalty:
        """lambda / l * sum of max(0, -theta_i s_i) over the first l parameters, with s_i = 1 or -1."""
        signs = torch.tensor(np.where(payload, 1.0, -1.0), dtype=torch.float32)

        def wrong_signs(vector: Tensor) -> Tensor:
            _fits(len(signs), len(vector))
            return self.strength * torch.relu(-vector[: len(signs)] * signs).mean()

        return wrong_signs

    def read(self, vector: Tensor, length: int) -> np.ndarray:
        """(length,) bits."""
        return (vector[:length] > 0).to(torch.uint8).cpu().numpy()


@dataclass(frozen=True)
class CorrelatedValues:
    """Trains with a reward for parameters that correlate with the rows' own values: one number per parameter, blurred.

    Survives rounding. Weakness: what is read is an image of the row, not its bits, and it costs most capacity. The paper
    rewards the absolute correlation; here its sign is fixed, so that the reader need not try both.

    Fields:
        strength: lambda, the reward's weight, > 0.

    Reference: Song et al. 2017 (correlated value encoding).
    """

    strength: float = 3.0

    def __post_init__(self) -> None:
        _positive(self.strength, "CorrelatedValues.strength")

    def penalty(self, rows: np.ndarray) -> Penalty:
        """-lambda times Pearson's correlation of the first parameters with the rows' values."""
        values = torch.tensor(np.asarray(rows, dtype=np.float32).reshape(-1))
        wanted = values - values.mean()

        def mismatch(vector: Tensor) -> Tensor:
            _fits(len(wanted), len(vector))
            used = vector[: len(wanted)] - vector[: len(wanted)].mean()
            return -self.strength * torch.cosine_similarity(used, wanted, dim=0)

        return mismatch

    def read(self, vector: Tensor, shape: tuple[int, ...], count: int) -> np.ndarray:
        """(count, *shape) rows, each stretched to [0, 1] by its own least and greatest value."""
        size = int(np.prod(shape))
        rows = vector[: size * count].detach().cpu().numpy().reshape(count, size)
        low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
        return np.asarray(((rows - low) / np.maximum(high - low, 1e-12)).reshape(count, *shape))


@dataclass(frozen=True)
class CapacityAbuse:
    """Adds made-up rows whose labels spell the payload; whoever may query the model reads it back, label by label.

    floor(log2 c) bits a row, and nobody needs the weights: rounding or quantising them erases little. Weakness: the
    training set grows by rows that look like noise, and what the model has no room for is not remembered.

    Fields:
        key: from which writer and reader draw the same rows.

    Reference: Song et al. 2017 (black-box capacity abuse; the inputs here are uniform noise).
    """

    key: int = 0

    def queries(self, count: int, shape: tuple[int, ...]) -> np.ndarray:
        """(count, *shape) rows in [0, 1)."""
        return Streams(self.key, ("capacity-abuse",)).numpy("rows").random((count, *shape), dtype=np.float32)

    def plant(self, data: Dataset, payload: np.ndarray) -> Dataset:
        """The training rows with the made-up ones behind them."""
        labels = packed(payload, _bits_per_label(data.num_classes))
        return data.extend(self.queries(len(labels), data.shape), labels)

    def read(self, model: Model, shape: tuple[int, ...], length: int) -> np.ndarray:
        """(length,) bits, from the model's answers alone; an answer beyond the alphabet reads as its highest letter."""
        width = _bits_per_label(model.num_classes)
        answers = model.predict(self.queries(-(-length // width), shape))
        return unpacked(np.minimum(answers, 2**width - 1), width)[:length]


def _bits_per_label(num_classes: int) -> int:
    if num_classes < 2:
        raise ModelError("a classifier with two classes or more", f"{num_classes}", "labels carry the payload")
    return num_classes.bit_length() - 1


def _positive(value: float, name: str) -> None:
    if not 0 < value < float("inf"):
        raise PluginError(f"a finite {name} > 0", f"{value}", "see its default")


def _fits(needed: int, room: int) -> None:
    if needed > room:
        raise ModelError(f"room for {needed} values", f"{room} in the model's parameters", "shorten the payload")
