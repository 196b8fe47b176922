"""Network: a torch architecture apart from its weights, which are a flat vector."""

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
from antivenom.models.layers import Layer, copied, matters, traced, watched
from antivenom.models.layout import HALF, Layout, Role
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
    """An architecture for rows of one shape and c classes. The weights that training changes are always an argument.

    Frozen parameters (`requires_grad=False`) are part of the architecture: they stay as they are, and are not in the vector.

    Attributes:
        module: the template; its own trained weights are never used after `initial`.
        layout: names, shapes, types and roles of all its tensors.
        shapes: names and shapes of the trained parameters, in the order of the flat vector.
        dimension: d, the length of that vector.
        initial: (d,) the weights to start from.
        frozen: the parameters that are not trained.
        buffers: what is state but not parameter (running statistics, constants), as at the start.
        tokens: whether rows are whole numbers (int64), such as the places of words in a vocabulary.

    Raises:
        ModelError: the module has nothing to train, cannot take such a row, or gives something else than (1, c).
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
        self.initial = start.to(noise_type(start))  # half precision is for products, not for what training adds up
        self.frozen = {name: parameters[name].detach() for name in self.layout.named(Role.FROZEN)}
        self.buffers: Buffers = {name: b.detach().clone() for name, b in module.named_buffers()}
        precision = self.layout.precision
        self.precision = None if precision is torch.float32 else precision
        self.tokens = False
        output = self._tried()
        if output != (1, num_classes):
            raise ModelError(
                f"a model with {num_classes} outputs, one per class",
                f"output shape {output[1:]}",
                "change its last layer",
            )

    def _materialise(self) -> None:
        """Let lazy layers find their sizes."""
        if any(isinstance(p, UninitializedParameter) for p in self.module.parameters()):
            try:
                self.module(torch.zeros(1, *self.row_shape))
            except Exception as error:
                raise self._misfit(error) from error

    def _tried(self) -> tuple[int, ...]:
        """The shape of the output for one row of zeros; also finds out whether rows are tokens."""
        with torch.no_grad():
            try:
                return tuple(self.logits(self.initial, torch.zeros(1, *self.row_shape)).shape)
            except Exception as error:  # a module of the user's fails in whatever way it likes
                self.tokens = True
                try:
                    return tuple(self.logits(self.initial, torch.zeros(1, *self.row_shape, dtype=torch.int64)).shape)
                except Exception:
                    raise self._misfit(error) from error

    def _misfit(self, error: Exception) -> ModelError:
        got = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return ModelError(f"a model for rows of shape {self.row_shape}", got, "fit the model to the data")

    def to(self, device: torch.device | str) -> Network:
        """The same architecture with its weights and buffers on a device."""
        if self.initial.device == torch.device(device):
            return self
        moved = copy.copy(self)
        moved.module = copy.deepcopy(self.module).to(device)
        moved.initial = self.initial.to(device)
        moved.buffers = {name: b.to(device) for name, b in self.buffers.items()}
        moved.frozen = {name: p.to(device) for name, p in self.frozen.items()}
        return moved

    @cached_property
    def architecture(self) -> Hashable:
        """Equal for networks that differ at most in their trained weights, if all layers are ones of torch's own."""
        own = id(self) if self.frozen or self.buffers else None  # whose numbers may differ between two networks
        return repr(self.module), self.row_shape, self.num_classes, own

    @cached_property
    def running(self) -> tuple[str, ...]:
        """Names of the buffers that training changes, such as a batch norm's statistics; constants are not among them."""
        if not self.buffers:
            return ()
        state = {name: b.clone() for name, b in self.buffers.items()}
        generator = torch.Generator(device=self.initial.device).manual_seed(0)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            try:
                self.training_forward(generator, state)(self.initial, self._some_rows(2))
            except Exception:  # it wants other rows to train on; then any buffer may change
                return tuple(self.buffers)
        return tuple(name for name, before in self.buffers.items() if not torch.equal(before, state[name]))

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in the order of execution, not of declaration; one that is used twice stands where it was last."""
        return traced(self._run(self._some_rows(1)), self.module)

    @cached_property
    def _head(self) -> Layer:
        mixing = [layer for layer in self.layers if layer.mixes and layer.name]
        mixing = mixing or [layer for layer in self.layers if layer.mixes]
        run = self._run(self._some_rows(1))
        last = next((layer for layer in reversed(mixing) if matters(run, self.module, layer.name)), None)
        if last is None or self.num_classes not in last.shape:
            got = "none" if last is None else f"{last.kind} {last.name}, whose output has the shape {last.shape}"
            raise NotApplicable(
                f"a last layer with an output for each of {self.num_classes} classes",
                got,
                "use a defence that needs no activations",
            )
        return last

    def head(self) -> Layer:
        """The last executed layer that mixes features into the logits.

        Raises:
            NotApplicable: the logits are computed outside any layer that a hook can see.
        """
        return self._head

    def hidden(self) -> tuple[Layer, ...]:
        """The layers whose channels can be scaled: plain convolutions and dense layers with trained weights, but the head."""
        return tuple(
            layer
            for layer in self.layers
            if layer.channels
            and layer != self._head
            and all(f"{name}.weight" in self.shapes for name in (layer.name, layer.normalised_by) if name)
        )

    def skipped(self) -> tuple[str, ...]:
        """Names of the mixing layers whose channels cannot be scaled: their class is not known, or they are frozen or tied."""
        known = {layer.name for layer in (*self.hidden(), self._head)}
        return tuple(layer.name for layer in self.layers if layer.mixes and layer.name not in known)

    def activations(
        self, vector: Tensor, x: Tensor, names: Iterable[str], buffers: Buffers | None = None
    ) -> dict[str, Tensor]:
        """What the named layers give for x (m, ...), in one forward, dropout off."""
        return {name: out for name, (_, out) in self._seen(vector, x, names, buffers).items()}

    def entering(self, vector: Tensor, x: Tensor, name: str, buffers: Buffers | None = None) -> Tensor:
        """What enters the named layer for x (m, ...), dropout off."""
        return self._seen(vector, x, [name], buffers)[name][0]

    def _seen(
        self, vector: Tensor, x: Tensor, names: Iterable[str], buffers: Buffers | None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        wanted = list(names)
        found: dict[str, tuple[Tensor, Tensor]] = {}

        def see(name: str, _: nn.Module, entered: Tensor, out: Tensor) -> None:
            if name in wanted:
                found[name] = (entered, out.clone())  # a ReLU may work in place

        self._applied(watched(self.module, see), vector, x, buffers)
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
                return self._applied(module, self.initial, x, None)

        return run

    @property
    def kernels(self) -> Tensor:
        """(d,) bool: parameters that belong to weights of two or more dimensions, not to biases."""
        return torch.cat([torch.full((shape.numel(),), len(shape) > 1) for shape in self.shapes.values()])

    def rows(self, x: np.ndarray) -> Tensor:
        """Rows (m, ...) as the network takes them, on its device: float32, or int64 for tokens.

        Raises:
            ModelError: fractions where whole numbers are wanted.
        """
        if self.tokens and x.dtype.kind == "f" and (x % 1).any():
            raise ModelError("token rows of whole numbers", "fractions", "give the network rows of tokens")
        kind = np.int64 if self.tokens else np.float32
        return torch.tensor(np.ascontiguousarray(x, dtype=kind), device=self.initial.device)

    def parameters(self, vector: Tensor) -> dict[str, Tensor]:
        """The trained parameters as named views into `vector` (d,), or stacked ones into (n, d)."""
        return unflatten(vector, self.shapes)

    def logits(self, vector: Tensor, x: Tensor, buffers: Buffers | None = None) -> Tensor:
        """(m, c) for x (m, ...), dropout off; differentiable in `vector` and x."""
        return self._applied(self.module, vector, x, buffers)

    def _applied(self, module: nn.Module, vector: Tensor, x: Tensor, buffers: Buffers | None) -> Tensor:
        state = {**self._parameters(vector), **(self.buffers if buffers is None else buffers)}
        return self._plain(self._called(module, state, x))

    def _called(self, module: nn.Module, state: dict[str, Tensor], x: Tensor) -> Tensor:
        """The module's output with these tensors in place of its own. Looking for tied ones in each call takes long."""
        out: Tensor = functional_call(module, state, (_channels_last(self._cast(x)),), tie_weights=self.layout.tied)
        return out

    def training_forward(self, generator: torch.Generator, buffers: Buffers) -> Callable[[Tensor, Tensor], Tensor]:
        """A function (vector, x) -> logits with dropout drawn from `generator`; it updates `buffers`."""
        module = copied(self.module, lambda part: _seeded(part, generator)).train()
        owners = [(name, *_owner(module, name)) for name in self.buffers]

        def forward(vector: Tensor, x: Tensor) -> Tensor:
            for name, owner, leaf in owners:
                owner._buffers[leaf] = buffers[name]
            out = self._called(module, self._parameters(vector), x)
            for name, owner, leaf in owners:  # a module may assign a new tensor instead of writing into the old one
                value = owner._buffers[leaf]
                buffers[name] = buffers[name] if value is None else value.detach()
            return self._plain(out)

        return forward

    def _parameters(self, vector: Tensor) -> dict[str, Tensor]:
        """The trained parameters in the types that the module wants, and the frozen ones where those must follow."""
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

    def _plain(self, logits: Tensor) -> Tensor:
        return logits.float() if self.layout.has_half and logits.dtype in HALF else logits


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


def _channels_last(x: Tensor) -> Tensor:
    """The same numbers, images with their channels innermost: convolution and pooling then take a quarter less time."""
    return x if x.dim() != 4 else torch.empty_like(x, memory_format=torch.channels_last).copy_(x)


def _seeded(part: nn.Module, generator: torch.Generator) -> nn.Module | None:
    return SeededDropout(part.p, generator) if type(part) is nn.Dropout else None


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
