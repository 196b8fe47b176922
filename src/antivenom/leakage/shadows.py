"""Shadow models: many networks of one architecture, trained at the same time on different rows of one table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import DataError, NotApplicable
from antivenom.core.protocols import Architecture
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.leakage.likelihood_ratio import logit_scaled
from antivenom.models.network import Network, build
from antivenom.models.schedules import half_cosine
from antivenom.models.stacked import Draws, stacked_logits, supports, unsupported
from antivenom.models.training import Training


def halves(models: int, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Training sets (models, rows) bool: each model gets exactly half of the rows, each row is in half of the models.

    The two models of a pair share no row.

    Raises:
        DataError: an odd number of models or rows.
    """
    if models % 2 or rows % 2 or models < 2:
        raise DataError("even numbers of models and of rows", f"{models} and {rows}")
    ranks = np.argsort(rng.random((models // 2, rows)), axis=1)
    first = np.zeros((models // 2, rows), dtype=bool)
    np.put_along_axis(first, ranks[:, : rows // 2], True, axis=1)
    return np.stack([first, ~first], axis=1).reshape(models, rows)


def beginnings(
    architecture: Architecture, shape: tuple[int, ...], classes: int, models: int, streams: Streams
) -> tuple[Network, Tensor]:
    """The network, and independent initial weights (models, d).

    Raises:
        NotApplicable: an estimator, or a network with a layer that cannot be evaluated for many models at once.
    """
    networks = [build(architecture, shape, classes, streams.child("model", i)) for i in range(models)]
    odd = unsupported(networks[0])
    if odd:
        raise NotApplicable("a network of layers that can be stacked", ", ".join(odd), "use MLP or Logistic")
    return networks[0], torch.stack([network.initial for network in networks])


def train_together(
    network: Network,
    start: Tensor,
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    training: Training,
    generator: torch.Generator,
    annealed: bool = True,
) -> Tensor:
    """Weights (m, d) of m models, trained from `start` (m, d). Model i sees x[rows[i]], y[rows[i]]; rows is (m, k).

    The models are independent, because optimisers work elementwise. `annealed` lets the learning rate fall to 0 along a
    half cosine. Otherwise the noise of the last steps hides which rows the model has memorised.
    """
    check_plain(training)
    vectors = start.clone().requires_grad_()
    optimizer = training.optimizer_for(vectors)
    steps = training.steps(rows.shape[1])
    for step, batch in enumerate(_batches(rows, training, generator)):
        if annealed:
            optimizer.param_groups[0]["lr"] = training.learning_rate * half_cosine(step / steps)
        draws = Draws([generator] * len(batch), [batch.shape[1]] * len(batch))
        logits = stacked_logits(network, vectors, x[batch], draws)
        loss = F.cross_entropy(logits.flatten(0, 1), y[batch].flatten(), reduction="sum") / batch.shape[1]
        (vectors.grad,) = torch.autograd.grad(loss, vectors)
        optimizer.step()
    return vectors.detach()


def check_plain(training: Training) -> None:
    """Refuse a training that has no form for many models at once.

    Raises:
        NotApplicable: it has a schedule of its own, or augmentation.
    """
    reason = supports(training)
    if reason is not None:
        raise NotApplicable("a training without schedule and augmentation", reason, "drop them")


def _batches(rows: Tensor, training: Training, generator: torch.Generator) -> Iterator[Tensor]:
    """Row indices (m, b) of all batches of all epochs; each model has its own order."""
    for _ in range(training.epochs):
        order = torch.rand(rows.shape, generator=generator, device=rows.device).argsort(1)
        yield from rows.gather(1, order).split(training.batch_size, dim=1)


@dataclass(frozen=True, eq=False)
class Shadows:
    """Models of one architecture that are evaluated together.

    Fields:
        network: the architecture.
        vectors: (m, d) weights of the models.
    """

    network: Network
    vectors: Tensor

    def logits(self, x: np.ndarray, batch: int = 256) -> Tensor:
        """Logits (m, n, c) of all models for all rows x (n, ...), without dropout."""
        rows, m = torch.tensor(x, device=self.vectors.device), len(self.vectors)
        with torch.no_grad():
            parts = [
                stacked_logits(self.network, self.vectors, part.expand(m, *part.shape)) for part in rows.split(batch)
            ]
        return torch.cat(parts, dim=1)

    def confidences(self, data: Dataset) -> np.ndarray:
        """Logit-scaled confidence (m, n) of each model in the label of each row."""
        y = torch.tensor(data.y, device=self.vectors.device)
        return np.asarray(logit_scaled(self.logits(data.dense), y.expand(len(self.vectors), -1)).cpu().numpy())

    def right(self, data: Dataset) -> np.ndarray:
        """Whether (m, n) bool a model predicts the label of a row."""
        return np.asarray(self.logits(data.dense).argmax(-1).cpu().numpy() == data.y)
