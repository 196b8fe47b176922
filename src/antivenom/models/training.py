"""The training loop of one network. It is the oracle: every faster form must equal it to rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import AntivenomError, ModelError, NotApplicable, PluginError, ScenarioError, similar
from antivenom.core.protocols import Augmentation, Schedule
from antivenom.core.streams import Streams
from antivenom.models.network import Buffers, Network
from antivenom.models.schedules import Constant

Forward = Callable[[Tensor], Tensor]  # inputs (m, ...) -> logits (m, c)
Loss = Callable[[Forward, Tensor, Tensor], Tensor]  # forward, inputs (m, ...), labels (m,) -> a scalar
OPTIMIZERS = ("adam", "adamw", "sgd")


def cross_entropy(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
    """The honest loss: mean cross-entropy of the batch. A logic-corruption attack replaces this function."""
    return F.cross_entropy(forward(x), y)


@dataclass(frozen=True)
class Training:
    """How one model is trained.

    Fields:
        epochs: passes over the rows (E).
        batch_size: rows per step (B); the last batch of an epoch may be smaller.
        optimizer: "adam" or "adamw" (betas .9 and .999, eps 1e-8), or "sgd". Its state is new for every call of `train`.
        learning_rate: initial step size.
        momentum: momentum of SGD.
        nesterov: use Nesterov's form of SGD's momentum.
        weight_decay: this multiple of the weights is added to the gradient; for adamw it is decoupled from the gradient.
        schedule: factor of the step size by the share of the steps that are done. In a federation it spans one round.
        augmentation: random changes of each batch of images, applied in this order.
        shuffle: visit the rows in a new random order in each epoch. Otherwise batches are consecutive rows, as in the code
            of Bhagoji et al. 2019.
        bf16: compute layers in bfloat16, with 8 significant bits; faster on processors with such instructions. Weights,
            loss and optimiser keep their precision. Weakness: updates of the reference models differ from exact ones by
            1 to 24 % of their length. It applies to `train` and the clients of a federation, like schedule and
            augmentation. Attackers' own objectives, shadow models and DP-SGD ignore it, double precision is not
            affected, and dense networks on a CPU are not trained by compiled code.
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
                similar(str(self.optimizer), OPTIMIZERS),
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
        """Set the optimiser's step size for the moment when a share `done` of all steps is done."""
        if self.schedule != Constant():
            optimizer.param_groups[0]["lr"] = self.learning_rate * self.schedule(done)

    def augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The batch x (m, ...) after all augmentations.

        Raises:
            NotApplicable: rows that are not images.
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
        """The autocast context in which layers compute in bfloat16 if `bf16` is set; else a context without effect."""
        return torch.autocast(device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def steps(self, num_rows: int) -> int:
        """Number of optimiser steps on that many rows."""
        return self.epochs * -(-num_rows // self.batch_size)

    def orders(self, num_rows: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """For each epoch, the row numbers (num_rows,) in the order of their use."""
        for _ in range(self.epochs):
            yield rng.permutation(num_rows) if self.shuffle else np.arange(num_rows)

    def batches(self, num_rows: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Row numbers of all batches of all epochs."""
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
    global_rng_unused: bool = False,
    kept: Tensor | None = None,
) -> tuple[Tensor, Buffers]:
    """Train a network.

    Args:
        network: the architecture.
        start: (d,) initial weights; they are not changed.
        x: (m, ...) rows, on the device of `start`.
        y: (m,) labels.
        training: epochs, batch size, optimiser.
        streams: the streams "order", "dropout", "augmentation" and "global" below it are used. The last one seeds torch's
            global generator, for layers that draw from it, and the generator is restored afterwards.
        loss: the loss of a batch.
        buffers: initial buffers; None uses those of the network.
        penalty: (d,) -> scalar, which is added to the loss of every batch.
        global_rng_unused: do not seed the global generator, because no layer draws from it. Then several threads may
            train at the same time.
        kept: (d,) bool; weights where it is False keep their initial value. None trains all.

    Returns:
        (d,) trained weights, and the buffers after training.

    Raises:
        ModelError: the module raised on a batch.
    """
    state = {name: b.clone() for name, b in (network.buffers if buffers is None else buffers).items()}
    step = network.training_forward(streams.torch("dropout", device=start.device), state)
    vector = start.detach().clone().requires_grad_()
    optimizer = training.optimizer_for(vector)

    def forward(inputs: Tensor) -> Tensor:
        try:
            with training.products(start.device):
                return step(vector, inputs).to(start.dtype)
        except Exception as error:  # the user's module may raise any exception
            if isinstance(error, AntivenomError):
                raise
            alone = network.running and len(inputs) == 1
            remedy = "choose a batch_size that leaves no single row" if alone else ""
            got = f"{type(error).__name__}: {error}"
            raise ModelError(f"logits for a batch of {len(inputs)} rows in training", got, remedy) from error

    generator = streams.torch("augmentation", device=start.device)
    steps = training.steps(len(y))
    with nullcontext() if global_rng_unused else _seeded(streams.child("global").key, start.device):
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


@contextmanager
def _seeded(key: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators with the key; restore them on exit."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(key)
        if on_gpu:
            torch.cuda.manual_seed(key)
        yield
