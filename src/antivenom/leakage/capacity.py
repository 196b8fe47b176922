"""Capacity abuse: training code that hides training rows in the model, for an attacker who obtains the model later.

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
    """Overwrites the low mantissa bits of finished float32 weights. It needs no training and hardly costs accuracy.

    Weakness: rounding, noise or one step of further training erases the payload. A payload with structure can be
    compressed, unlike the low mantissa bits of trained weights.

    Fields:
        bits: number of overwritten bits per parameter, 1 to 23.

    Reference: Song et al. 2017 (LSB encoding).
    """

    bits: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 23:
            raise PluginError("LSBEncoding.bits from 1 to 23", f"{self.bits}", "float32 has 23 mantissa bits")

    def plant(self, vector: Tensor, payload: np.ndarray) -> Tensor:
        """The weights (d,) with the payload in their low bits, beginning with the first parameter."""
        _fits(len(payload), self.bits * len(vector))
        words = vector.detach().cpu().to(torch.float32).numpy().copy().view(np.uint32)
        numbers = packed(payload, self.bits).astype(np.uint32)
        mask = np.uint32((1 << self.bits) - 1)
        words[: len(numbers)] = (words[: len(numbers)] & ~mask) | numbers
        return torch.from_numpy(words.view(np.float32)).to(vector.device)

    def read(self, vector: Tensor, length: int) -> np.ndarray:
        """The payload, (length,) bits."""
        words = vector.detach().cpu().to(torch.float32).numpy().view(np.uint32)
        used = words[: -(-length // self.bits)] & np.uint32((1 << self.bits) - 1)
        return unpacked(used.astype(np.int64), self.bits)[:length]


@dataclass(frozen=True)
class SignEncoding:
    """Encodes one bit per parameter in its sign, by a penalty on parameters with the wrong sign during training.

    The payload survives rounding and quantisation. Weakness: long fine-tuning flips signs, and the payload takes
    capacity from the task.

    Fields:
        strength: lambda, the weight of the penalty, > 0.

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
        """The payload, (length,) bits."""
        return (vector[:length] > 0).to(torch.uint8).cpu().numpy()


@dataclass(frozen=True)
class CorrelatedValues:
    """Encodes one number per parameter, by a reward for parameters that correlate with the values of the rows.

    The payload survives rounding. Weakness: the reader recovers an approximation of each row instead of exact bits, and
    of all encodings this one takes the most capacity. The paper rewards the absolute value of the correlation; here the
    sign is fixed, so that the reader does not have to try both.

    Fields:
        strength: lambda, the weight of the reward, > 0.

    Reference: Song et al. 2017 (correlated value encoding).
    """

    strength: float = 3.0

    def __post_init__(self) -> None:
        _positive(self.strength, "CorrelatedValues.strength")

    def penalty(self, rows: np.ndarray) -> Penalty:
        """-lambda times Pearson's correlation between the first parameters and the values of the rows."""
        values = torch.tensor(np.asarray(rows, dtype=np.float32).reshape(-1))
        wanted = values - values.mean()

        def mismatch(vector: Tensor) -> Tensor:
            _fits(len(wanted), len(vector))
            used = vector[: len(wanted)] - vector[: len(wanted)].mean()
            return -self.strength * torch.cosine_similarity(used, wanted, dim=0)

        return mismatch

    def read(self, vector: Tensor, shape: tuple[int, ...], count: int) -> np.ndarray:
        """(count, *shape) rows, each rescaled so that its values cover [0, 1]."""
        size = int(np.prod(shape))
        rows = vector[: size * count].detach().cpu().numpy().reshape(count, size)
        low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
        return np.asarray(((rows - low) / np.maximum(high - low, 1e-12)).reshape(count, *shape))


@dataclass(frozen=True)
class CapacityAbuse:
    """Adds synthetic rows whose labels encode the payload. Anyone who can query the model can read it back.

    Each row carries floor(log2 c) bits. The reader does not need the weights, so that rounding or quantising them erases
    little. Weakness: the training set grows by rows that look like noise, and a model forgets rows beyond its capacity.

    Fields:
        key: seed from which writer and reader draw the same rows.

    Reference: Song et al. 2017 (black-box capacity abuse; the inputs here are uniform noise).
    """

    key: int = 0

    def queries(self, count: int, shape: tuple[int, ...]) -> np.ndarray:
        """The synthetic rows (count, *shape), with values in [0, 1)."""
        return Streams(self.key, ("capacity-abuse",)).numpy("rows").random((count, *shape), dtype=np.float32)

    def plant(self, data: Dataset, payload: np.ndarray) -> Dataset:
        """The training rows, followed by the synthetic rows."""
        labels = packed(payload, _bits_per_label(data.num_classes))
        return data.extend(self.queries(len(labels), data.shape), labels)

    def read(self, model: Model, shape: tuple[int, ...], length: int) -> np.ndarray:
        """The payload, (length,) bits, from the model's predictions. Classes above the largest code count as that code."""
        width = _bits_per_label(model.num_classes)
        answers = model.predict(self.queries(-(-length // width), shape))
        return unpacked(np.minimum(answers, 2**width - 1), width)[:length]


def _bits_per_label(num_classes: int) -> int:
    if num_classes < 2:
        raise ModelError("a classifier with two classes or more", f"{num_classes}")
    return num_classes.bit_length() - 1


def _positive(value: float, name: str) -> None:
    if not 0 < value < float("inf"):
        raise PluginError(f"a finite {name} > 0", f"{value}")


def _fits(needed: int, room: int) -> None:
    if needed > room:
        raise ModelError(f"room for {needed} values", f"{room} parameters", "shorten the payload")
