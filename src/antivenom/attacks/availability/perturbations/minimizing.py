"""Error-minimising noise, which leaves a model nothing to learn from the rows ("unlearnable examples")."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from antivenom.attacks.availability.perturbations.adversarial import gradient
from antivenom.attacks.availability.perturbations.bounded import (
    check_ball,
    check_positive,
    chosen,
    clean_rows,
    perturbed,
    within,
)
from antivenom.attacks.inputs import check_share
from antivenom.core.protocols import Architecture, AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.models.architectures import MLP
from antivenom.models.network import build
from antivenom.models.training import Training, train
from antivenom.models.wrappers import TorchModel


@attack(
    access=(Access.DATA_MANIPULATION,),
    goal=Goal.AVAILABILITY,
    cite="Huang et al. 2021, arXiv:2101.04898",
)
class ErrorMinimizingNoise:
    """Makes rows so easy that a model learns only the noise ("unlearnable examples").

    Surrogate and noise minimise the same training loss alternately: a few training steps on the perturbed rows, then sign
    steps on the noise. Weakness: adversarial training, strong augmentation, early stopping, clean rows in the data or
    LinearProbe defeat it. The paper uses epsilon 8/255 with a ResNet-18 on a GPU.

    Fields:
        poisoned_rate: share of the rows that are perturbed, 0 to 1.
        epsilon: maximal change of a feature (linf), for features in [0, 1].
        class_wise: whether all rows of a class share one noise.
        surrogate: torch architecture that the attacker trains.
        training: batch size, optimiser and epochs of one turn.
        train_steps: M, number of batches for the surrogate in a turn; fewer if there are fewer rows.
        steps: sign steps on the noise in a turn (in the paper 20, class-wise 1).
        step_size: size of a step, relative to epsilon.
        stop_error: stop at this training error on the perturbed rows, 0 to 1 (in the paper 0.01, class-wise 0.1).
        rounds: maximal number of turns.

    Reference: Huang, Ma, Erfani, Bailey and Wang 2021, "Unlearnable Examples: Making Personal Data Unexploitable",
    ICLR, arXiv:2101.04898.
    """

    poisoned_rate: float = 1.0
    epsilon: float = 0.3
    class_wise: bool = False
    surrogate: Architecture = MLP()
    training: Training = Training(epochs=1, batch_size=128, optimizer="sgd", learning_rate=0.1)
    train_steps: int = 10
    steps: int = 20
    step_size: float = 0.1
    stop_error: float = 0.01
    rounds: int = 20

    def __post_init__(self) -> None:
        check_ball(self.poisoned_rate, self.epsilon, self)
        check_share(self.stop_error, "ErrorMinimizingNoise.stop_error")
        check_positive(
            self, train_steps=self.train_steps, steps=self.steps, step_size=self.step_size, rounds=self.rounds
        )

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        clean = clean_rows(data)
        rows = chosen(self.poisoned_rate, len(data), context.streams)
        if not len(rows):
            return Poison.none(data)
        whole, y = torch.tensor(clean), torch.tensor(data.y)
        at = torch.as_tensor(rows)
        x, labels = whole[at], y[at]
        owner = labels if self.class_wise else torch.arange(len(rows))  # index of the noise of each row
        noise = x.new_zeros(data.num_classes if self.class_wise else len(rows), *data.shape)
        network = build(self.surrogate, data.shape, data.num_classes, context.streams)
        model, order = TorchModel(network, network.initial, network.buffers), context.streams.numpy("turns")
        for turn in range(self.rounds):
            seen = torch.as_tensor(order.permutation(len(y))[: self.train_steps * self.training.batch_size])
            streams = context.streams.child("turn", turn)
            vector, buffers = train(
                network, model.vector, whole[seen], y[seen], self.training, streams, buffers=model.buffers
            )
            model = TorchModel(network, vector, buffers)
            noise = self._easier(model, x, labels, owner, noise)
            whole[at] = within(x + noise[owner], x, self.epsilon)
            if np.mean(model.predict(whole[at].numpy()) != data.y[rows]) <= self.stop_error:
                break
        return perturbed(data, rows, (whole[at] - x).numpy())

    def _easier(self, model: TorchModel, x: Tensor, y: Tensor, owner: Tensor, noise: Tensor) -> Tensor:
        """The noise (rows or classes, ...) after the sign steps of one turn, on the rows (m, ...)."""
        for _ in range(self.steps):
            now = within(x + noise[owner], x, self.epsilon)
            slopes = torch.zeros_like(noise).index_add_(0, owner, gradient(model, now, y))
            noise = (noise - self.step_size * self.epsilon * slopes.sign()).clamp(-self.epsilon, self.epsilon)
        return noise
