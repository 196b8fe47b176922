"""The layers of a network in the order of execution, found by one forward pass with hooks.

The order of declaration is not enough: a module may declare its head before the layers that feed it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

WITH_CHANNELS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Layer:
    """One executed layer.

    Fields:
        name: name of its module in the network; empty for a network that is a single layer.
        kind: name of the module's class.
        shape: shape of its output for one row.
        mixes: whether it has a weight of two or more dimensions, so that its outputs combine several inputs.
        channels: number of its filters or units; 0 unless it is a plain convolution or dense layer.
        normalised_by: name of the batch norm that takes its output, or empty.
        normalises: whether it is a batch norm.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    mixes: bool
    channels: int = 0
    normalised_by: str = ""
    normalises: bool = False


@dataclass(frozen=True, order=True)
class Channel:
    """A filter of a convolution or a unit of a dense layer, with its batch norm.

    Fields:
        layer: name of the convolution or dense layer.
        index: number of its output, from 0.
    """

    layer: str
    index: int


Observer = Callable[
    [str, nn.Module, Tensor, Tensor], Tensor | None
]  # name, layer, input, output -> a new output or None


def shared_copy(module: nn.Module, replace: Callable[[nn.Module], nn.Module | None] = lambda _: None) -> nn.Module:
    """A copy of the module with its own containers and hooks that shares all tensors with the original.

    Where `replace` returns a module for a submodule, the copy has that one instead. A submodule that is used in two places
    is one submodule in the copy too.
    """
    memo: dict[int, nn.Module] = {}

    def copy_of(part: nn.Module) -> nn.Module:
        if id(part) not in memo:
            other = replace(part)
            memo[id(part)] = own = _shallow(part) if other is None else other
            if other is None:
                own._parameters, own._buffers = dict(part._parameters), dict(part._buffers)
                own._forward_hooks = OrderedDict(part._forward_hooks)
                own._modules = {name: child and copy_of(child) for name, child in part._modules.items()}
        return memo[id(part)]

    return copy_of(module)


def _shallow(part: nn.Module) -> nn.Module:
    """A shallow copy, like `copy.copy`, which raises for layers with parametrizations."""
    own = type(part).__new__(type(part))
    own.__dict__.update(part.__dict__)
    return own


def watched(module: nn.Module, see: Observer) -> nn.Module:
    """A copy that calls `see(name, layer, first input, output)` after each layer, in order of execution.

    If `see` returns a tensor, it replaces the output. Layers without a tensor as input and output are skipped.
    """
    watching = shared_copy(module)

    def hook(name: str) -> Callable[[nn.Module, tuple[object, ...], object], object]:
        def after(layer: nn.Module, inputs: tuple[object, ...], output: object) -> object:
            out = output[0] if isinstance(output, tuple) and output else output
            entered = next((value for value in inputs if isinstance(value, Tensor)), None)
            if not isinstance(out, Tensor) or entered is None:
                return None
            other = see(name, layer, entered, out)
            return None if other is None else (other, *output[1:]) if isinstance(output, tuple) else other

        return after

    for name, layer in watching.named_modules():
        if _is_layer(layer) and ".parametrizations." not in f".{name}.":
            layer.register_forward_hook(hook(name))
    return watching


def traced(run: Callable[[nn.Module], Tensor], module: nn.Module) -> tuple[Layer, ...]:
    """The layers that one run of the module executes, in order. A layer that is used twice is listed at its last use."""
    found: dict[str, tuple[nn.Module, Tensor, Tensor]] = {}

    def see(name: str, layer: nn.Module, entered: Tensor, out: Tensor) -> None:
        found.pop(name, None)
        found[name] = (layer, entered, out)

    run(watched(module, see))
    # A batch norm belongs to the layer whose output tensor is its input: the same object, since all are kept in `found`.
    norms = {id(entered): name for name, (layer, entered, _) in found.items() if isinstance(layer, _BatchNorm)}
    return tuple(
        Layer(
            name=name,
            kind=type(layer).__name__,
            shape=tuple(out.shape[1:]),
            mixes=_mixes(layer),
            channels=len(layer.weight) if isinstance(layer, WITH_CHANNELS) else 0,
            normalised_by=norms.get(id(out), ""),
            normalises=isinstance(layer, _BatchNorm),
        )
        for name, (layer, _, out) in found.items()
    )


def affects_output(run: Callable[[nn.Module], Tensor], module: nn.Module, name: str) -> bool:
    """Whether the module's output depends on the output of that layer, tested by replacing it with other numbers."""

    def see(seen: str, _: nn.Module, __: Tensor, out: Tensor) -> Tensor | None:
        return torch.full_like(out, 1.5) + torch.arange(out.numel()).reshape(out.shape) if seen == name else None

    return not torch.equal(run(watched(module, see)), run(shared_copy(module)))


def _is_layer(module: nn.Module) -> bool:
    """Whether the module computes something itself: it has no submodules, or it has weights of its own."""
    return not module._modules or bool(module._parameters) or isinstance(module, WITH_CHANNELS)


def _mixes(module: nn.Module) -> bool:
    own = [p for p in module._parameters.values() if p is not None]
    parametrized = module._modules.get("parametrizations")
    own += list(parametrized.parameters()) if parametrized is not None else []
    return any(p.dim() > 1 for p in own)
