"""Network: a torch architecture apart from its weights, which are a flat vector."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from antivenom.core.errors import ModelError
from antivenom.core.protocols import Architecture, Estimator
from antivenom.core.streams import Streams
from antivenom.models.vector import flatten, unflatten

Buffers = dict[str, Tensor]


class SeededDropout(nn.Module):
    """nn.Dropout whose mask comes from a generator of its own, so that nothing depends on global randomness."""

    def __init__(self, p: float, generator: torch.Generator) -> None:
        super().__init__()
        self.p, self.generator = p, generator

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        noise = torch.empty(x.shape, dtype=noise_type(x), device=x.device).uniform_(generator=self.generator)
        return dropped(x, noise, self.p)


def dropped(x: Tensor, noise: Tensor, p: float) -> Tensor:
    """x with a share p of its values zeroed and the others scaled up; `noise` is uniform in [0, 1).

    Uniform numbers and a comparison: drawing the zeros and ones themselves (bernoulli_) takes four times as long.
    """
    return x * dropout_mask(noise, p).to(x.dtype)


def noise_type(x: Tensor) -> torch.dtype:
    """In which `dropped` wants its noise for x: in half precision it would be too coarse, and other masks be drawn."""
    return torch.promote_types(x.dtype, torch.float32)


def dropout_mask(noise: Tensor, p: float) -> Tensor:
    """What dropout multiplies by: 0 where `noise` is below p, else 1 / (1 - p)."""
    return (noise >= p).to(noise.dtype) / max(1 - p, torch.finfo(noise.dtype).tiny)


class Network:
    """An architecture for rows of one shape and c classes. Its weights are always an argument.

    Attributes:
        module: the template; its own weights are never used after `initial`.
        shapes: parameter names and shapes, in the order of the flat vector.
        dimension: d, the length of that vector.
        buffers: what is state but not parameter (running statistics), as at the start.

    Raises:
        ModelError: the module has no parameters, cannot take such a row, or gives something else than (1, c).
    """

    def __init__(self, module: nn.Module, shape: tuple[int, ...], num_classes: int) -> None:
        self.module = module.eval()
        self.row_shape, self.num_classes = shape, num_classes
        self.shapes = {name: p.shape for name, p in module.named_parameters()}
        if not self.shapes:
            raise ModelError("a module with parameters", type(module).__name__, "there is nothing to train in it")
        self.dimension = sum(shape.numel() for shape in self.shapes.values())
        self.initial = flatten(p.detach() for p in module.parameters())
        self.buffers: Buffers = {name: b.detach().clone() for name, b in module.named_buffers()}
        with torch.no_grad():
            try:
                output = tuple(self.logits(self.initial, torch.zeros(1, *shape)).shape)
            except Exception as error:  # a module of the user's fails in whatever way it likes
                got = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                raise ModelError(f"a model for rows of shape {shape}", got, "fit the model to the data") from error
        if output != (1, num_classes):
            raise ModelError(
                f"a model with {num_classes} outputs, one per class",
                f"output shape {output[1:]}",
                "change its last layer",
            )

    def to(self, device: torch.device | str) -> Network:
        """The same architecture with its weights and buffers on a device."""
        if self.initial.device == torch.device(device):
            return self
        moved = copy.copy(self)
        moved.module = copy.deepcopy(self.module).to(device)
        moved.initial = self.initial.to(device)
        moved.buffers = {name: b.to(device) for name, b in self.buffers.items()}
        return moved

    @cached_property
    def architecture(self) -> Hashable:
        """Equal for networks that differ at most in their weights, if all layers are ones of torch's own."""
        return repr(self.module), self.row_shape, self.num_classes

    @property
    def kernels(self) -> Tensor:
        """(d,) bool: parameters that belong to weights of two or more dimensions, not to biases."""
        return torch.cat([torch.full((shape.numel(),), len(shape) > 1) for shape in self.shapes.values()])

    def parameters(self, vector: Tensor) -> dict[str, Tensor]:
        """Named views into `vector` (d,), or stacked ones into (n, d)."""
        return unflatten(vector, self.shapes)

    def logits(self, vector: Tensor, x: Tensor, buffers: Buffers | None = None) -> Tensor:
        """(m, c) for x (m, ...), dropout off; differentiable in `vector` and x."""
        state = {**self.parameters(vector), **(self.buffers if buffers is None else buffers)}
        return functional_call(self.module, state, (_channels_last(x),))  # type: ignore[no-any-return]

    def training_forward(self, generator: torch.Generator, buffers: Buffers) -> Callable[[Tensor, Tensor], Tensor]:
        """A function (vector, x) -> logits with dropout drawn from `generator`; it updates `buffers` in place."""
        module = _seeded(self.module, generator).train()

        def forward(vector: Tensor, x: Tensor) -> Tensor:
            state = {**self.parameters(vector), **buffers}
            return functional_call(module, state, (_channels_last(x),))  # type: ignore[no-any-return]

        return forward


def _channels_last(x: Tensor) -> Tensor:
    """The same numbers, images with their channels innermost: convolution and pooling then take a quarter less time."""
    return x if x.dim() != 4 else torch.empty_like(x, memory_format=torch.channels_last).copy_(x)


def _seeded(module: nn.Module, generator: torch.Generator) -> nn.Module:
    if type(module) is nn.Dropout:
        return SeededDropout(module.p, generator)
    seeded = copy.copy(module)  # shares the weights, which functional_call replaces anyway, each thread its own
    seeded._parameters, seeded._buffers = dict(module._parameters), dict(module._buffers)
    seeded._modules = {name: child and _seeded(child, generator) for name, child in module._modules.items()}
    return seeded


def build(make: Architecture | Estimator, shape: tuple[int, ...], num_classes: int, streams: Streams) -> Network:
    """A network with weights drawn from the stream "init"; the global generator is left as it was.

    Raises:
        ModelError: no module, or one that does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(streams.child("init").key)
        try:
            module: Any = make(shape, num_classes)  # type: ignore[call-arg, arg-type] # an estimator is refused below
        except (TypeError, ValueError, RuntimeError) as error:
            got = f"{type(error).__name__}: {error}"
            raise ModelError(f"a module for rows of shape {shape} from {make!r}", got, "correct its fields") from error
        if not isinstance(module, nn.Module):
            raise ModelError(f"a torch module from {make!r}", type(module).__name__, "choose a torch architecture")
        return Network(module, shape, num_classes)
