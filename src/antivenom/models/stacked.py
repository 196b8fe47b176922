"""Forward passes of n networks of one architecture at once: parameters (n, d), inputs (n, b, ...).

Each layer type has one function that maps stacked parameters and inputs to stacked outputs; a dense layer is one batched
product. Networks with other layer types are unsupported, and the federation trains them one after another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import singledispatch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antivenom.models.layout import HALF
from antivenom.models.network import Network, dropped, noise_type
from antivenom.models.schedules import Constant
from antivenom.models.training import Training

Parameters = dict[str, Tensor]


class Draws:
    """Random numbers for the dropout masks of n networks.

    Args:
        generators: one for each network.
        sizes: number of rows in each network's batch without padding.
    """

    def __init__(self, generators: Sequence[torch.Generator], sizes: Sequence[int]) -> None:
        self.generators, self.sizes = generators, sizes

    def noise(self, like: Tensor) -> Tensor:
        """Uniform numbers in [0, 1) of the shape (n, b, ...) of `like`. Padding rows get zeros and consume no numbers.

        So each network draws what it would draw if it were trained alone.
        """
        noise = torch.zeros(like.shape, dtype=noise_type(like), device=like.device)
        for row, generator, size in zip(noise, self.generators, self.sizes, strict=True):
            row[:size].uniform_(generator=generator)
        return noise


@singledispatch
def stacked(layer: nn.Module, parameters: Parameters, x: Tensor, draws: Draws | None) -> Tensor:
    """Outputs (n, b, ...) of n copies of `layer` for inputs x (n, b, ...) and stacked parameters {name: (n, *shape)}.

    Dropout is off if `draws` is None.

    Raises:
        TypeError: a layer type without a stacked form.
    """
    raise TypeError(type(layer).__name__)


@stacked.register
def _(layer: nn.Linear, parameters: Parameters, x: Tensor, draws: Draws | None) -> Tensor:
    weight = parameters["weight"].transpose(1, 2)  # (n, in, out)
    rows = x.flatten(1, -2)  # (n, b * further dimensions, in)
    out = rows @ weight if layer.bias is None else torch.baddbmm(parameters["bias"].unsqueeze(1), rows, weight)
    return out.view(*x.shape[:-1], layer.out_features)


@stacked.register
def _(layer: nn.Conv2d, parameters: Parameters, x: Tensor, draws: Draws | None) -> Tensor:
    # One call per network. On a CPU, one grouped convolution or a vmap takes about twice as long.
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
    return dropped(x, draws.noise(x), layer.p)


@stacked.register
def _(layer: nn.Flatten, parameters: Parameters, x: Tensor, draws: Draws | None) -> Tensor:
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


def layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Layers in nested nn.Sequential, in order, each with the prefix of its parameters' names.

    Any other container counts as one layer.
    """
    if type(module) is nn.Sequential and not _hooked(module):
        for name, child in module._modules.items():  # named_children() lists a layer that is used twice only once
            yield from layers(child, f"{prefix}{name}.")
    else:
        yield prefix, module


def _hooked(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def _obstacle(layer: nn.Module, prefix: str, network: Network) -> str | None:
    """Why this layer has no stacked form, or None if it has one.

    Only exact types count, because a subclass may compute anything.
    """
    kind = type(layer).__name__
    if type(layer) not in stacked.registry:
        return kind
    if _hooked(layer):
        return f"{kind} with a hook"
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1):
        return "Flatten of some dimensions"
    if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
        return f"Conv2d with {layer.padding_mode} padding"
    if any(prefix + name not in network.layout.names for name, _ in layer.named_parameters()):
        return f"{kind} with shared weights"
    halves = [str(p.dtype) for p in layer.parameters() if p.dtype in HALF]
    return f"{kind} with {halves[0]} weights" if halves else None


def unsupported(network: Network) -> list[str]:
    """Descriptions of the layers that have no stacked form; empty if the network can be trained stacked."""
    reasons = (_obstacle(layer, prefix, network) for prefix, layer in layers(network.module))
    return sorted({reason for reason in reasons if reason is not None})


def supports(training: Training) -> str | None:
    """Why models cannot be trained stacked in this way, as the end of a sentence, or None if they can.

    All optimisers are supported, since they treat each weight separately. Schedules are not: they depend on the number of
    steps of each model. Augmentation is not either: each model would need its own random numbers.
    """
    if training.schedule != Constant():
        return f"the schedule {type(training.schedule).__name__} has no vectorised form"
    if training.augmentation:
        return "augmentation has no vectorised form"
    return None


def layer_passes(
    network: Network, vectors: Tensor, x: Tensor, draws: Draws | None = None
) -> Iterator[tuple[nn.Module, Tensor, Tensor]]:
    """Run the networks layer by layer: yields (layer, inputs (n, b, ...), outputs (n, b, ...)) in order."""
    parameters = network.parameters(vectors)
    for prefix, layer in layers(network.module):
        own = {
            name: parameters[prefix + name]
            if p.requires_grad
            else p.detach().to(vectors).expand(len(vectors), *p.shape)
            for name, p in layer.named_parameters()
        }
        inputs, x = x, stacked(layer, own, x, draws)
        yield layer, inputs, x


def stacked_logits(network: Network, vectors: Tensor, x: Tensor, draws: Draws | None = None) -> Tensor:
    """Logits (n, b, c) for parameters (n, d) and inputs (n, b, ...); differentiable. Dropout is on if `draws` is given."""
    outputs = x
    for _, _, outputs in layer_passes(network, vectors, x, draws):  # noqa: B007 - only the last outputs are used
        pass
    return outputs


def activations(network: Network) -> int:
    """Number of values that one row's forward pass holds: its inputs and the outputs of all layers."""
    row = network.initial.new_zeros(1, 1, *network.row_shape)
    with torch.no_grad():
        passes = layer_passes(network, network.initial.unsqueeze(0), row)
        return row.numel() + sum(outputs.numel() for _, _, outputs in passes)
