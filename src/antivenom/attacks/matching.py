"""Gradient matching: perturbations with which honest training steps on poison resemble steps on the attacker's goal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.attacks.availability.perturbations.bounded import within
from antivenom.core.errors import PluginError
from antivenom.core.protocols import Augmentation
from antivenom.core.streams import Streams
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel

DECAYS = (3 / 8, 5 / 8, 7 / 8)  # shares of the steps after which the step size is divided by 10


@dataclass(frozen=True)
class Matching:
    """Settings of the search.

    Fields:
        epsilon: maximal change of a feature (linf), for features in [0, 1].
        steps: steps of signed Adam on the perturbations.
        step_size: first size of a step, relative to epsilon; it is divided by 10 after 3/8, 5/8 and 7/8 of the steps.
        restarts: number of random starts; the perturbations with the lowest loss are kept.
        batch_size: poisons whose mean gradient is matched at a time.
        augmentation: random changes of the poisons in each step, through which gradients pass.
    """

    epsilon: float
    steps: int
    step_size: float
    restarts: int
    batch_size: int
    augmentation: tuple[Augmentation, ...]

    def found(
        self, model: TorchModel, x: Tensor, y: Tensor, aim: Tensor, streams: Streams, before: Tensor | None = None
    ) -> tuple[Tensor, float]:
        """(the perturbed rows (k, ...), their matching loss).

        Args:
            model: the surrogate.
            x: (k, ...) the rows.
            y: (k,) their labels.
            aim: (d,) the gradient that is to be matched.
            streams: random starts and augmentation.
            before: (k, ...) perturbed rows to start from; None starts at random.
        """
        best, lowest = x, math.inf
        for number in range(self.restarts):
            now, loss = self._from_one_start(model, x, y, aim, streams.child("start", number), before)
            if loss < lowest:
                best, lowest = now, loss
        return best, lowest

    def _from_one_start(
        self, model: TorchModel, x: Tensor, y: Tensor, aim: Tensor, streams: Streams, before: Tensor | None
    ) -> tuple[Tensor, float]:
        generator = streams.torch("perturbations")
        noise = self.epsilon * (2 * torch.rand(x.shape, generator=generator) - 1)
        delta = (within(x + noise if before is None else before, x, self.epsilon) - x).requires_grad_()
        optimizer = torch.optim.Adam([delta], lr=self.step_size * self.epsilon)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [math.ceil(d * self.steps) for d in DECAYS], 0.1)
        augmented = Training(augmentation=self.augmentation).augmented
        for _ in range(self.steps):
            total = torch.zeros_like(delta)
            for part in torch.arange(len(x)).split(self.batch_size):
                changed = augmented((x + delta)[part], generator)
                (slope,) = torch.autograd.grad(matching_loss(model, changed, y[part], aim), delta)
                total += slope
            delta.grad = total.sign()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                delta.copy_(within(x + delta, x, self.epsilon) - x)
        poisons = (x + delta).detach()
        return poisons, float(matching_loss(model, poisons, y, aim).detach())


def check_matching(matching: Matching, attack: object) -> None:
    """Refuse settings out of range."""
    name, m = type(attack).__name__, matching
    if not 0 < m.epsilon <= 1 or not 0 < m.step_size < math.inf:
        raise PluginError(
            f"{name}.epsilon above 0 and up to 1, and step_size above 0", f"{m.epsilon} and {m.step_size}"
        )
    if m.steps < 0 or m.restarts < 1 or m.batch_size < 1:
        raise PluginError(
            f"{name}.steps >= 0, restarts >= 1 and batch_size >= 1", f"{m.steps}, {m.restarts} and {m.batch_size}"
        )


def weight_gradient(model: TorchModel, x: Tensor, y: Tensor, graph: bool = False) -> Tensor:
    """Gradient (d,) of the mean cross-entropy at rows x (m, ...) and labels y (m,) with respect to the weights.

    With `graph`, it can be differentiated with respect to x.
    """
    vector = model.vector.detach().requires_grad_()
    loss = F.cross_entropy(model.network.logits(vector, x, model.buffers), y)
    return torch.autograd.grad(loss, vector, create_graph=graph)[0]


def matching_loss(model: TorchModel, x: Tensor, y: Tensor, aim: Tensor) -> Tensor:
    """1 minus the cosine between the weights' gradient at rows x (m, ...) and `aim` (d,): 0 if they agree, at most 2."""
    own = weight_gradient(model, x, y, graph=True)
    return 1 - F.cosine_similarity(own, aim, dim=0)


def gradient_norms(model: TorchModel, x: Tensor, y: Tensor) -> Tensor:
    """(m,) norm of each row's own gradient with respect to the weights."""
    return torch.stack([weight_gradient(model, x[i : i + 1], y[i : i + 1]).norm() for i in range(len(x))])
