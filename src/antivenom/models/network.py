"""Network: a torch module without its weights, which are passed to every call as a flat vector."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import UninitializedParameter

from antivenom.core.errors import ModelError, NotApplicable, did_you_mean
from antivenom.core.protocols import Architecture, Estimator
from antivenom.core.streams import Streams
from antivenom.models.layers import Layer, Observer, affects_output, shared_copy, traced, watched
from antivenom.models.layout import HALF, Layout, Role
from antivenom.models.vector import flatten, unflatten

Buffers = dict[str, Tensor]


class SeededDropout(nn.Module):
    """nn.Dropout with its own random generator instead of the global one."""

    def __init__(self, p: float, generator: torch.Generator) -> None:
        super().__init__()
        self.p, self.generator = p, generator

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        noise = torch.empty(x.shape, dtype=noise_type(x), device=x.device).uniform_(generator=self.generator)
        return dropped(x, noise, self.p)


def dropped(x: Tensor, noise: Tensor, p: float) -> Tensor:
    """x with a share p of its values set to zero and the others divided by 1 - p; `noise` is uniform in [0, 1).

    Comparing uniform numbers with p is four times as fast as drawing zeros and ones with `bernoulli_`.
    """
    return x * dropout_mask(noise, p).to(x.dtype)


def noise_type(x: Tensor) -> torch.dtype:
    """Type of the noise that `dropped` needs for x: at least float32.

    Half precision is too coarse, and masks would differ from those of a float32 network.
    """
    return torch.promote_types(x.dtype, torch.float32)


def dropout_mask(noise: Tensor, p: float) -> Tensor:
    """The factors of dropout: 0 where `noise` is below p, else 1 / (1 - p)."""
    return (noise >= p).to(noise.dtype) / max(1 - p, torch.finfo(noise.dtype).tiny)  # for p = 1: 0 / tiny is 0


class Network:
    """An architecture for rows of one shape and c classes. Trained weights are an argument of every call.

    Frozen parameters (`requires_grad=False`) are part of the architecture: they keep their values and are not in the vector.

    Args:
        module: the torch module.
        shape: shape of one row.
        num_classes: c.

    Attributes:
        module: the module; its own trained weights are read once, for `initial`.
        layout: names, shapes, types and roles of all its tensors.
        shapes: names and shapes of the trained parameters, in the order of the flat vector.
        dimension: d, the length of that vector.
        initial: (d,) the initial weights.
        frozen: the frozen parameters by name.
        buffers: the initial buffers by name: running statistics and constants.
        precision: common type of all parameters if it is not float32, else None.
        tokens: whether rows are integers (int64), such as numbers of words in a vocabulary.
        channels_last: whether images are handed to the module with the channels last in memory, which is faster. A module that
            calls `view` on them takes only the usual order.

    Raises:
        ModelError: the module has no trainable parameters, fails on such rows, or its output for one row is not (1, c).
    """

    def __init__(self, module: nn.Module, shape: tuple[int, ...], num_classes: int) -> None:
        self.module = module.eval()
        self.row_shape, self.num_classes = shape, num_classes
        self._materialise()
        self.layout = Layout.of(module)
        self.shapes = self.layout.named(Role.TRAINED)
        self.dimension = sum(shape.numel() for shape in self.shapes.values())
        parameters = dict(module.named_parameters())
        start = flatten(parameters[name].detach() for name in self.shapes)
        self.initial = start.to(
            noise_type(start)
        )  # at least float32: small steps added in half precision would be lost
        self.frozen = {name: parameters[name].detach() for name in self.layout.named(Role.FROZEN)}
        self.buffers: Buffers = {name: b.detach().clone() for name, b in module.named_buffers()}
        precision = self.layout.precision
        self.precision = None if precision is torch.float32 else precision
        self.tokens, self.channels_last = False, True
        output = self._output_shape()
        if output != (1, num_classes):
            raise ModelError(
                f"a model with {num_classes} outputs, one per class",
                f"output shape {output[1:]}",
                "change its last layer",
            )

    def _materialise(self) -> None:
        """Run lazy layers once, so that they get their sizes."""
        if any(isinstance(p, UninitializedParameter) for p in self.module.parameters()):
            try:
                self.module(torch.zeros(1, *self.row_shape))
            except Exception as error:
                raise self._mismatch(error) from error

    def _output_shape(self) -> tuple[int, ...]:
        """Shape of the output for one row of zeros. Sets `tokens` and `channels_last` to what the module takes."""
        failed: Exception | None = None
        for tokens, channels_last in ((False, True), (False, False), (True, False)):
            self.tokens, self.channels_last = tokens, channels_last
            row = torch.zeros(1, *self.row_shape, dtype=torch.int64 if tokens else torch.float32)
            try:
                with torch.no_grad():
                    return tuple(self.logits(self.initial, row).shape)
            except Exception as error:  # the user's module may raise any exception
                failed = failed or error
        assert failed is not None
        raise self._mismatch(failed) from failed

    def _mismatch(self, error: Exception) -> ModelError:
        got = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return ModelError(f"a model for rows of shape {self.row_shape}", got, "fit the model to the data")

    def to(self, device: torch.device | str) -> Network:
        """The same network with its initial weights, frozen parameters and buffers on a device."""
        if self.initial.device == torch.device(device):
            return self
        moved = copy.copy(self)
        moved.module = copy.deepcopy(self.module).to(device)
        moved.initial = self.initial.to(device)
        moved.buffers = {name: b.to(device) for name, b in self.buffers.items()}
        moved.frozen = {name: p.to(device) for name, p in self.frozen.items()}
        return moved

    def starting_at(self, weights: Tensor) -> Network:
        """The same network with other initial weights (d,)."""
        started = copy.copy(self)
        started.initial = weights
        return started

    @cached_property
    def architecture(self) -> Hashable:
        """A key that is equal for networks that differ in nothing but trained weights. Valid for torch's own layers only.

        With frozen parameters or buffers, whose values may differ, each network has a key of its own.
        """
        own = id(self) if self.frozen or self.buffers else None
        return repr(self.module), self.row_shape, self.num_classes, own

    @cached_property
    def running(self) -> tuple[str, ...]:
        """Names of the buffers that training changes, such as a batch norm's statistics. Constant buffers are excluded.

        They are found by one training step on random rows, with the buffers compared before and after.
        """
        if not self.buffers:
            return ()
        state = {name: b.clone() for name, b in self.buffers.items()}
        generator = torch.Generator(device=self.initial.device).manual_seed(0)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            try:
                self.training_forward(generator, state)(self.initial, self._some_rows(2))
            except Exception:  # the module cannot train on such rows, so any buffer may change
                return tuple(self.buffers)
        return tuple(name for name, before in self.buffers.items() if not torch.equal(before, state[name]))

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in the order of execution, not of declaration. A layer that is used twice is listed at its last use."""
        return traced(self._run(self._some_rows(1)), self.module)

    @cached_property
    def _head(self) -> Layer:
        mixing = [layer for layer in self.layers if layer.mixes and layer.name]
        mixing = mixing or [layer for layer in self.layers if layer.mixes]
        run = self._run(self._some_rows(1))
        last = next((layer for layer in reversed(mixing) if affects_output(run, self.module, layer.name)), None)
        if last is None or self.num_classes not in last.shape:
            got = "none" if last is None else f"{last.kind} {last.name}, whose output has the shape {last.shape}"
            raise NotApplicable(
                f"a last layer with an output for each of {self.num_classes} classes",
                got,
                "use a defence that needs no activations",
            )
        return last

    def head(self) -> Layer:
        """The last executed layer with a weight matrix on which the logits depend.

        Raises:
            NotApplicable: no layer has an output for each class: the logits are computed outside of any submodule.
        """
        return self._head

    def hidden(self) -> tuple[Layer, ...]:
        """The layers whose channels can be scaled: convolutions and dense layers with trained weights, without the head."""
        return tuple(
            layer
            for layer in self.layers
            if layer.channels
            and layer != self._head
            and all(f"{name}.weight" in self.shapes for name in (layer.name, layer.normalised_by) if name)
        )

    def skipped(self) -> tuple[str, ...]:
        """Names of layers with weight matrices whose channels cannot be scaled: of another class, frozen or shared."""
        known = {layer.name for layer in (*self.hidden(), self._head)}
        return tuple(layer.name for layer in self.layers if layer.mixes and layer.name not in known)

    def activations(
        self, vector: Tensor, x: Tensor, names: Iterable[str], buffers: Buffers | None = None
    ) -> dict[str, Tensor]:
        """Outputs of the named layers for x (m, ...), in one forward pass without dropout.

        Raises:
            ModelError: no executed layer has that name.
        """
        return {name: out for name, (_, out) in self._observed(vector, x, names, buffers).items()}

    def entering(self, vector: Tensor, x: Tensor, name: str, buffers: Buffers | None = None) -> Tensor:
        """Input of the named layer for x (m, ...), in one forward pass without dropout.

        Raises:
            ModelError: no executed layer has that name.
        """
        return self._observed(vector, x, [name], buffers)[name][0]

    def _observed(
        self, vector: Tensor, x: Tensor, names: Iterable[str], buffers: Buffers | None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        wanted = list(names)
        found: dict[str, tuple[Tensor, Tensor]] = {}

        def see(name: str, _: nn.Module, entered: Tensor, out: Tensor) -> None:
            if name in wanted:
                found[name] = (entered, out.clone())  # the next layer may be an in-place ReLU, which would overwrite it

        self._forward(watched(self.module, see), vector, x, buffers)
        for name in wanted:
            if name not in found:
                known = [layer.name for layer in self.layers]
                raise ModelError("the name of an executed layer", repr(name), did_you_mean(name, known))
        return found

    def _some_rows(self, m: int) -> Tensor:
        device = self.initial.device
        if self.tokens:
            return torch.zeros(m, *self.row_shape, dtype=torch.int64, device=device)
        return torch.rand(m, *self.row_shape, generator=torch.Generator().manual_seed(0)).to(device)

    def _run(self, x: Tensor) -> Callable[[nn.Module], Tensor]:
        def run(module: nn.Module) -> Tensor:
            with torch.no_grad():
                return self._forward(module, self.initial, x, None)

        return run

    @property
    def kernels(self) -> Tensor:
        """(d,) bool, True for entries of weights with two or more dimensions, False for biases and scales."""
        return torch.cat([torch.full((shape.numel(),), len(shape) > 1) for shape in self.shapes.values()])

    def rows(self, x: np.ndarray) -> Tensor:
        """Rows x (m, ...) as a tensor on the network's device: float32, or int64 for tokens.

        Raises:
            ModelError: fractions in rows of tokens.
        """
        if self.tokens and x.dtype.kind == "f" and (x % 1).any():
            raise ModelError("token rows of whole numbers", "fractions", "give the network rows of tokens")
        kind = np.int64 if self.tokens else np.float32
        return torch.tensor(np.ascontiguousarray(x, dtype=kind), device=self.initial.device)

    def parameters(self, vector: Tensor) -> dict[str, Tensor]:
        """The trained parameters as named views into `vector` (d,), or stacked ones into (n, d)."""
        return unflatten(vector, self.shapes)

    def logits(self, vector: Tensor, x: Tensor, buffers: Buffers | None = None) -> Tensor:
        """Logits (m, c) for x (m, ...), without dropout; differentiable in `vector` and x."""
        return self._forward(self.module, vector, x, buffers)

    def _forward(self, module: nn.Module, vector: Tensor, x: Tensor, buffers: Buffers | None) -> Tensor:
        state = {**self._parameters(vector), **(self.buffers if buffers is None else buffers)}
        return self._full_precision(self._called(module, state, x))

    def _called(self, module: nn.Module, state: dict[str, Tensor], x: Tensor) -> Tensor:
        """Outputs of the module with these tensors in place of its own. Torch's search for tied tensors costs time in every call."""
        x = self._cast(x)
        x = _channels_last(x) if self.channels_last else x
        out: Tensor = functional_call(module, state, (x,), tie_weights=self.layout.tied)
        return out

    def training_forward(
        self, generator: torch.Generator, buffers: Buffers, see: Observer | None = None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """A function (vector, x) -> logits in training mode: dropout from `generator`; it updates `buffers` in place.

        `see` is called after every layer, as in `watched`.
        """
        module = shared_copy(self.module, lambda part: _seeded(part, generator)).train()
        module = module if see is None else watched(module, see)
        owners = [(name, *_owner(module, name)) for name in self.buffers]

        def forward(vector: Tensor, x: Tensor) -> Tensor:
            for name, owner, leaf in owners:
                owner._buffers[leaf] = buffers[name]
            out = self._called(module, self._parameters(vector), x)
            for name, owner, leaf in owners:  # a module may assign a new tensor instead of writing into the old one
                value = owner._buffers[leaf]
                buffers[name] = buffers[name] if value is None else value.detach()
            return self._full_precision(out)

        return forward

    def _parameters(self, vector: Tensor) -> dict[str, Tensor]:
        """The trained parameters in the types of the module. In double precision the frozen ones are converted too."""
        state = self.parameters(vector)
        if self.layout.has_half:
            types = self.layout.types
            state = {name: p if types[name] is torch.float32 else p.to(types[name]) for name, p in state.items()}
        elif self.frozen and vector.dtype is torch.float64:
            state |= {name: p.to(vector.dtype) for name, p in self.frozen.items() if p.is_floating_point()}
        return state

    def _cast(self, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        if self.tokens:
            return x.to(torch.int64)
        return x if self.precision is None else x.to(self.precision)

    def _full_precision(self, logits: Tensor) -> Tensor:
        return logits.float() if self.layout.has_half and logits.dtype in HALF else logits


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


def _channels_last(x: Tensor) -> Tensor:
    """x with images in channels-last memory format, which makes convolution and pooling a quarter faster."""
    return x if x.dim() != 4 else torch.empty_like(x, memory_format=torch.channels_last).copy_(x)


def _seeded(part: nn.Module, generator: torch.Generator) -> nn.Module | None:
    return SeededDropout(part.p, generator) if type(part) is nn.Dropout else None


def build(make: Architecture | Estimator, shape: tuple[int, ...], num_classes: int, streams: Streams) -> Network:
    """A network with initial weights from the stream "init". The global generator is restored.

    Args:
        make: the architecture.
        shape: shape of one row.
        num_classes: number of classes.
        streams: the trial's random streams.

    Raises:
        ModelError: the architecture raised, returned no torch module, or one that does not fit these rows and classes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(streams.child("init").key)
        try:
            module: Any = make(shape, num_classes)  # type: ignore[call-arg, arg-type] # an estimator is refused below
        except (TypeError, ValueError, RuntimeError) as error:
            got = f"{type(error).__name__}: {error}"
            raise ModelError(f"a module for rows of shape {shape} from {make!r}", got) from error
        if not isinstance(module, nn.Module):
            raise ModelError(f"a torch module from {make!r}", type(module).__name__, "choose a torch architecture")
        return Network(module, shape, num_classes)
