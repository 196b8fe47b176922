"""n networks of one architecture at once: parameters (n, d), inputs (n, b, ...), one batched product per dense layer.

Each layer type has one function that maps stacked parameters and inputs to stacked outputs. What is not listed here is
unsupported, and the federation trains such models one after another instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import singledispatch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antivenom.models.network import Network

Parameters = dict[str, Tensor]


class Draws:
    """Where the n networks get their dropout masks: one generator each, and how many rows of the batch are real."""

    def __init__(self, generators: Sequence[torch.Generator], sizes: Sequence[int]) -> None:
        self.generators, self.sizes = generators, sizes

    def mask(self, like: Tensor, keep: float) -> Tensor:
        """(n, b, ...) of zeros and ones; padding rows get zeros and cost no random numbers."""
        full = min(self.sizes) == like.shape[1]
        mask = torch.empty_like(like) if full else torch.zeros_like(like)
        for row, generator, size in zip(mask, self.generators, self.sizes, strict=True):
            row[:size].bernoulli_(keep, generator=generator)
        return mask


@singledispatch
def stacked(layer: nn.Module, parameters: Parameters, x: Tensor, draws: Draws | None) -> Tensor:
    """Outputs (n, b, ...) of n copies of `layer` with the given stacked parameters; dropout is off without `draws`."""
    raise TypeError(type(layer).__name__)


@stacked.register
def _(layer: nn.Linear, parameters: Parameters, x: Tensor, draws: Draws | None) -> Tensor:
    weight = parameters["weight"].transpose(1, 2)  # (n, in, out)
    if layer.bias is None:
        return x @ weight
    return torch.baddbmm(parameters["bias"].unsqueeze(1), x, weight)


@stacked.register
def _(layer: nn.Conv2d, parameters: Parameters, x: Tensor, draws: Draws | None) -> Tensor:
    # One library convolution per network: on CPU a grouped convolution or a vmap is about twice as slow.
    biases = parameters["bias"].unbind() if layer.bias is not None else [None] * len(x)
    outputs = [
        F.conv2d(rows, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        for rows, weight, bias in zip(x.unbind(), parameters["weight"].unbind(), biases, strict=True)
    ]
    return torch.stack(outputs)


@stacked.register
def _(layer: nn.Dropout, parameters: Parameters, x: Tensor, draws: Draws | None) -> Tensor:
    if draws is None or layer.p == 0:
        return x
    return x * draws.mask(x, 1 - layer.p) / (1 - layer.p)


@stacked.register
def _(layer: nn.Flatten, parameters: Parameters, x: Tensor, draws: Draws | None) -> Tensor:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        raise TypeError("Flatten of some dimensions only")
    return x.flatten(2)


@stacked.register(nn.ReLU)
@stacked.register(nn.LeakyReLU)
@stacked.register(nn.Tanh)
@stacked.register(nn.Sigmoid)
@stacked.register(nn.GELU)
@stacked.register(nn.SiLU)
@stacked.register(nn.Identity)
def _(layer: nn.Module, parameters: Parameters, x: Tensor, draws: Draws | None) -> Tensor:
    return layer(x)  # type: ignore[no-any-return]


@stacked.register(nn.MaxPool2d)
@stacked.register(nn.AvgPool2d)
@stacked.register(nn.AdaptiveAvgPool2d)
def _(layer: nn.Module, parameters: Parameters, x: Tensor, draws: Draws | None) -> Tensor:
    pooled = layer(x.flatten(0, 1))  # (n b, channels, height, width)
    return pooled.unflatten(0, x.shape[:2])  # type: ignore[no-any-return]


def _layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers of nested nn.Sequential in order, with their parameter prefix; any other container is a layer."""
    if isinstance(module, nn.Sequential):
        for name, child in module.named_children():
            yield from _layers(child, f"{prefix}{name}.")
    else:
        yield prefix, module


def unsupported(network: Network) -> list[str]:
    """The layer types that have no stacked form; empty when the network can be trained stacked."""
    return sorted(
        {
            type(layer).__name__
            for _, layer in _layers(network.module)
            if stacked.dispatch(type(layer)) is stacked.dispatch(object)
            or (isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1))
            or (isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros")
        }
    )


def stacked_logits(network: Network, vectors: Tensor, x: Tensor, draws: Draws | None = None) -> Tensor:
    """(n, b, c) for parameters (n, d) and inputs (n, b, ...); differentiable. Dropout is on if `draws` is given."""
    parameters = network.parameters(vectors)
    for prefix, layer in _layers(network.module):
        own = {name: parameters[prefix + name] for name, _ in layer.named_parameters()}
        x = stacked(layer, own, x, draws)
    return x
