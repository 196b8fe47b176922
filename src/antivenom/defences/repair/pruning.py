"""Mitigations that prune channels of a network by what clean rows or the weights alone say about them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import mitigation
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.defences.networks import network_of, rows_of, untied
from antivenom.defences.repair.loops import deepest_cut
from antivenom.defences.repair.neurons import neurons_of
from antivenom.models.layers import Channel, Layer
from antivenom.models.wrappers import TorchModel


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Liu et al. 2018, arXiv:1805.12185")
class FinePruning:
    """Prunes channels of the last convolution that are inactive on clean rows, then fine-tunes on these rows.

    Backdoors often use channels that are inactive on clean inputs. Channels are pruned by ascending mean activation until
    the accuracy on the clean rows would fall by more than `max_drop`. In a network without a convolution, the units of the
    last hidden dense layer are pruned. It needs clean rows and no gradients before the tuning.

    Weakness: a backdoor can share channels with the honest task, and an attacker who prunes before training and restores
    the channels afterwards ensures this. A few clean rows fine-tune little, and a small network has no inactive channels.

    Fields:
        max_drop: pruning stops before the accuracy on the clean rows falls by more than this, 0 to 1.
        epochs: epochs of fine-tuning on the clean rows, with the training of the user's pipeline.

    Reference: Liu, Dolan-Gavitt and Garg 2018, "Fine-Pruning", arXiv:1805.12185.
    """

    max_drop: float = 0.04
    epochs: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 1 or self.epochs < 0:
            raise PluginError("FinePruning.max_drop from 0 to 1 and epochs >= 0", f"{self.max_drop} and {self.epochs}")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> Model:
        network = network_of(model, self)
        x, y = rows_of(network, clean, self)
        order = self._order(network, clean)
        cut = deepest_cut(lambda n: pruned(network, order[:n]), len(order), x, y, self.max_drop)
        tuned = context.refit(cut, clean, self.epochs)
        if not isinstance(tuned, TorchModel):
            raise NotApplicable("a torch model after further training", type(tuned).__name__, "use a torch model")
        return tuned

    def _order(self, model: TorchModel, clean: Dataset) -> list[Channel]:
        """The channels of the layer, the least active ones first."""
        last = pruned_layer(untied(model, self))
        return [Channel(last.name, int(i)) for i in np.argsort(activity(model, clean, last.name), kind="stable")]


def pruned_layer(model: TorchModel) -> Layer:
    """The last convolution or, without one, the last hidden dense layer.

    Raises:
        NotApplicable: no hidden layer has channels that can be pruned.
    """
    hidden = model.network.hidden()
    if not hidden:
        raise NotApplicable("a network with a hidden layer", "none whose units can be pruned", "choose MLP")
    return next((layer for layer in reversed(hidden) if layer.kind.startswith("Conv")), hidden[-1])


def activity(model: TorchModel, clean: Dataset, name: str) -> np.ndarray:
    """(channels,) mean positive part of each channel's output on the clean rows, after the batch norm if there is one."""
    layer = next(layer for layer in model.network.hidden() if layer.name == name)
    given = model.features(clean.inputs, layer.normalised_by or name).reshape(len(clean), *layer.shape)
    axis = 0 if layer.kind.startswith("Conv") else len(layer.shape) - 1  # of the channels in one row's output
    others = tuple(i for i in range(given.ndim) if i != axis + 1)
    return np.asarray(np.maximum(given, 0).mean(axis=others))


def pruned(model: TorchModel, channels: Iterable[Channel]) -> TorchModel:
    """The model without these channels. Further training keeps them at 0."""
    return model.scaled(dict.fromkeys(channels, 0.0))


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Zheng et al. 2022, arXiv:2208.03111")
class CLP:
    """Prunes channels with an unusually large Lipschitz bound (channel Lipschitz pruning). It needs no rows.

    The bound of a channel is the largest spectral norm of its filter's slices, times its batch norm's scale divided by the
    running deviation. Channels above the mean plus `deviations` standard deviations of their layer are pruned. It needs
    batch norm after convolutions or dense layers.

    Weakness: a narrow network has nothing to cut: of n channels none lies more than (n - 1) / sqrt(n) deviations above the
    mean. An attacker who limits the norms of the backdoor's channels in training evades it.

    Fields:
        deviations: number of standard deviations (u), > 0.

    Reference: Zheng, Tang, Li and Liu 2022, "Data-free Backdoor Removal Based on Channel Lipschitzness", ECCV,
    arXiv:2208.03111.
    """

    deviations: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.deviations < float("inf"):
            raise PluginError("CLP.deviations > 0", f"{self.deviations}", "3 is the paper's")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> TorchModel:
        network = untied(network_of(model, self), self)
        layers = [layer for layer in network.network.hidden() if layer.normalised_by]
        if not layers:
            raise NotApplicable("a network with batch norm for CLP", "none after a trained layer", "use FinePruning")
        cut = []
        for layer in layers:
            bounds = channel_bounds(network, layer)
            limit = bounds.mean() + self.deviations * bounds.std(correction=0)
            cut += [Channel(layer.name, i) for i in torch.nonzero(bounds > limit).flatten().tolist()]
        return pruned(network, cut)


def channel_bounds(model: TorchModel, layer: Layer) -> Tensor:
    """(channels,) bound of the Lipschitz constant of each channel of a layer with its batch norm."""
    weights = model.network.parameters(model.vector)
    filters = weights[f"{layer.name}.weight"].detach()
    slices = filters.flatten(2) if filters.dim() > 2 else filters[:, None]  # (channels, inputs, positions)
    norm = model.network.module.get_submodule(layer.normalised_by)
    variance = model.buffers.get(f"{layer.normalised_by}.running_var")
    if variance is None:
        raise NotApplicable("a batch norm with running statistics for CLP", layer.normalised_by)
    scale = weights[f"{layer.normalised_by}.weight"].detach() / (variance + _epsilon(norm)).sqrt()
    found: Tensor = torch.linalg.matrix_norm(slices, ord=2) * scale.abs()
    return found


def _epsilon(norm: nn.Module) -> float:
    return float(getattr(norm, "eps", 1e-5))


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Zheng et al. 2022, NeurIPS")
class BNP:
    """Prunes batch-norm neurons whose inputs on clean rows differ from their running statistics.

    The running statistics were made of the training rows, poisoned ones included, on which backdoor neurons behave
    unlike on clean rows. The score of a neuron is the Kullback-Leibler divergence between the normal distributions with
    the mean and variance on clean rows and with the running ones. Neurons above the mean plus `deviations` standard
    deviations of their layer are pruned. It needs batch norm and at least two clean rows, and no gradients.

    Weakness: few poisoned rows shift the running statistics by little, and in narrow layers no neuron can lie far above
    the mean. A provider who recomputes the statistics on clean rows before handing out the model evades it.

    Fields:
        deviations: number of standard deviations (u), > 0.

    Reference: Zheng, Tang, Li and Liu 2022, "Pre-activation Distributions Expose Backdoor Neurons", NeurIPS.
    """

    deviations: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.deviations < float("inf"):
            raise PluginError("BNP.deviations > 0", f"{self.deviations}", "3 is the paper's")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> TorchModel:
        network = network_of(model, self)
        neurons = neurons_of(network, self)
        x, _ = rows_of(network, clean, self, least=2)
        cut: list[int] = []
        for name in dict.fromkeys(neurons.layers):
            scores = divergence(network, name, x)
            limit = scores.mean() + self.deviations * scores.std(correction=0)
            own = np.flatnonzero(neurons.layers == name)
            cut += own[torch.nonzero(scores > limit).flatten().cpu().numpy()].tolist()
        return neurons.cut(network, cut, shift=True)


def divergence(model: TorchModel, name: str, x: Tensor) -> Tensor:
    """(channels,) divergence of a batch norm's inputs on rows x from its running statistics."""
    mean, variance = (model.buffers.get(f"{name}.running_{part}") for part in ("mean", "var"))
    if mean is None or variance is None:
        raise NotApplicable("a batch norm with running statistics for BNP", name)
    with torch.no_grad():
        parts = [model.network.entering(model.vector, rows, name, model.buffers) for rows in x.split(1024)]
    seen = torch.cat(parts).transpose(0, 1).flatten(1)  # (channels, rows and positions)
    own = seen.var(1, correction=0).clamp(min=1e-12)
    variance = variance.clamp(min=1e-12)
    return 0.5 * ((variance / own).log() + (own + (seen.mean(1) - mean).square()) / variance - 1)
