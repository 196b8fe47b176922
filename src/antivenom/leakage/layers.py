"""The dense layers into which traps and imprints are planted, and the path of pixels through convolutions to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from antivenom.core.errors import NotApplicable
from antivenom.models.network import Network
from antivenom.models.wrappers import TorchModel

PLAIN = (nn.Linear, nn.ReLU, nn.Flatten, nn.Dropout, nn.Identity)


def dense_chain(network: Network) -> list[str]:
    """Names of the dense layers, from the flattened row or the output of the convolutions to the logits.

    Raises:
        NotApplicable: an architecture other than ReLU convolutions and dense layers, at least one of which is hidden.
    """
    leaves = _leaves(network)
    dense = [(name, layer) for name, layer in leaves if isinstance(layer, nn.Linear)]
    joined = all(a.out_features == b.in_features for (_, a), (_, b) in pairwise(dense))
    plain = all(isinstance(layer, (*PLAIN, nn.Conv2d)) for _, layer in leaves)
    if not (plain and joined and len(dense) > 1 and all(layer.bias is not None for _, layer in dense)):
        raise NotApplicable(
            "a network of convolutions without pooling and dense layers with ReLU, at least one of them hidden",
            ", ".join(sorted({type(layer).__name__ for _, layer in leaves})),
            "use models.reference.MLP",
        )
    return [name for name, _ in dense]


def _leaves(network: Network) -> list[tuple[str, nn.Module]]:
    return [(name, layer) for name, layer in network.module.named_modules() if not list(layer.children())]


def dense_inputs(model: TorchModel, rows: np.ndarray) -> list[Tensor]:
    """The inputs (m, width) of each dense layer, without dropout."""
    chain, seen = dense_chain(model.network), []
    modules = dict(model.network.module.named_modules())
    handles = [modules[name].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for name in chain]
    try:
        model.logits(rows, batch=len(rows))
    finally:
        for handle in handles:
            handle.remove()
    return [entered.flatten(1) for entered in seen]


@dataclass(frozen=True, eq=False)
class Path:
    """The inputs of the first dense layer that equal features of the row.

    Fields:
        inputs: (q,) indices of these inputs.
        pixels: (q,) indices of the corresponding features of the row.
        size: number of features of a row.
    """

    inputs: Tensor
    pixels: Tensor
    size: int

    def row(self, seen: Tensor) -> Tensor:
        """The rows (g, size) for inputs (g, width) of the dense layer; a pixel with several inputs is averaged."""
        counts = torch.zeros(self.size).index_add_(0, self.pixels, torch.ones(len(self.pixels)))
        total = seen.new_zeros(len(seen), self.size).index_add_(1, self.pixels, seen[:, self.inputs])
        return total / counts.clamp_min(1)


def open_path(network: Network, vector: Tensor) -> tuple[Tensor, Path]:
    """Weights (d,) whose convolutions pass the image on unchanged, and the path of its pixels to the dense layer.

    A kernel with a single 1 in a corner shifts the image. Four channels with the four corners preserve all its pixels.
    Without convolutions, the weights do not change.

    Raises:
        NotApplicable: fewer than four channels per channel of the row, or pixels that are lost by stride or padding.
    """
    size = math.prod(network.row_shape)
    convolutions = [(name, layer) for name, layer in _leaves(network) if isinstance(layer, nn.Conv2d)]
    if not convolutions:
        return vector.clone(), Path(torch.arange(size), torch.arange(size), size)
    opened, channels = vector.clone(), 4 * network.row_shape[0]
    weights = network.parameters(opened)
    for number, (name, layer) in enumerate(convolutions):
        if layer.out_channels < channels or layer.groups != 1 or layer.bias is None:
            raise NotApplicable(
                f"ungrouped convolutions with bias and at least {channels} channels", f"{layer}", "use an MLP"
            )
        kernels = weights[f"{name}.weight"]
        if number:
            kernels[:, :channels] = 0  # the other channels no longer receive their former inputs from these channels
        kernels[:channels] = 0
        weights[f"{name}.bias"][:channels] = 0
        for channel in range(channels):
            corner = -(channel % 4 // 2), -(channel % 2)  # index of the first or of the last element
            kernels[channel, channel if number else channel // 4, *corner] = 1
    numbered = torch.arange(1.0, size + 1).view(1, *network.row_shape)
    entering = dense_inputs(TorchModel(network, opened, network.buffers), numbered.numpy())[0][0]
    pixels = entering[: channels * len(entering) // convolutions[-1][1].out_channels].long() - 1
    if set(pixels.tolist()) != set(range(size)):
        raise NotApplicable("convolutions that keep every pixel", "convolutions that lose pixels", "use an MLP")
    return opened, Path(torch.arange(len(pixels)), pixels, size)
