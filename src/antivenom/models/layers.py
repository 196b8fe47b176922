"""The layers of a network in the order in which they are executed, found by running it once."""

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
        name: of its module; empty for a network that is a single layer.
        kind: the module's class.
        shape: of its output for one row; empty if that is no tensor.
        mixes: whether it holds a weight of two or more dimensions, so that it mixes the numbers of a row.
        channels: how many filters or units it has; 0 if it is no plain convolution or dense layer.
        normalised_by: name of the batch norm that its output goes into, or empty.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    mixes: bool
    channels: int = 0
    normalised_by: str = ""


@dataclass(frozen=True, order=True)
class Channel:
    """A convolution's filter or a dense layer's unit, with its batch norm.

    Fields:
        layer: name of the convolution or dense layer.
        index: which of its outputs, from 0.
    """

    layer: str
    index: int


Seen = Callable[[str, nn.Module, Tensor, Tensor], Tensor | None]


def copied(module: nn.Module, replace: Callable[[nn.Module], nn.Module | None] = lambda _: None) -> nn.Module:
    """The module with containers and hooks of its own that shares all tensors; some submodules replaced.

    A submodule that is used in two places is one submodule in the copy, too.
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
    """`copy.copy`, also of a parametrised layer, which refuses to be copied that way."""
    own = type(part).__new__(type(part))
    own.__dict__.update(part.__dict__)
    return own


def watched(module: nn.Module, see: Seen) -> nn.Module:
    """A copy that calls `see(name, layer, its first input, its output)` after each layer, in order of execution.

    What `see` returns, if not None, takes the place of the output.
    """
    watching = copied(module)

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
    """The layers that one run of the module executes, in order; one that is used twice stands where it was last."""
    found: dict[str, tuple[nn.Module, Tensor, Tensor]] = {}

    def see(name: str, layer: nn.Module, entered: Tensor, out: Tensor) -> None:
        found.pop(name, None)
        found[name] = (layer, entered, out)

    run(watched(module, see))
    norms = {id(entered): name for name, (layer, entered, _) in found.items() if isinstance(layer, _BatchNorm)}
    return tuple(
        Layer(
            name=name,
            kind=type(layer).__name__,
            shape=tuple(out.shape[1:]),
            mixes=_mixes(layer),
            channels=len(layer.weight) if isinstance(layer, WITH_CHANNELS) else 0,
            normalised_by=norms.get(id(out), ""),
        )
        for name, (layer, _, out) in found.items()
    )


def matters(run: Callable[[nn.Module], Tensor], module: nn.Module, name: str) -> bool:
    """Whether the module's output depends on the output of that layer."""

    def see(seen: str, _: nn.Module, __: Tensor, out: Tensor) -> Tensor | None:
        return torch.full_like(out, 1.5) + torch.arange(out.numel()).reshape(out.shape) if seen == name else None

    return not torch.equal(run(watched(module, see)), run(copied(module)))


def _is_layer(module: nn.Module) -> bool:
    """Whether it computes something itself: it has no submodules, or weights of its own beside them."""
    return not module._modules or bool(module._parameters) or isinstance(module, WITH_CHANNELS)


def _mixes(module: nn.Module) -> bool:
    own = [p for p in module._parameters.values() if p is not None]
    parametrized = module._modules.get("parametrizations")
    own += list(parametrized.parameters()) if parametrized is not None else []
    return any(p.dim() > 1 for p in own)
