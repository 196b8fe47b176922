"""Further training of a finished network: the loops and settings that repairs share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from antivenom.core.protocols import Schedule
from antivenom.core.streams import Streams
from antivenom.models.layers import Observer
from antivenom.models.schedules import Cosine
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel

Pass = Callable[[Tensor, Tensor], Tensor]  # weights (d,), rows (m, ...) -> logits (m, c)


def settings(rows: int, epochs: int, rate: float, batch: int = 64, schedule: Schedule = Cosine()) -> Training:
    """SGD with momentum .9 and the schedule. No batch has a single row, which batch norm cannot take."""
    size = min(batch, max(rows, 1))
    while size > 1 and rows % size == 1:
        size -= 1
    return Training(epochs, size, "sgd", rate, momentum=0.9, schedule=schedule)


@dataclass(frozen=True)
class Passes:
    """Forward passes through the network during `descended`.

    Fields:
        training: in training mode; it updates the running statistics of batch norms.
        quiet: in training mode, without this update.
        evaluation: in evaluation mode, with the present running statistics.
    """

    training: Pass
    quiet: Pass
    evaluation: Pass


Gradient = Callable[[Passes, Tensor, Tensor, Tensor], Tensor]
"""Passes, weights (d,), rows and labels of a batch -> the direction (d,) that the optimiser takes as the gradient."""


def descended(
    model: TorchModel,
    x: Tensor,
    y: Tensor,
    training: Training,
    streams: Streams,
    gradient: Gradient,
    after: Callable[[Tensor], None] | None = None,
    see: Observer | None = None,
) -> TorchModel:
    """The model after steps along a gradient of the caller's. Pruned weights stay at 0.

    Args:
        model: the model to start from.
        x: (m, ...) rows.
        y: (m,) labels.
        training: epochs, batch size, optimiser and schedule.
        streams: random streams for the order of the rows and for dropout.
        gradient: called once for each batch.
        after: changes the weights in place after each step, such as a projection.
        see: called after every layer of the pass `training`.
    """
    network = model.network
    state = {name: b.clone() for name, b in model.buffers.items()}
    spare = {name: b.clone() for name, b in model.buffers.items()}
    passes = Passes(
        network.training_forward(streams.torch("dropout", device=x.device), state, see),
        network.training_forward(streams.torch("quiet", device=x.device), spare),
        lambda vector, rows: network.logits(vector, rows, state),
    )
    vector = model.vector.detach().clone().requires_grad_()
    optimizer, steps = training.optimizer_for(vector), training.steps(len(y))
    for number, rows in enumerate(training.batches(len(y), streams.numpy("order"))):
        training.set_rate(optimizer, number / steps)
        batch = torch.as_tensor(rows, device=x.device)
        vector.grad = gradient(passes, vector, x[batch], y[batch])
        if model.kept is not None:
            vector.grad = vector.grad * model.kept
        optimizer.step()
        if after is not None:
            with torch.no_grad():
                after(vector)
    return replace(model, vector=vector.detach(), buffers=state)


def accuracy(model: TorchModel, x: Tensor, y: Tensor) -> float:
    """Share of the rows that the model gets right."""
    with torch.no_grad():
        right = [
            (model.network.logits(model.vector, rows, model.buffers).argmax(1) == labels).sum()
            for rows, labels in zip(x.split(1024), y.split(1024), strict=True)
        ]
    return float(sum(right)) / max(len(y), 1)


def deepest_cut(cut: Callable[[int], TorchModel], most: int, x: Tensor, y: Tensor, max_drop: float) -> TorchModel:
    """The model with as many cuts as the accuracy on the defender's clean rows allows, at most `most`.

    Cutting stops before the first number of cuts at which the accuracy falls by more than `max_drop`. The success of an
    attack plays no part, because a defender does not know it.

    Args:
        cut: number of cuts -> the model with them; 0 gives the model as it is.
        most: largest number of cuts.
        x: (m, ...) clean rows.
        y: (m,) their labels.
        max_drop: the accuracy that may be lost, 0 to 1.
    """
    best = cut(0)
    floor = accuracy(best, x, y) - max_drop - 1e-9
    for number in range(1, most + 1):
        candidate = cut(number)
        if accuracy(candidate, x, y) < floor:
            break
        best = candidate
    return best
