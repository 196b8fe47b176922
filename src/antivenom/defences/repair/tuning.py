"""Repairs by further training on clean rows."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import mitigation
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.defences.networks import network_of, rows_of
from antivenom.defences.repair.loops import Passes, descended, settings
from antivenom.models.schedules import Cosine, Cyclic
from antivenom.models.vector import unflatten
from antivenom.models.wrappers import TorchModel, loop


def check_tuning(defence: object, epochs: int, learning_rate: float) -> None:
    """Refuses a negative number of epochs and a step size that is not above 0."""
    if epochs < 0 or not 0 < learning_rate < float("inf"):
        name = type(defence).__name__
        raise PluginError(f"{name}.epochs >= 0 and learning_rate > 0", f"{epochs} and {learning_rate}")


@mitigation(
    access=tuple(Access),
    goal=Goal.BACKDOOR,
    cite="Liu et al. 2018, arXiv:1805.12185; Sha et al. 2022, arXiv:2212.09067",
)
class FineTuning:
    """Trains the model further on clean rows, with SGD and a step size that is high enough to forget a backdoor.

    It is the baseline of every repair: a method that does no better than plain tuning with the same step size is not worth
    its cost. The step size decides: at a low one the backdoor stays, at a high one clean accuracy falls. With `cyclic`
    the step size rises and falls several times (super-fine-tuning). It needs gradients and a few hundred clean rows.

    Weakness: few clean rows fit too closely, so that accuracy on others falls. An attacker who simulates fine-tuning in
    training, or who hides the backdoor in weights that clean rows hardly change, survives it.

    Fields:
        epochs: passes over the clean rows.
        learning_rate: the largest step size.
        cyclic: let the step size rise and fall four times; otherwise it falls along half a cosine wave.

    Reference: Sha, He, Berrang, Humbert and Zhang 2022, "Fine-Tuning Is All You Need to Mitigate Backdoor Attacks",
    arXiv:2212.09067.
    """

    epochs: int = 20
    learning_rate: float = 0.05
    cyclic: bool = False

    def __post_init__(self) -> None:
        check_tuning(self, self.epochs, self.learning_rate)

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> TorchModel:
        network = network_of(model, self)
        x, y = rows_of(network, clean, self, least=2)
        schedule = Cyclic() if self.cyclic else Cosine()
        training = settings(len(y), self.epochs, self.learning_rate, schedule=schedule)
        return loop(network, x, y, training, context.streams.child("tuning"))


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Zhu et al. 2023, arXiv:2304.11823")
class FTSAM:
    """Fine-tunes on clean rows with adaptive sharpness-aware minimisation (FT-SAM).

    Each step takes its gradient at the nearby weights with the largest loss. The neighbourhood is scaled by the size of
    each weight, so that the large weights of backdoor neurons change most. It needs gradients and a few hundred rows.

    Weakness: twice the cost of plain tuning, beside which it must be judged. An attacker who trains for a flat loss
    around the backdoored weights survives it.

    Fields:
        epochs: passes over the clean rows.
        learning_rate: the step size at the start; it falls along half a cosine wave.
        rho: radius of the neighbourhood, >= 0.
        smoothing: label smoothing of the loss, 0 to below 1.

    Reference: Zhu, Wei, Shen, Fan and Wu 2023, "Enhancing Fine-Tuning Based Backdoor Defense with Sharpness-Aware
    Minimization", ICCV, arXiv:2304.11823.
    """

    epochs: int = 20
    learning_rate: float = 0.02
    rho: float = 2.0
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        check_tuning(self, self.epochs, self.learning_rate)
        if not 0 <= self.rho < float("inf") or not 0 <= self.smoothing < 1:
            raise PluginError("FTSAM.rho >= 0 and smoothing from 0 to below 1", f"{self.rho} and {self.smoothing}")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> TorchModel:
        network = network_of(model, self)
        x, y = rows_of(network, clean, self, least=2)

        def gradient(passes: Passes, vector: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
            loss = F.cross_entropy(passes.training(vector, rows), labels, label_smoothing=self.smoothing)
            (first,) = torch.autograd.grad(loss, vector)
            near = (vector.detach() + ascent(vector.detach(), first, self.rho)).requires_grad_()
            loss = F.cross_entropy(passes.quiet(near, rows), labels, label_smoothing=self.smoothing)
            return torch.autograd.grad(loss, near)[0]

        training = settings(len(y), self.epochs, self.learning_rate)
        return descended(network, x, y, training, context.streams.child("tuning"), gradient)


def ascent(vector: Tensor, gradient: Tensor, rho: float, floor: float = 0.01) -> Tensor:
    """The step of adaptive SAM towards larger losses: rho T^2 g / |T g|, where T is the size of each weight plus `floor`."""
    scale = vector.abs() + floor
    found: Tensor = rho * scale.square() * gradient / ((scale * gradient).norm() + 1e-12)
    return found


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Min et al. 2023, arXiv:2310.07875")
class FST:
    """Draws a new head and tunes the network while the head is pushed away from the old one (feature shift tuning).

    The loss gets `alpha` times the inner product of new and old head weights, and the new head keeps the old one's norm.
    So features must shift, and those of the trigger no longer lead to the target class. It needs gradients, a dense head
    without tied weights, and a few hundred clean rows.

    Weakness: few clean rows must relearn the whole head, which costs accuracy. An attacker whose trigger moves many
    features by a little, or who knows which features the new head will use, is less affected.

    Fields:
        epochs: passes over the clean rows.
        learning_rate: the step size at the start; it falls along half a cosine wave.
        alpha: weight of the inner product, >= 0.

    Reference: Min, Qin, Shen and Cheng 2023, "Towards Stable Backdoor Purification through Feature Shift Tuning", NeurIPS,
    arXiv:2310.07875.
    """

    epochs: int = 40
    learning_rate: float = 0.01
    alpha: float = 0.2

    def __post_init__(self) -> None:
        check_tuning(self, self.epochs, self.learning_rate)
        if not 0 <= self.alpha < float("inf"):
            raise PluginError("FST.alpha >= 0", f"{self.alpha}")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> TorchModel:
        network = network_of(model, self)
        x, y = rows_of(network, clean, self, least=2)
        shapes, names = network.network.shapes, head_names(network)
        weight = names[0]
        old = network.network.parameters(network.vector)[weight].detach().clone()
        start = redrawn(network, names, context.streams.torch("head", device=x.device))

        def gradient(passes: Passes, vector: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
            away = (unflatten(vector, shapes)[weight] * old).sum()
            loss = F.cross_entropy(passes.training(vector, rows), labels) + self.alpha * away
            return torch.autograd.grad(loss, vector)[0]

        def with_the_old_norm(vector: Tensor) -> None:
            head = unflatten(vector, shapes)[weight]
            head.mul_(old.norm() / head.norm().clamp(min=1e-12))

        training = settings(len(y), self.epochs, self.learning_rate)
        streams = context.streams.child("tuning")
        return descended(start, x, y, training, streams, gradient, with_the_old_norm)


def head_names(model: TorchModel) -> list[str]:
    """Names of the head's trained weight and, if it has one, bias.

    Raises:
        NotApplicable: the weight is frozen, or tied to another layer's.
    """
    name = model.network.head().name
    found = [full for part in ("weight", "bias") if (full := f"{name}.{part}".lstrip(".")) in model.network.shapes]
    if not found or not found[0].endswith("weight") or model.network.layout.tied:
        raise NotApplicable("a head with trained weights of its own", "frozen or tied weights")
    return found


def redrawn(model: TorchModel, names: list[str], generator: torch.Generator) -> TorchModel:
    """The model with new weights of the head, uniform within 1 / sqrt(features), which is torch's own choice."""
    vector = model.vector.detach().clone()
    parameters = model.network.parameters(vector)
    bound = parameters[names[0]][0].numel() ** -0.5
    for name in names:
        parameters[name].uniform_(-bound, bound, generator=generator)
    return replace(model, vector=vector)
