"""The layers of a network that traps and imprints are planted in, by name, and how pixels get there."""

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
    """Names of the dense layers, one hidden or more, from the flat row (or the convolutions' output) to the logits.

    Raises:
        NotApplicable: another architecture.
    """
    leaves = _leaves(network)
    dense = [(name, layer) for name, layer in leaves if isinstance(layer, nn.Linear)]
    joined = all(a.out_features == b.in_features for (_, a), (_, b) in pairwise(dense))
    plain = all(isinstance(layer, (*PLAIN, nn.Conv2d)) for _, layer in leaves)
    if not (plain and joined and len(dense) > 1 and all(layer.bias is not None for _, layer in dense)):
        raise NotApplicable(
            "a network of dense layers with ReLU, one hidden or more, and convolutions without pooling",
            ", ".join(sorted({type(layer).__name__ for _, layer in leaves})),
            "use models.reference.MLP",
        )
    return [name for name, _ in dense]


def _leaves(network: Network) -> list[tuple[str, nn.Module]]:
    return [(name, layer) for name, layer in network.module.named_modules() if not list(layer.children())]


def dense_inputs(model: TorchModel, rows: np.ndarray) -> list[Tensor]:
    """What enters each dense layer, (m, width), dropout off: the activations of the layer before it."""
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
    """Where the first dense layer sees the row's own numbers.

    Fields:
        inputs: (q,) numbers of its inputs.
        pixels: (q,) numbers of the row's features that these are.
        size: features of a row.
    """

    inputs: Tensor
    pixels: Tensor
    size: int

    def row(self, seen: Tensor) -> Tensor:
        """(g, size) from what the dense layer's inputs hold (g, width); a pixel that is seen twice is averaged."""
        counts = torch.zeros(self.size).index_add_(0, self.pixels, torch.ones(len(self.pixels)))
        total = seen.new_zeros(len(seen), self.size).index_add_(1, self.pixels, seen[:, self.inputs])
        return total / counts.clamp_min(1)


def open_path(network: Network, vector: Tensor) -> tuple[Tensor, Path]:
    """Weights (d,) whose convolutions pass the row on, each corner of it in a channel of its own, and where it arrives.

    A kernel with a single 1 in a corner shifts; four of them keep all of the image between them. Without convolutions
    nothing changes.

    Raises:
        NotApplicable: fewer than four channels for each of the row's, or pixels that do not arrive (stride, padding).
    """
    size = math.prod(network.row_shape)
    convolutions = [(name, layer) for name, layer in _leaves(network) if isinstance(layer, nn.Conv2d)]
    if not convolutions:
        return vector.clone(), Path(torch.arange(size), torch.arange(size), size)
    opened, channels = vector.clone(), 4 * network.row_shape[0]
    weights = network.parameters(opened)
    for number, (name, layer) in enumerate(convolutions):
        if layer.out_channels < channels or layer.groups != 1 or layer.bias is None:
            raise NotApplicable(f"plain convolutions with {channels} channels or more", f"{layer}", "use an MLP")
        kernels = weights[f"{name}.weight"]
        if number:
            kernels[:, :channels] = 0  # what these channels meant to the others is gone
        kernels[:channels] = 0
        weights[f"{name}.bias"][:channels] = 0
        for channel in range(channels):
            corner = -(channel % 4 // 2), -(channel % 2)  # 0 or the last
            kernels[channel, channel if number else channel // 4, *corner] = 1
    numbered = torch.arange(1.0, size + 1).view(1, *network.row_shape)
    entering = dense_inputs(TorchModel(network, opened, network.buffers), numbered.numpy())[0][0]
    pixels = entering[: channels * len(entering) // convolutions[-1][1].out_channels].long() - 1
    if set(pixels.tolist()) != set(range(size)):
        raise NotApplicable("convolutions that keep every pixel", "some that do not", "use an MLP")
    return opened, Path(torch.arange(len(pixels)), pixels, size)
