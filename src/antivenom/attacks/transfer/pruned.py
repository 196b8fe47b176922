"""A backdoor in a pretrained model that uses only channels which a pruning defence keeps."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.attacks.inputs import backdoor, check_share, wanted_labels
from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import AttackContext, Model
from antivenom.core.registry import model_attack
from antivenom.core.threat import Goal
from antivenom.data import Dataset, Poison
from antivenom.models.layers import Channel, Layer
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel
from antivenom.triggers import on_tensor


@model_attack(goal=Goal.BACKDOOR, cite="Liu, Dolan-Gavitt and Garg 2018, arXiv:1805.12185 (pruning-aware attack)")
class PruningAware:
    """Trains a backdoor into the channels that clean rows use, so that pruning of inactive channels does not remove it.

    The attacker first prunes the least active channels of the last convolution or, without one, of the last hidden dense layer.
    Then the rest is trained on clean and triggered rows. In the end the pruned channels return with their old weights and a
    lower bias, so that they stay inactive on clean rows: a defender who prunes by activity removes these first. `decoys: 0` is
    the ablation without the idea, plain training on triggered rows. Weakness: fine-tuning after the pruning still weakens the
    backdoor, and a defender who prunes by other statistics than activity is not misled.

    Fields:
        decoys: share of the layer's channels that take no part in the backdoor, from 0 to below 1.
        training: training of the attacker, without dropout. Statistics of batch norm stay as they are.

    Reference: Liu, Dolan-Gavitt and Garg 2018, "Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural Networks",
    arXiv:1805.12185, section 3.2.
    """

    decoys: float = 0.5
    training: Training = Training(epochs=5, batch_size=128, learning_rate=0.002)

    def __post_init__(self) -> None:
        check_share(self.decoys, "PruningAware.decoys")

    def __call__(self, model: Model, data: Dataset, context: AttackContext) -> tuple[Model, Poison]:
        if not isinstance(model, TorchModel):
            raise NotApplicable("a torch model for PruningAware", type(model).__name__, "only weights can be poisoned")
        wanted, trigger = backdoor(context, self)
        network = model.network
        layer = _layer(model)
        x = network.rows(data.inputs)
        y = torch.tensor(data.y, device=x.device)
        labels, shown = wanted_labels(wanted, y, data.num_classes), on_tensor(trigger, x)
        number = min(round(self.decoys * layer.channels), layer.channels - 1)
        silent = _outputs(model, x, layer).clamp_min(0).mean(dim=1).argsort(stable=True)[:number].tolist()
        pruned = model.scaled({Channel(layer.name, i): 0.0 for i in silent})
        kept = torch.ones_like(model.vector, dtype=torch.bool) if pruned.kept is None else pruned.kept
        vector = pruned.vector.detach().clone().requires_grad_()
        optimizer = self.training.optimizer_for(vector)
        for batch in self.training.batches(len(data), context.streams.numpy("order")):
            rows = torch.as_tensor(batch, device=x.device)
            logits = network.logits(vector, torch.cat([x[rows], shown[rows]]), model.buffers)
            (slope,) = torch.autograd.grad(F.cross_entropy(logits, torch.cat([y[rows], labels[rows]])), vector)
            vector.grad = slope * kept
            optimizer.step()
        trained = torch.where(kept, vector.detach(), model.vector)
        return _dormant(replace(model, vector=trained), x, layer, silent), Poison.none(data)


def _layer(model: TorchModel) -> Layer:
    """The last convolution or, without one, the last hidden dense layer, if it has a bias.

    Raises:
        NotApplicable: no such layer.
    """
    hidden = model.network.hidden()
    last = next((layer for layer in reversed(hidden) if layer.kind.startswith("Conv")), hidden[-1] if hidden else None)
    if last is None or f"{last.normalised_by or last.name}.bias" not in model.network.shapes:
        raise NotApplicable(
            "a network with a hidden layer with a bias for PruningAware", "another network", "choose MLP"
        )
    return last


def _outputs(model: TorchModel, x: Tensor, layer: Layer) -> Tensor:
    """(channels, rows and positions) outputs of the layer for rows x (m, ...), after its batch norm if it has one."""
    name = layer.normalised_by or layer.name
    with torch.no_grad():
        parts = [
            model.network.activations(model.vector, rows, [name], model.buffers)[name] for rows in x[:2048].split(1024)
        ]
    found = torch.cat(parts)
    return found.transpose(0, 1).flatten(1) if layer.kind.startswith("Conv") else found.flatten(0, -2).transpose(0, 1)


def _dormant(model: TorchModel, x: Tensor, layer: Layer, channels: list[int]) -> TorchModel:
    """The model in which these channels are 0 on 99 % of the rows and positions, by a lower bias."""
    vector = model.vector.clone()
    bias = model.network.parameters(vector)[f"{layer.normalised_by or layer.name}.bias"]
    out = _outputs(model, x, layer)
    for channel in channels:
        bias[channel] -= torch.sort(out[channel]).values[int(0.99 * (out.shape[1] - 1))].clamp_min(0)
    return model.with_vector(vector)
