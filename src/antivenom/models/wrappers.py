"""Models with one interface over torch networks, estimators and black boxes, and learners that fit them to rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import AntivenomError, ModelError, NotApplicable, text_of
from antivenom.core.protocols import Architecture, Model
from antivenom.core.streams import Streams
from antivenom.data import Dataset, Rows, Schema
from antivenom.data.forms import is_frame
from antivenom.models.layers import Channel
from antivenom.models.network import Buffers, Network, build
from antivenom.models.own import BlackBox, is_estimator, maker_of
from antivenom.models.scikit import SklearnLearner
from antivenom.models.training import Loss, Training, cross_entropy, train


class Learner(Protocol):
    """Fits models to rows."""

    def fit(self, data: Dataset, streams: Streams, loss: Loss = cross_entropy, start: Model | None = None) -> Model:
        """Train a model from scratch, or continue the training of `start`.

        Raises:
            NotApplicable: the learner cannot do this, such as continue the fit of an estimator.
            ModelError: the model does not fit the rows, or training fails.
        """
        ...


@dataclass(frozen=True, eq=False)
class TorchModel:
    """A network with its weights.

    Fields:
        network: the architecture.
        vector: (d,) trained weights.
        buffers: buffers by name, such as running statistics.
        kept: (d,) bool, False for pruned weights, which further training keeps at 0; None if no weight is pruned.
        schema: encodes rows of a DataFrame as numbers; None for arrays.
    """

    network: Network
    vector: Tensor
    buffers: Buffers = field(default_factory=dict)
    kept: Tensor | None = None
    schema: Schema | None = None

    @property
    def num_classes(self) -> int:
        return self.network.num_classes

    def logits(self, x: Rows, batch: int = 1024) -> Tensor:
        """Logits (m, c) for rows x (m, ...), `batch` rows at a time, without dropout."""
        if self.schema is not None and is_frame(x):
            x = self.schema.encode(x)
        rows = self.network.rows(x)
        with torch.no_grad():
            parts = [self.network.logits(self.vector, part, self.buffers) for part in rows.split(batch)]
        return torch.cat(parts) if parts else self.vector.new_zeros(0, self.num_classes)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.logits(x).softmax(1).cpu().numpy())

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.logits(x).argmax(1).cpu().numpy())

    def features(self, x: np.ndarray, layer: str | int = -1) -> np.ndarray:
        """Activations (m, width) inside the network, flattened.

        A number selects the input of a layer with a weight matrix, in the order of execution: 0 is the first such layer,
        -1 the head, -2 the one before the head. A name selects the output of the layer with that name.

        Raises:
            NotApplicable: the network has no head (see `Network.head`).
            ModelError: no such layer.
        """
        name = layer if isinstance(layer, str) else self._mixing(layer)
        parts = []
        with torch.no_grad():
            for rows in self.network.rows(x).split(1024):
                if isinstance(layer, str):
                    seen = self.network.activations(self.vector, rows, [name], self.buffers)[name]
                else:
                    seen = self.network.entering(self.vector, rows, name, self.buffers)
                parts.append(seen.flatten(1))
        return np.asarray(torch.cat(parts).cpu().numpy()) if parts else np.zeros((0, 0), dtype=np.float32)

    def _mixing(self, place: int) -> str:
        """Name of a layer with a weight matrix, by its place in the order of execution. The head is the last one."""
        head = self.network.head()
        names = [layer.name for layer in self.network.layers if layer.mixes]
        names = names[: names.index(head.name) + 1]
        if not -len(names) <= place < len(names):
            raise ModelError(
                f"a layer from {-len(names)} to {len(names) - 1}", f"{place}", "-1 is the input of the head"
            )
        return names[place]

    def channels(self) -> list[Channel]:
        """The hidden filters and units that `scaled` accepts, in the order of execution.

        `network.skipped()` lists the layers that have none.
        """
        return [Channel(layer.name, i) for layer in self.network.hidden() for i in range(layer.channels)]

    def scaled(self, factors: Mapping[Channel, float]) -> TorchModel:
        """A copy of the model in which the output of each of these channels is multiplied by its factor.

        The factor 0 prunes a channel: its filter, bias and batch norm become 0, and further training keeps them so. Other
        factors multiply the weight and bias of the batch norm that follows or, without one, the filter and its bias.

        Raises:
            ModelError: no such channel.
        """
        hidden = {layer.name: layer for layer in self.network.hidden()}
        vector = self.vector.clone()
        kept = torch.ones_like(vector, dtype=torch.bool) if self.kept is None else self.kept.clone()
        weights, masks = self.network.parameters(vector), self.network.parameters(kept)
        for channel, factor in factors.items():
            layer = hidden.get(channel.layer)
            if layer is None or not 0 <= channel.index < layer.channels:
                raise ModelError("a channel that `channels()` lists", f"{channel}")
            own = [f"{layer.name}.{part}" for part in ("weight", "bias")]
            norm = [f"{layer.normalised_by}.{part}" for part in ("weight", "bias") if layer.normalised_by]
            norm = [name for name in norm if name in weights]
            for name in (*own, *norm) if factor == 0 else norm or own:
                if name in weights:
                    weights[name][channel.index] *= factor
                    masks[name][channel.index] &= factor != 0
        return replace(self, vector=vector, kept=kept)

    def with_vector(self, vector: Tensor) -> TorchModel:
        return replace(self, vector=vector)


@dataclass(frozen=True, eq=False)
class BlackBoxModel:
    """A finished model that can only be queried.

    Fields:
        model: an object with predict_proba.
        num_classes: number of classes, c.
    """

    model: Any
    num_classes: int

    def predict_proba(self, x: Rows) -> np.ndarray:
        m, name = x.shape[0], type(self.model).__name__
        if not m:
            return np.zeros((0, self.num_classes))
        try:
            found = np.asarray(self.model.predict_proba(x), dtype=float)
        except AntivenomError:  # includes the trial's time limit
            raise
        except Exception as error:  # the user's model may raise any exception
            raise ModelError(f"answers of {name}.predict_proba", text_of(error)) from error
        if found.shape != (m, self.num_classes) or not np.isfinite(found).all():
            raise ModelError(
                f"finite probabilities of shape ({m}, {self.num_classes}) from {name}.predict_proba",
                f"shape {found.shape}" if np.isfinite(found).all() else "NaN or infinity",
                "return a row for each input and a column for each class",
            )
        return found

    def predict(self, x: Rows) -> np.ndarray:
        return np.asarray(self.predict_proba(x).argmax(axis=1))


# model to start from, x (m, ...), y (m,), training, streams, loss -> trained model
Trainer = Callable[[TorchModel, Tensor, Tensor, Training, Streams, Loss], TorchModel]


def loop(
    start: TorchModel, x: Tensor, y: Tensor, training: Training, streams: Streams, loss: Loss = cross_entropy
) -> TorchModel:
    """`train` on a model: the oracle of every other `Trainer`. Weights that `start.kept` excludes stay as they are."""
    vector, buffers = train(start.network, start.vector, x, y, training, streams, loss, start.buffers, kept=start.kept)
    return replace(start, vector=vector, buffers=buffers)


@dataclass(frozen=True)
class TorchLearner:
    """Fits a torch architecture.

    Fields:
        architecture: a function (row shape, classes) -> module.
        training: epochs, batch size, optimiser.
        device: the torch device to train on.
        trainer: the training loop: `loop`, or a faster one that equals it to rounding.
    """

    architecture: Architecture
    training: Training = Training()
    device: str = "cpu"
    trainer: Trainer = loop

    def network(self, data: Dataset, streams: Streams) -> Network:
        """The untrained network for rows of the data's shape and form.

        Raises:
            NotApplicable: token rows for a network that does not begin with an embedding.
        """
        network = build(self.architecture, data.encoded.shape, data.num_classes, streams).to(self.device)
        self._check_form(network, data)
        return network

    def _check_form(self, network: Network, data: Dataset) -> None:
        if data.is_tokens and not network.tokens:
            name = type(self.architecture).__name__
            raise NotApplicable(f"rows of numbers for {name}", f"token rows ({data.name})", "begin with an embedding")

    def fit(
        self, data: Dataset, streams: Streams, loss: Loss = cross_entropy, start: Model | None = None
    ) -> TorchModel:
        if start is not None and not isinstance(start, TorchModel):
            raise NotApplicable(
                "a torch model to train further", type(start).__name__, "only torch models can be fine-tuned"
            )
        if start is not None and (start.network.row_shape, start.num_classes) != (data.encoded.shape, data.num_classes):
            raise ModelError(
                f"rows of shape {start.network.row_shape} and {start.num_classes} classes, as the model was built for",
                f"{data.shape} and {data.num_classes}",
                "train from scratch",
            )
        if data.is_regression:
            raise NotApplicable("rows with classes", "a regression", "use a scikit-learn regressor")
        if start is None:
            network = self.network(data, streams)
            start = TorchModel(network, network.initial, network.buffers)
        self._check_form(start.network, data)
        x, y = start.network.rows(data.inputs), torch.tensor(data.y, device=self.device)
        fitted = self.trainer(start, x, y, self.training, streams.child("fit"), loss)
        if not torch.isfinite(fitted.vector).all():
            raise ModelError("finite weights after training", "NaN or infinity", "lower the learning rate")
        return replace(fitted, schema=data.schema if data.is_frame else None)


@dataclass(frozen=True)
class BlackBoxLearner:
    """The learner of a black box, which is finished: `fit` raises NotApplicable.

    Fields:
        model: an object with predict_proba.
    """

    model: Any

    def fit(self, data: Dataset, streams: Streams, loss: Loss = cross_entropy, start: Model | None = None) -> Model:
        raise NotApplicable(
            "a model that can be fitted",
            f"{type(self.model).__name__}, a black box",
            "only evasions, model detectors and gates apply to it",
        )

    def finished(self, data: Dataset) -> BlackBoxModel:
        """The model itself, for rows with the classes of `data`."""
        return BlackBoxModel(self.model, data.num_classes)


def learner(value: Any, training: Training = Training(), device: str = "cpu", trainer: Trainer = loop) -> Learner:
    """The learner for a model in any of the forms that a user may give it.

    Args:
        value: a registered plugin or its name, a torch module or a function that makes one, an object with `fit` and
            `predict`, an object with `predict_proba` alone, or `module:name` of one of these.
        training: how a torch model is trained.
        device: the torch device to train on.
        trainer: the training loop of a torch model.

    >>> from sklearn.tree import DecisionTreeClassifier
    >>> type(learner(DecisionTreeClassifier())).__name__
    'SklearnLearner'

    Raises:
        PluginError: a value of another type, or a path that cannot be imported.
        ModelError: an object with `fit` but without `predict`.
    """
    maker = maker_of(value)
    if isinstance(maker, BlackBox):
        return BlackBoxLearner(maker.model)
    if is_estimator(maker):
        return SklearnLearner(maker)
    return TorchLearner(maker, training, device, trainer)
