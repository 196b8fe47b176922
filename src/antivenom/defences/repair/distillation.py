"""Repair by distillation of attention maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antivenom.core.errors import ModelError, NotApplicable, PluginError, did_you_mean
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import mitigation
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.defences.networks import network_of, rows_of
from antivenom.defences.repair.loops import Passes, descended, settings
from antivenom.defences.repair.tuning import check_tuning
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, loop


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Li et al. 2021, arXiv:2101.05930")
class NAD:
    """Tunes a teacher on clean rows, then tunes the model while its attention maps follow the teacher's (NAD).

    The attention map of a layer is the sum over its channels of the absolute activations to the power of `power`, scaled
    to length 1; for a dense layer it is the vector of the powers. The loss is the cross-entropy plus, for each layer,
    `beta` times the mean squared difference between the maps. It needs gradients and a few hundred clean rows.

    Weakness: a teacher that keeps the backdoor teaches it, so that an attacker who survives plain tuning survives this.

    Fields:
        epochs: passes of the student over the clean rows.
        learning_rate: the step size of both at the start; it falls along half a cosine wave.
        teacher_epochs: passes of the teacher over the clean rows.
        betas: weights of the layers, the last one for the last layer.
        layers: names of the layers, as many as betas; empty for the last hidden ones, after their batch norm.
        power: the exponent, above 0.

    Reference: Li, Lyu, Koren, Lyu, Li and Ma 2021, "Neural Attention Distillation: Erasing Backdoor Triggers from Deep
    Neural Networks", ICLR, arXiv:2101.05930.
    """

    epochs: int = 20
    learning_rate: float = 0.05
    teacher_epochs: int = 10
    betas: tuple[float, ...] = (500.0, 1000.0, 1000.0)
    layers: tuple[str, ...] = ()
    power: float = 2.0

    def __post_init__(self) -> None:
        check_tuning(self, self.epochs, self.learning_rate)
        if self.teacher_epochs < 0 or not self.betas or min(self.betas) < 0 or self.power <= 0:
            raise PluginError(
                "NAD.teacher_epochs >= 0, one or more betas >= 0, and power > 0",
                f"{self.teacher_epochs}, {self.betas} and {self.power}",
            )
        if self.layers and len(self.layers) != len(self.betas):
            raise PluginError("as many NAD.layers as betas", f"{len(self.layers)} and {len(self.betas)}")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> TorchModel:
        network = network_of(model, self)
        x, y = rows_of(network, clean, self, least=2)
        weights, streams = self._weights(network), context.streams
        first = settings(len(y), self.teacher_epochs, self.learning_rate)
        teacher = loop(network, x, y, first, streams.child("teacher"))
        training = settings(len(y), self.epochs, self.learning_rate)
        return self._distilled(network, teacher, x, y, training, weights, context)

    def _distilled(
        self,
        student: TorchModel,
        teacher: TorchModel,
        x: Tensor,
        y: Tensor,
        training: Training,
        weights: dict[str, float],
        context: DefenceContext,
    ) -> TorchModel:
        seen: dict[str, Tensor] = {}

        def see(name: str, _: nn.Module, __: Tensor, out: Tensor) -> None:
            if name in weights:
                seen[name] = out.clone()  # the next layer may be an in-place ReLU

        def gradient(passes: Passes, vector: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
            loss = F.cross_entropy(passes.training(vector, rows), labels)
            with torch.no_grad():
                wanted = teacher.network.activations(teacher.vector, rows, weights, teacher.buffers)
            for name, beta in weights.items():
                loss = loss + beta * F.mse_loss(attention(seen[name], self.power), attention(wanted[name], self.power))
            return torch.autograd.grad(loss, vector)[0]

        return descended(student, x, y, training, context.streams.child("student"), gradient, see=see)

    def _weights(self, model: TorchModel) -> dict[str, float]:
        """The weight of each layer whose maps are compared."""
        if self.layers:
            known = [layer.name for layer in model.network.layers]
            for name in self.layers:
                if name not in known:
                    raise ModelError("NAD.layers that the network executes", repr(name), did_you_mean(name, known))
            return dict(zip(self.layers, self.betas, strict=True))
        hidden = [layer for layer in model.network.layers if layer.mixes and layer != model.network.head()]
        maps = [layer for layer in hidden if layer.kind.startswith("Conv")] or hidden
        if not maps:
            raise NotApplicable("a network with a hidden layer for NAD", "none", "use FineTuning")
        chosen = maps[-len(self.betas) :]
        betas = self.betas[-len(chosen) :]
        return {layer.normalised_by or layer.name: beta for layer, beta in zip(chosen, betas, strict=True)}


def attention(activations: Tensor, power: float) -> Tensor:
    """(m, positions) the attention map of each row's activations (m, channels, ...), scaled to length 1."""
    strength = activations.abs().pow(power)
    return F.normalize(strength.sum(1).flatten(1) if activations.dim() > 2 else strength, dim=1)
