"""Mitigations that train against perturbations which act as triggers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import mitigation
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.defences.inversion import NO_CLASS, Search, invert
from antivenom.defences.networks import bounds, continuous, network_of, rows_of
from antivenom.defences.repair.loops import Passes, descended
from antivenom.defences.spaces import Ball
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel

MOST_ROWS = 256  # rows on which the shared perturbation is searched


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Zeng et al. 2022, arXiv:2110.03735")
class IBAU:
    """Trains against one perturbation that is shared by all rows, with the implicit hypergradient (I-BAU).

    It solves min over weights, max over one perturbation of limited Euclidean norm, of the mean loss on perturbed clean
    rows. In each round the perturbation is found by gradient ascent. Then each batch gives a step of Adam on the weights.
    Its gradient includes how the perturbation depends on the weights, by fixed-point iterations.
    Batch norms stay in evaluation mode. It needs gradients and a hundred or more clean rows.

    Weakness: the perturbation is added within a ball, so that triggers far outside of it, such as a patch of full
    contrast, and triggers that are no sums, such as warps, are not covered. A small network that any perturbation of this
    size fools is trained against one to another class than the backdoor's: its accuracy falls, and the backdoor stays.

    Fields:
        rounds: number of rounds.
        learning_rate: step size of Adam on the weights.
        strength: largest root mean square of the perturbation's values, in the unit of the data. The paper's radius of 10
            for colour images of 32x32 pixels is a strength of 0.18.
        steps: number of fixed-point iterations, at least 1.
        inner_rate: step size of the map whose fixed point is the perturbation.
        ascent: number of steps of the ascent, at least 1.
        batch_size: rows per step.

    Reference: Zeng, Chen, Park, Mao, Jin and Jia 2022, "Adversarial Unlearning of Backdoors via Implicit Hypergradient",
    ICLR, arXiv:2110.03735.
    """

    rounds: int = 5
    learning_rate: float = 0.001
    strength: float = 0.18
    steps: int = 5
    inner_rate: float = 0.1
    ascent: int = 20
    batch_size: int = 100

    def __post_init__(self) -> None:
        if self.rounds < 0 or min(self.steps, self.ascent, self.batch_size) < 1:
            raise PluginError(
                "IBAU.rounds >= 0, steps, ascent and batch_size >= 1",
                f"{self.rounds}, {self.steps}, {self.ascent} and {self.batch_size}",
            )
        sizes = (self.learning_rate, self.strength, self.inner_rate)
        if not all(0 < size < float("inf") for size in sizes):
            raise PluginError("IBAU.learning_rate, strength and inner_rate > 0", f"{sizes}")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> TorchModel:
        network = continuous(network_of(model, self), self)
        x, y = rows_of(network, clean, self)
        once = Training(1, min(self.batch_size, len(y)), "adam", self.learning_rate)
        rng = context.streams.numpy("order")
        vector = network.vector.detach().clone().requires_grad_()
        optimizer = once.optimizer_for(vector)
        for _ in range(self.rounds):
            batches = [torch.as_tensor(rows, device=x.device) for rows in once.batches(len(y), rng)]
            delta = self._perturbation(replace(network, vector=vector.detach()), x[:MOST_ROWS])
            for rows in batches:
                vector.grad = self._gradient(network, vector, delta, x[rows], y[rows])
                if network.kept is not None:
                    vector.grad = vector.grad * network.kept
                optimizer.step()
        return replace(network, vector=vector.detach())

    def _perturbation(self, model: TorchModel, x: Tensor) -> Tensor:
        """The perturbation that most raises the loss of the model's own answers, one for all rows."""
        with torch.no_grad():
            own = model.network.logits(model.vector, x, model.buffers).argmax(1)
        space = Ball(self.strength * x[0].numel() ** 0.5, *bounds(x))
        search = Search(self.ascent, rate=self.strength / 5, penalty=0)

        def lower_is_worse(logits: Tensor, _: Tensor) -> Tensor:
            return -F.cross_entropy(logits.flatten(0, 1), own, reduction="none")[None]

        return invert(model, x, [NO_CLASS], space, search, objective=lower_is_worse).leaves[0][0]

    def _gradient(self, model: TorchModel, vector: Tensor, delta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        def outer(perturbation: Tensor, weights: Tensor) -> Tensor:
            return F.cross_entropy(model.network.logits(weights, x + perturbation, model.buffers), y)

        def inner(perturbation: Tensor, weights: Tensor) -> Tensor:
            return 0.001 * perturbation.square().sum() - outer(perturbation, weights)

        return hypergradient(outer, inner, delta, vector, self.inner_rate, self.steps)


TwoArguments = Callable[[Tensor, Tensor], Tensor]


def hypergradient(
    outer: TwoArguments, inner: TwoArguments, delta: Tensor, vector: Tensor, rate: float, steps: int
) -> Tensor:
    """The gradient of outer(delta*, w) in w, where delta* is a minimiser of inner(., w), at delta in place of delta*.

    A minimiser is a fixed point of the map T(delta, w) = delta - rate * gradient of inner. The vector v with
    v = (dT/d delta)^T v + d outer / d delta is found by fixed-point iterations from 0, and the result is
    d outer / d w + (dT/dw)^T v.

    Args:
        outer: (delta, w) -> the loss of the weights.
        inner: (delta, w) -> the loss of the perturbation.
        delta: the perturbation.
        vector: (d,) the weights w.
        rate: step size of the map. Iterations converge if it is below 2 / the largest curvature of `inner`.
        steps: number of iterations.
    """
    delta = delta.detach().requires_grad_()
    weights = vector.detach().requires_grad_()
    direct_delta, direct = torch.autograd.grad(outer(delta, weights), (delta, weights))
    (slope,) = torch.autograd.grad(inner(delta, weights), delta, create_graph=True)
    mapped = delta - rate * slope
    v = torch.zeros_like(delta)
    for _ in range(steps):
        (turned,) = torch.autograd.grad(mapped, delta, grad_outputs=v, retain_graph=True)
        v = turned + direct_delta
    (indirect,) = torch.autograd.grad(mapped, weights, grad_outputs=v, allow_unused=True)
    return direct if indirect is None else direct + indirect


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Wei et al. 2023, arXiv:2307.10562")
class SAU:
    """Unlearns adversarial examples that the model shares with its backdoored original (shared adversarial unlearning).

    Each batch is perturbed within a small box so that the original and the present model err alike: the search raises the
    loss of both and lowers the divergence between their answers. The present model is then trained on the clean rows, and
    away from the original's wrong answer on the perturbed ones. It needs gradients and a few hundred clean rows.

    Weakness: a trigger that no perturbation within the box imitates is not unlearnt; the training costs accuracy on few
    rows. An attacker who trains the backdoored model to be adversarially robust leaves it few shared examples.

    Fields:
        epochs: passes over the clean rows.
        learning_rate: step size of Adam on the weights.
        epsilon: largest change of a value, in the unit of the data, > 0.
        steps: number of steps of the perturbation.
        adversarial: weight of the mean loss of both models in the search.
        shared: weight of the divergence between their answers in the search.
        unlearning: weight of the unlearning in the training.

    Reference: Wei, Zhang, Zha and Wu 2023, "Shared Adversarial Unlearning: Backdoor Mitigation by Unlearning Shared
    Adversarial Examples", NeurIPS, arXiv:2307.10562.
    """

    epochs: int = 20
    learning_rate: float = 0.001
    epsilon: float = 0.2
    steps: int = 5
    adversarial: float = 0.01
    shared: float = 1.0
    unlearning: float = 1.0

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.steps < 1 or not (self.learning_rate > 0 and self.epsilon > 0):
            raise PluginError(
                "SAU.epochs >= 0, steps >= 1, learning_rate and epsilon > 0",
                f"{self.epochs}, {self.steps}, {self.learning_rate} and {self.epsilon}",
            )
        if min(self.adversarial, self.shared, self.unlearning) < 0:
            raise PluginError(
                "SAU.adversarial, shared and unlearning >= 0", f"{self.adversarial}, {self.shared}, {self.unlearning}"
            )

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> TorchModel:
        network = continuous(network_of(model, self), self)
        x, y = rows_of(network, clean, self, least=2)
        low, high = bounds(x)

        def gradient(passes: Passes, vector: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
            worst = self._shared_examples(network, vector.detach(), rows, labels, low, high)
            with torch.no_grad():
                wrong = network.network.logits(network.vector, worst, network.buffers).argmax(1)
            loss = F.cross_entropy(passes.evaluation(vector, rows), labels)
            answers = passes.evaluation(vector, worst).softmax(1)
            kept = 1 - answers.gather(1, wrong[:, None]).squeeze(1)
            fooled = (wrong != labels).float()
            away = -(fooled * kept.clamp(min=1e-6).log()).sum() / fooled.sum().clamp(min=1)
            return torch.autograd.grad(loss + self.unlearning * away, vector)[0]

        training = Training(self.epochs, min(64, len(y)), "adam", self.learning_rate)
        return descended(network, x, y, training, context.streams.child("tuning"), gradient)

    def _shared_examples(
        self, original: TorchModel, vector: Tensor, x: Tensor, y: Tensor, low: Tensor, high: Tensor
    ) -> Tensor:
        """The rows, perturbed so that both models err alike."""
        rate, delta = 2.5 * self.epsilon / self.steps, torch.zeros_like(x)
        for _ in range(self.steps):
            delta.requires_grad_()
            shown = torch.clamp(x + delta, low, high)
            theirs = original.network.logits(original.vector, shown, original.buffers)
            ours = original.network.logits(vector, shown, original.buffers)
            errors = 0.5 * (F.cross_entropy(theirs, y) + F.cross_entropy(ours, y))
            gain = self.adversarial * errors - self.shared * divergence(theirs, ours)
            (uphill,) = torch.autograd.grad(gain, delta)
            delta = (delta.detach() + rate * uphill.sign()).clamp(-self.epsilon, self.epsilon)
        return torch.clamp(x + delta, low, high).detach()


def divergence(one: Tensor, other: Tensor) -> Tensor:
    """Mean Jensen-Shannon divergence in nats between the answers of two models, given their logits (m, c)."""
    p, q = one.softmax(1), other.softmax(1)
    middle = (0.5 * (p + q)).clamp(min=1e-12).log()
    return 0.5 * (F.kl_div(middle, p, reduction="batchmean") + F.kl_div(middle, q, reduction="batchmean"))
