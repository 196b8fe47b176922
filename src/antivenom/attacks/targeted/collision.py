"""Clean-label targeted poison by collisions in feature space."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from antivenom.attacks.inputs import bases, rows_per_target, targets
from antivenom.attacks.surrogates import surrogate
from antivenom.core.errors import PluginError
from antivenom.core.protocols import Architecture, AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel


@attack(access=(Access.DATA_INJECTION,), goal=Goal.TARGETED, cite="Shafahi et al. 2018, arXiv:1804.00792")
class FeatureCollision:
    """Adds correctly labelled rows of the wanted class whose features equal those of the target (clean-label poison).

    Each poison starts at a row of the wanted class, blended with a little of the target. It is moved until a surrogate
    gives it the target's features, while it stays close to its start. A model that learns the label of the poison then
    gives it to the target. Weakness: the features of a model that is trained from scratch differ from the surrogate's, so
    many poisons and some opacity are needed. A nearest-neighbour filter on features detects them.

    Fields:
        poisons: rows added for each target, >= 1; fewer if the threat model grants fewer.
        opacity: weight of the target in the start of each poison, from 0 to below 1.
        steps: number of forward-backward steps.
        step_size: lambda, length of a step, above 0.
        nearness: beta, weight of the squared distance from the start, >= 0.
        surrogate: the architecture whose features collide; it is trained on the clean rows.
        training: how the surrogate is trained.

    Reference: Shafahi, Huang, Najibi, Suciu, Studer, Dumitras and Goldstein 2018, "Poison Frogs! Targeted Clean-Label
    Poisoning Attacks on Neural Networks", NeurIPS, arXiv:1804.00792, algorithm 1 and section 4.2 (opacity).
    """

    poisons: int = 30
    opacity: float = 0.3
    steps: int = 60
    step_size: float = 0.01
    nearness: float = 0.1
    surrogate: Architecture = MLP(hidden=(64,))
    training: Training = Training(epochs=10, learning_rate=0.01)

    def __post_init__(self) -> None:
        if self.poisons < 1 or not 0 <= self.opacity < 1 or self.steps < 0:
            raise PluginError(
                "FeatureCollision.poisons >= 1, opacity from 0 to below 1 and steps >= 0",
                f"{self.poisons}, {self.opacity} and {self.steps}",
            )
        if not 0 < self.step_size < float("inf") or not 0 <= self.nearness < float("inf"):
            raise PluginError(
                "FeatureCollision.step_size > 0 and nearness >= 0", f"{self.step_size} and {self.nearness}"
            )

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        chosen, wanted = targets(context, self)
        model = surrogate(self.surrogate, self.training, data, context.streams.child("surrogate"), self)
        number_each = rows_per_target(self.poisons, chosen, data, context)
        parts, labels = [data.dense[:0]], [data.y[:0]]
        for number, label in enumerate(wanted):
            starts = data.dense[bases(data, label, number_each, number, context)]
            parts.append(self._collided(model, starts, chosen.dense[number]))
            labels.append(np.full(number_each, label))
        x = np.clip(np.concatenate(parts), data.dense.min(), data.dense.max())
        poisoned = data.extend(x.astype(np.float32), np.concatenate(labels))
        return Poison(poisoned, np.arange(len(poisoned)) >= len(data))

    def _collided(self, model: TorchModel, starts: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Algorithm 1: a gradient step on the distance of features, then a proximal step towards the start."""
        goal = torch.tensor(target)
        base = (1 - self.opacity) * torch.tensor(starts) + self.opacity * goal
        aim = features(model, goal[None]).detach()
        x = base.clone()
        for _ in range(self.steps):
            moved = x.detach().requires_grad_()
            distance = ((features(model, moved) - aim) ** 2).sum()
            (gradient,) = torch.autograd.grad(distance, moved)
            forward = x - self.step_size * gradient
            x = (forward + self.step_size * self.nearness * base) / (1 + self.step_size * self.nearness)
        return np.asarray(x.detach().numpy())


def features(model: TorchModel, x: Tensor) -> Tensor:
    """(m, width) inputs of the head, the last executed layer, for x (m, ...); differentiable in x.

    Raises:
        NotApplicable: the surrogate has no head (see `Network.head`).
    """
    network = model.network
    return network.entering(model.vector, x, network.head().name, model.buffers).flatten(1)
