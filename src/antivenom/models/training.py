"""Training one network on one data set, minibatch by minibatch. The federation's fast path must equal this loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import AntivenomError, ModelError, NotApplicable, PluginError, ScenarioError, did_you_mean
from antivenom.core.protocols import Augmentation, Schedule
from antivenom.core.streams import Streams
from antivenom.models.network import Buffers, Network
from antivenom.models.schedules import Constant

Forward = Callable[[Tensor], Tensor]
Loss = Callable[[Forward, Tensor, Tensor], Tensor]
Trainer = Callable[
    [Network, Tensor, Tensor, Tensor, "Training", Streams, Loss, Buffers | None, Tensor | None], tuple[Tensor, Buffers]
]  # network, start, x, y, training, streams, loss, buffers, kept -> the weights and buffers that `train` gives
OPTIMIZERS = ("adam", "adamw", "sgd")


def cross_entropy(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
    """The honest loss: mean cross-entropy of the batch. A logic-corruption attack replaces this function."""
    return F.cross_entropy(forward(x), y)


@dataclass(frozen=True)
class Training:
    """How one model is trained from where it starts.

    Fields:
        epochs: passes over the rows (E).
        batch_size: rows per step (B); the last batch of an epoch may be smaller.
        optimizer: "adam" or "adamw" (betas .9 and .999, eps 1e-8), or "sgd". Its state is fresh at every call.
        learning_rate: step size, at the start.
        momentum: of SGD only.
        nesterov: SGD looks ahead along its momentum.
        weight_decay: added to the gradient as that multiple of the weights; adamw shrinks the weights instead.
        schedule: how the step size changes in the course of a training, which is one round in a federation.
        augmentation: random changes of each batch of images, in this order.
        shuffle: draw a new order each epoch; else sequential slices, as the authors of the federated paper do.
        bf16: layers multiply in bfloat16, which keeps 8 bits of a factor and is faster where the processor has such
            products; weights, losses and optimiser stay as they are. Weakness: updates of the reference models differ
            from exact ones by 1 to 24 % of their length. Only `train` and a federation's clients heed it
            (as they do schedule and augmentation); attackers' own objectives, shadow models and DP-SGD stay exact, a dense network on a CPU loses its compiled
            training, and double precision is left as it is.
    """

    epochs: int = 5
    batch_size: int = 50
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    shuffle: bool = True
    bf16: bool = False
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: Schedule = Constant()
    augmentation: tuple[Augmentation, ...] = ()

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ScenarioError(
                f"optimizer: {', '.join(OPTIMIZERS)}",
                repr(self.optimizer),
                did_you_mean(str(self.optimizer), OPTIMIZERS),
            )
        if not 0 <= self.weight_decay < math.inf:
            raise ScenarioError("weight_decay >= 0", f"{self.weight_decay}")
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum > 0):
            got = f"optimizer {self.optimizer} with momentum {self.momentum}"
            raise ScenarioError("sgd with momentum for nesterov", got, "set momentum: 0.9")
        if self.epochs < 0 or self.batch_size < 1:
            raise ScenarioError("epochs >= 0 and batch_size >= 1", f"{self.epochs} and {self.batch_size}")
        if not 0 < self.learning_rate < math.inf or not 0 <= self.momentum < 1:
            raise ScenarioError(
                "learning_rate > 0 and momentum from 0 to below 1",
                f"{self.learning_rate} and {self.momentum}",
            )

    def optimizer_for(self, leaf: Tensor) -> torch.optim.Optimizer:
        rate, decay = self.learning_rate, self.weight_decay
        if self.optimizer == "adam":
            return torch.optim.Adam([leaf], lr=rate, weight_decay=decay, fused=True)
        if self.optimizer == "adamw":
            return torch.optim.AdamW([leaf], lr=rate, weight_decay=decay, fused=True)
        return torch.optim.SGD(
            [leaf], lr=rate, momentum=self.momentum, nesterov=self.nesterov, weight_decay=decay, fused=True
        )

    def set_rate(self, optimizer: torch.optim.Optimizer, done: float) -> None:
        """Give the optimiser the step size for when a share `done` of the steps is behind."""
        if self.schedule != Constant():
            optimizer.param_groups[0]["lr"] = self.learning_rate * self.schedule(done)

    def augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The batch (m, ...) with its random changes.

        Raises:
            NotApplicable: rows that are no images.
            PluginError: an augmentation that returns another shape.
        """
        for change in self.augmentation:
            if x.dim() != 4:
                raise NotApplicable(
                    f"images for {type(change).__name__}",
                    f"rows of shape {tuple(x.shape[1:])}",
                    "drop the augmentation",
                )
            changed = change(x, generator)
            if changed.shape != x.shape:
                raise PluginError(
                    f"images of shape {tuple(x.shape)} from {type(change).__name__}", f"{tuple(changed.shape)}"
                )
            x = changed
        return x

    def products(self, device: torch.device) -> AbstractContextManager[object]:
        """The context in which a network's layers multiply as `bf16` says."""
        return torch.autocast(device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def steps(self, num_rows: int) -> int:
        """Optimiser steps for a shard of that many rows."""
        return self.epochs * -(-num_rows // self.batch_size)

    def orders(self, num_rows: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Row numbers of every epoch, in the order in which they are used."""
        for _ in range(self.epochs):
            yield rng.permutation(num_rows) if self.shuffle else np.arange(num_rows)

    def batches(self, num_rows: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Row numbers of every batch of every epoch."""
        for order in self.orders(num_rows, rng):
            for start in range(0, num_rows, self.batch_size):
                yield order[start : start + self.batch_size]


def train(
    network: Network,
    start: Tensor,
    x: Tensor,
    y: Tensor,
    training: Training,
    streams: Streams,
    loss: Loss = cross_entropy,
    buffers: Buffers | None = None,
    penalty: Callable[[Tensor], Tensor] | None = None,
    apart: bool = False,
    kept: Tensor | None = None,
) -> tuple[Tensor, Buffers]:
    """The weights (d,) after training from `start` (d,) on rows x (m, ...) and labels y (m,), and the buffers.

    `penalty` (d,) -> () is added to the loss of every batch. Weights where `kept` (d,) is False stay as they are at the start.

    Randomness: the streams "order", "dropout" and "augmentation" below `streams`; layers that draw from torch's global generator
    are given a seeded one for the time of the call. `apart` leaves that one alone: for layers that draw nothing from it,
    so that threads may train side by side.
    """
    state = {name: b.clone() for name, b in (network.buffers if buffers is None else buffers).items()}
    step = network.training_forward(streams.torch("dropout", device=start.device), state)
    vector = start.detach().clone().requires_grad_()
    optimizer = training.optimizer_for(vector)

    def forward(inputs: Tensor) -> Tensor:
        try:
            with training.products(start.device):
                return step(vector, inputs).to(start.dtype)
        except Exception as error:  # a module of the user's fails in whatever way it likes
            if isinstance(error, AntivenomError):
                raise
            alone = network.running and len(inputs) == 1
            remedy = "choose a batch_size that leaves no single row" if alone else ""
            got = f"{type(error).__name__}: {error}"
            raise ModelError(f"logits for a batch of {len(inputs)} rows in training", got, remedy) from error

    generator = streams.torch("augmentation", device=start.device)
    steps = training.steps(len(y))
    with nullcontext() if apart else _seeded(streams.child("global").key, start.device):
        for step_number, rows in enumerate(training.batches(len(y), streams.numpy("order"))):
            training.set_rate(optimizer, step_number / steps)
            batch = torch.as_tensor(rows, device=start.device)
            value = loss(forward, training.augmented(x[batch], generator), y[batch])
            if penalty is not None:
                value = value + penalty(vector)
            (vector.grad,) = torch.autograd.grad(value, vector)
            if kept is not None:
                vector.grad *= kept
            optimizer.step()
    return vector.detach(), state


def loop(
    network: Network,
    start: Tensor,
    x: Tensor,
    y: Tensor,
    training: Training,
    streams: Streams,
    loss: Loss,
    buffers: Buffers | None,
    kept: Tensor | None,
) -> tuple[Tensor, Buffers]:
    """`train` as a Trainer: the oracle of every other."""
    return train(network, start, x, y, training, streams, loss, buffers, kept=kept)


@contextmanager
def _seeded(key: int, device: torch.device) -> Iterator[None]:
    """Torch's global generators start from the key, and are as they were afterwards."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(key)
        if on_gpu:
            torch.cuda.manual_seed(key)
        yield
