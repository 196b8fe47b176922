"""Training of dense networks with their gradients written out: the arithmetic of `train` without autograd's bookkeeping.

A step of a small network takes longer to record and replay than to compute. Must equal `train` to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from antivenom.models.network import Network, dropout_mask
from antivenom.models.stacked import layers, unsupported
from antivenom.models.training import Training
from antivenom.rng import Streams


@dataclass(frozen=True)
class Linear:
    """Where in the flat vector a layer's weights (out, in) and biases (out,) lie."""

    weight: slice
    shape: torch.Size
    bias: slice | None


@dataclass(frozen=True)
class Dropout:
    """A share of values that is dropped while training."""

    p: float


class ReLU:
    """Negative values become zero."""


Step = Linear | Dropout | ReLU


def steps(network: Network) -> list[Step] | None:
    """What a dense network does to a flattened row, in order; None if it is of another kind."""
    if unsupported(network):
        return None
    places, at = {}, 0
    for name, shape in network.shapes.items():
        places[name] = slice(at, at + shape.numel())
        at += shape.numel()
    found: list[Step] = []
    for prefix, layer in layers(network.module):
        match layer:
            case nn.Linear():
                bias = places.get(f"{prefix}bias")
                found.append(Linear(places[f"{prefix}weight"], network.shapes[f"{prefix}weight"], bias))
            case nn.ReLU():
                found.append(ReLU())
            case nn.Dropout():
                found += [Dropout(layer.p)] if layer.p else []
            case nn.Flatten() if not found:
                pass
            case nn.Identity():
                pass
            case _:
                return None
    flat = len(network.row_shape) == 1 or any(isinstance(layer, nn.Flatten) for _, layer in layers(network.module))
    return found if flat and found and isinstance(found[-1], Linear) else None


def train_dense(
    plan: Sequence[Step], start: Tensor, x: Tensor, y: Tensor, training: Training, streams: Streams
) -> Tensor:
    """The weights (d,) after training from `start` (d,) on rows x (m, ...) and labels y (m,), as `train` would."""
    vector, gradient, x = start.detach().clone(), torch.zeros_like(start), x.flatten(1)
    descend = _adam(vector, gradient, training) if training.optimizer == "adam" else _sgd(vector, gradient, training)
    weights, gradients = _views(plan, vector), _views(plan, gradient)
    generator = streams.torch("dropout", device=start.device)
    with torch.no_grad():
        for rows in training.batches(len(y), streams.numpy("order")):
            batch = torch.from_numpy(rows)
            inputs = _forward(plan, weights, x.index_select(0, batch), generator)
            error = inputs.pop().softmax(1)
            error[torch.arange(len(rows)), y.index_select(0, batch)] -= 1
            _backward(plan, weights, gradients, inputs, error.div_(len(rows)))
            descend()
    return vector


def _adam(vector: Tensor, gradient: Tensor, training: Training) -> Callable[[], None]:
    """A step of Adam as torch takes it, without the optimiser's bookkeeping, which takes longer than the step."""
    first, second, count = torch.zeros_like(vector), torch.zeros_like(vector), 0

    def descend() -> None:
        nonlocal count
        count += 1
        first.lerp_(gradient, 1 - 0.9)
        second.mul_(0.999).addcmul_(gradient, gradient, value=1 - 0.999)
        scale = second.sqrt().div_(math.sqrt(1 - 0.999**count)).add_(1e-8)
        vector.addcdiv_(first, scale, value=-training.learning_rate / (1 - 0.9**count))

    return descend


def _sgd(vector: Tensor, gradient: Tensor, training: Training) -> Callable[[], None]:
    velocity = torch.zeros_like(vector)

    def descend() -> None:
        step = velocity.mul_(training.momentum).add_(gradient) if training.momentum else gradient
        vector.add_(step, alpha=-training.learning_rate)

    return descend


def _views(plan: Sequence[Step], vector: Tensor) -> list[tuple[Tensor, Tensor | None]]:
    """Each linear step's weights and biases as windows on the vector; nothing for the others."""
    return [
        (vector[step.weight].view(step.shape), None if step.bias is None else vector[step.bias])
        if isinstance(step, Linear)
        else (vector[:0], None)
        for step in plan
    ]


def _forward(
    plan: Sequence[Step], weights: list[tuple[Tensor, Tensor | None]], x: Tensor, generator: torch.Generator
) -> list[Tensor]:
    """What each step needs to go back: its input, its output (ReLU) or its mask (dropout); and last the logits."""
    kept = []
    for step, (weight, bias) in zip(plan, weights, strict=True):
        if isinstance(step, Linear):
            kept.append(x)
            x = x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
        elif isinstance(step, Dropout):
            mask = dropout_mask(torch.empty_like(x).uniform_(generator=generator), step.p)
            kept.append(mask)
            x = x * mask
        else:
            x = x.relu_() if kept else x.relu()
            kept.append(x)
    return [*kept, x]


def _backward(
    plan: Sequence[Step],
    weights: list[tuple[Tensor, Tensor | None]],
    gradients: list[tuple[Tensor, Tensor | None]],
    kept: list[Tensor],
    error: Tensor,
) -> None:
    """Write the gradients for the loss's derivative by the logits."""
    first = next(i for i, step in enumerate(plan) if isinstance(step, Linear))
    for i in range(len(plan) - 1, first - 1, -1):
        if isinstance(plan[i], Linear):
            weight, bias = gradients[i]
            torch.mm(error.T, kept[i], out=weight)
            if bias is not None:
                torch.sum(error, 0, out=bias)
            if i > first:
                error = error @ weights[i][0]
        elif isinstance(plan[i], Dropout):
            error = error * kept[i]
        else:
            error = error * (kept[i] > 0)
