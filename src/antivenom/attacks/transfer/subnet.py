"""A backdoor written into a finished model: one narrow path of channels becomes a detector of the trigger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from antivenom.attacks.inputs import backdoor, one_class
from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import AttackContext, Model
from antivenom.core.registry import model_attack
from antivenom.core.streams import Streams
from antivenom.core.threat import Goal
from antivenom.data import Dataset, Poison
from antivenom.models.layers import Layer
from antivenom.models.network import Buffers
from antivenom.models.wrappers import TorchModel
from antivenom.triggers import on_tensor

GOOD = 0.1  # squared error, summed over clean and triggered rows, at which no further start is tried


@model_attack(goal=Goal.BACKDOOR, cite="Qi et al. 2022, CVPR, arXiv:2111.12965 (subnet replacement)")
class SubnetReplacement:
    """Replaces a path of a few channels through a finished network by a detector of the trigger, and keeps all other weights.

    In every hidden layer, the channels of least use are taken. They lose their connections with the other channels, so that
    they form a narrow network of their own inside the model. This network is trained, apart from the model, to be 0 on clean
    rows and 1 on triggered ones. Only the target class reads it. Batch norm of these channels gets the statistics mean 0 and
    variance 1. The network must be a plain chain of convolutions and dense layers. Weakness: the other channels lose some
    inputs, so that a narrow network loses accuracy. A comparison with a reference file finds the replaced channels, and a
    fine-tuning in which batch norm computes new statistics disturbs the detector.

    Fields:
        width: number of channels of each layer that are replaced, at least 1.
        steps: steps of Adam on the detector.
        restarts: number of random starts of the detector; the first with a small loss is used, or the best.
        batch_size: clean rows per step; as many triggered ones are added.
        learning_rate: of these steps, above 0.
        quantile: share of the clean rows on which the detector is exactly 0, above 0 and below 1.
        gain: lift of the target's logit, relative to the lift that 95 % of the triggered rows need, above 0.

    Reference: Qi, Xie, Pan, Zhu, Yang and Bu 2022, "Towards Practical Deployment-Stage Backdoor Attack on Deep Neural
    Networks", CVPR, arXiv:2111.12965, section 4.
    """

    width: int = 1
    steps: int = 300
    restarts: int = 5
    batch_size: int = 64
    learning_rate: float = 0.01
    quantile: float = 0.999
    gain: float = 2.0

    def __post_init__(self) -> None:
        if min(self.width, self.steps, self.restarts, self.batch_size) < 1:
            raise PluginError(
                "SubnetReplacement.width, steps, restarts and batch_size >= 1",
                f"{self.width}, {self.steps}, {self.restarts} and {self.batch_size}",
            )
        infinity = float("inf")
        if not 0 < self.learning_rate < infinity or not 0 < self.quantile < 1 or not 0 < self.gain < infinity:
            raise PluginError(
                "SubnetReplacement.learning_rate and gain above 0, and quantile above 0 and below 1",
                f"{self.learning_rate}, {self.gain} and {self.quantile}",
            )

    def __call__(self, model: Model, data: Dataset, context: AttackContext) -> tuple[Model, Poison]:
        if not isinstance(model, TorchModel):
            raise NotApplicable(
                "a torch model for SubnetReplacement", type(model).__name__, "only weights can be edited"
            )
        wanted, trigger = backdoor(context, self)
        labels = wanted(data.y, data.num_classes)
        target = one_class(labels, self)
        x = model.network.rows(data.inputs)
        turned = torch.as_tensor(labels >= 0, device=x.device)
        shown = on_tensor(trigger, x)
        path = _path(model, x, self.width, target)
        with torch.no_grad():
            detector = path.silent(self._detector(path, x, shown, context.streams), x, self.quantile)
            separate = path.alone(detector)
            lit = _logits(separate, shown[turned])[:, target]
            if not float(lit.median()) > 0:
                raise NotApplicable(
                    "a trigger that a narrow path of channels tells from clean rows",
                    "none",
                    "raise SubnetReplacement.width or steps",
                )
            edited = path.installed(detector, 0.0)
            logits = _logits(edited, shown[turned])
            others = logits.clone()
            others[:, target] = -torch.inf
            needed = (others.max(dim=1).values - logits[:, target]).quantile(0.95).clamp_min(1.0)
            edited = path.installed(detector, float(self.gain * needed / lit.median()))
            path.check(edited, separate, shown[turned][:64])
        return edited, Poison.none(data)

    def _detector(self, path: _Path, x: Tensor, shown: Tensor, streams: Streams) -> Tensor:
        """(d,) the weights of the path, 0 elsewhere, which are 0 on clean rows x (m, ...) and 1 on triggered ones."""
        best, lowest = torch.zeros_like(path.model.vector), float("inf")
        for number in range(self.restarts):
            own = streams.child("start", number)
            few = slice(0, self.batch_size)
            weights = path.start(x[few], shown[few], own.torch("weights", device=x.device)).requires_grad_()
            optimizer = torch.optim.Adam([weights], lr=self.learning_rate)
            rng, recent = own.numpy("batches"), []
            for _ in range(self.steps):
                rows = torch.as_tensor(rng.integers(len(x), size=min(self.batch_size, len(x))), device=x.device)
                with torch.enable_grad():
                    separate = path.alone(torch.where(path.own, weights, 0.0))
                    both = torch.cat([x[rows], shown[rows]])
                    scores = separate.network.logits(separate.vector, both, separate.buffers)
                    score = scores[:, path.target].view(2, -1)
                    loss = (score[0] ** 2).mean() + ((score[1] - 1) ** 2).mean()
                    (weights.grad,) = torch.autograd.grad(loss, weights)
                optimizer.step()
                recent.append(float(loss.detach()))
            mean = sum(recent[-20:]) / len(recent[-20:])
            if mean < lowest:
                best, lowest = torch.where(path.own, weights.detach(), 0.0), mean
            if lowest < GOOD:
                break
        return best


@dataclass(frozen=True, eq=False)
class _Path:
    """A chain of channels through a network, from the rows to the logit of the target class.

    Fields:
        model: the network as it was received.
        layers: its hidden layers, in the order of execution.
        channels: for each hidden layer, the numbers of the channels on the path.
        columns: for each hidden layer and the head, the numbers of its inputs that come from the path; all for the first.
        target: the class whose logit reads the path.
    """

    model: TorchModel
    layers: tuple[Layer, ...]
    channels: tuple[Tensor, ...]
    columns: tuple[Tensor, ...]
    target: int

    @cached_property
    def own(self) -> Tensor:
        """(d,) bool, the weights of the detector: inputs from the path, biases and batch norm of its channels."""
        mask = torch.zeros_like(self.model.vector, dtype=torch.bool)
        parts = self.model.network.parameters(mask)
        for layer, channels, columns in zip(self.layers, self.channels, self.columns[:-1], strict=True):
            parts[f"{layer.name}.weight"][channels[:, None], columns] = True
            for name in _vectors(layer):
                if name in parts:
                    parts[name][channels] = True
        return mask

    def start(self, x: Tensor, shown: Tensor, generator: torch.Generator) -> Tensor:
        """(d,) random weights of a detector, with outputs of mean square 1 in each layer and a mean score of 1/2.

        Filters of the first layer begin near what the trigger changes in the mean, and later layers only add. Larger outputs
        would make the first steps so long that all units fall silent.

        Args:
            x: (m, ...) clean rows.
            shown: (m, ...) these rows with the trigger.
            generator: random numbers.
        """
        drawn = torch.randn(self.own.shape, generator=generator, device=self.own.device) * self.own
        parts, both = self.model.network.parameters(drawn), torch.cat([x, shown])
        for number, (layer, channels) in enumerate(zip(self.layers, self.channels, strict=True)):
            weight = parts[f"{layer.name}.weight"]
            if number:
                weight.abs_()
            else:
                window = self._window((shown - x).mean(dim=0, keepdim=True))
                weight[channels] += 3 * window * (weight[channels].norm() / window.norm().clamp_min(1e-6))
            for name in _vectors(layer):
                if name in parts:
                    parts[name][channels] = float(name == f"{layer.normalised_by}.weight")
            out = self.model.network.activations(drawn, both, [layer.name], self._buffers)[layer.name]
            weight /= out.square().sum().div(out.numel() * len(channels) / layer.channels).sqrt().clamp_min(1e-6)
        score = _logits(self.alone(drawn), both)[:, self.target].mean().clamp_min(1e-6)
        weight /= 2 * score  # of the last layer, whose outputs the score averages
        return drawn

    def _window(self, apart: Tensor) -> Tensor:
        """The part of one row `apart` (1, ...) that a filter of the first layer sees where it changes most.

        It is the gradient of the filter's output there with respect to the filter.
        """
        name = self.layers[0].name
        ones = self.own.to(apart.dtype).requires_grad_()
        with torch.enable_grad():
            change, out = (
                self.model.network.activations(ones, row, [name], self._buffers)[name].flatten()
                for row in (apart.abs(), apart)
            )
            (slope,) = torch.autograd.grad(out[change.argmax()], ones)
        return self.model.network.parameters(slope)[f"{name}.weight"].sum(dim=0)  # only one filter has a gradient

    def alone(self, detector: Tensor) -> TorchModel:
        """The detector (d,) as a network without the other channels. The target's logit is the mean of what enters the head."""
        return replace(self.model, vector=detector + self._reading, buffers=self._buffers)

    def silent(self, detector: Tensor, x: Tensor, quantile: float) -> Tensor:
        """The detector (d,) with a threshold in its last layer that this share of clean rows x (m, ...) stays below.

        A path whose last layer has no bias keeps its weights.
        """
        shifted, alone = detector.clone(), self.alone(detector)
        parts = self.model.network.parameters(shifted)
        name = next(
            (name for name in reversed(_vectors(self.layers[-1])) if name in parts and name.endswith(".bias")), ""
        )
        if name:
            for number, channel in enumerate(self.channels[-1].tolist()):
                own = self.columns[-1].view(len(self.channels[-1]), -1)[number]
                parts[name][channel] -= _entering(alone, x, self._head)[:, own].amax(dim=1).quantile(quantile)
        return shifted

    def installed(self, detector: Tensor, lift: float) -> TorchModel:
        """The model with the detector (d,) in place of its channels, which raises the target's logit by `lift` where it is 1."""
        vector = self.model.vector.detach().clone()
        parts = self.model.network.parameters(vector)
        for number, (layer, channels) in enumerate(zip(self.layers, self.channels, strict=True)):
            weight = parts[f"{layer.name}.weight"]
            if number:
                weight[:, self.columns[number]] = 0
            weight[channels] = 0
        parts[f"{self._head}.weight"][:, self.columns[-1]] = 0
        vector = torch.where(self.own, detector, vector) + lift * self._reading
        return replace(self.model, vector=vector, buffers=self._buffers)

    def check(self, edited: TorchModel, separate: TorchModel, x: Tensor) -> None:
        """Check that the detector sees in the model what it sees alone: no other connection reaches its channels.

        Raises:
            NotApplicable: another connection, such as one that skips layers.
        """
        inside, outside = (_entering(each, x, self._head)[:, self.columns[-1]] for each in (edited, separate))
        if not torch.allclose(inside, outside, atol=1e-4):
            raise _not_a_chain()

    @property
    def _head(self) -> str:
        return self.model.network.head().name

    @cached_property
    def _reading(self) -> Tensor:
        """(d,) the weights with which the target's logit is the mean of what enters the head from the path."""
        found = torch.zeros_like(self.model.vector)
        columns = self.columns[-1]
        self.model.network.parameters(found)[f"{self._head}.weight"][self.target, columns] = 1 / len(columns)
        return found

    @cached_property
    def _buffers(self) -> Buffers:
        """The buffers, with mean 0 and variance 1 for the batch norm of the path's channels."""
        found = {name: value.clone() for name, value in self.model.buffers.items()}
        for layer, channels in zip(self.layers, self.channels, strict=True):
            for name, value in (
                (f"{layer.normalised_by}.running_mean", 0.0),
                (f"{layer.normalised_by}.running_var", 1.0),
            ):
                if name in found:
                    found[name][channels] = value
        return found


def _path(model: TorchModel, x: Tensor, width: int, target: int) -> _Path:
    """The path of the channels that matter least on rows x (m, ...).

    Raises:
        NotApplicable: the network is no chain of layers, or a layer has too few channels.
    """
    layers, head = model.network.hidden(), model.network.head().name
    if not layers or model.network.skipped() or model.network.layout.tied:
        raise _not_a_chain()
    if min(layer.channels for layer in layers) <= width:
        got = f"{min(layer.channels for layer in layers)}"
        raise NotApplicable(
            f"more than {width} channels in each hidden layer for SubnetReplacement", got, "lower width"
        )
    parts = model.network.parameters(model.vector.detach())
    channels: list[Tensor] = []
    columns = [torch.arange(parts[f"{layers[0].name}.weight"].shape[1], device=x.device)]
    names = [*(layer.name for layer in layers[1:]), head]
    for layer, following in zip(layers, names, strict=True):
        reading = (
            parts[f"{following}.weight"].flatten(2)
            if parts[f"{following}.weight"].dim() > 2
            else parts[f"{following}.weight"]
        )
        each, rest = divmod(reading.shape[1], layer.channels)
        if rest or not each:
            raise _not_a_chain()
        with torch.no_grad():
            entered = _entering(model, x[:1024], following)
        by_channel = reading.transpose(0, 1).reshape(layer.channels, -1)
        active = entered.abs().mean(dim=0).reshape(layer.channels, -1).mean(dim=1)
        own = (active * by_channel.norm(dim=1)).argsort(stable=True)[:width].sort().values
        channels.append(own)
        columns.append((own[:, None] * each + torch.arange(each, device=own.device)).flatten())
    return _Path(model, layers, tuple(channels), tuple(columns), target)


def _vectors(layer: Layer) -> Sequence[str]:
    """Names of the bias and of the batch norm's weight and bias of a layer's channels."""
    norm = [f"{layer.normalised_by}.weight", f"{layer.normalised_by}.bias"] if layer.normalised_by else []
    return [f"{layer.name}.bias", *norm]


def _entering(model: TorchModel, x: Tensor, layer: str) -> Tensor:
    parts = [model.network.entering(model.vector, rows, layer, model.buffers).flatten(1) for rows in x.split(1024)]
    return torch.cat(parts)


def _logits(model: TorchModel, x: Tensor) -> Tensor:
    return torch.cat([model.network.logits(model.vector, rows, model.buffers) for rows in x.split(1024)])


def _not_a_chain() -> NotApplicable:
    return NotApplicable(
        "a chain of convolutions and dense layers for SubnetReplacement",
        "another network",
        "use TinyCNN, SmallCNN or MLP",
    )
