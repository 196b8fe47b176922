"""Reference architectures by name. Each is (row shape, classes) -> torch module, except the scikit-learn ones."""

from __future__ import annotations

import importlib
import inspect
import math
from typing import Any

from torch import nn

from antivenom.core.errors import ModelError, PluginError
from antivenom.core.protocols import Architecture
from antivenom.core.registry import model
from antivenom.models.training import Training
from antivenom.models.wrappers import Learner, SklearnLearner, TorchLearner


@model(cite="Rumelhart et al. 1986, Nature 323")
class MLP:
    """A network of dense layers with ReLU.

    Fields:
        hidden: widths of the hidden layers.
        dropout: share of hidden units dropped while training.
    """

    hidden: tuple[int, ...] = (64,)
    dropout: float = 0.0

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(shape)
        for hidden in self.hidden:
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            width = hidden
        return nn.Sequential(*layers, nn.Linear(width, num_classes))


@model(cite="Bhagoji et al. 2019, arXiv:1811.12470; derived from the authors' code")
class CensusNet:
    """104-256-2 with dropout .5: the network that the authors' Census experiments really train.

    Their second hidden layer is wired to the input, so it has no part in the output.
    """

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return MLP(hidden=(256,), dropout=0.5)(shape, num_classes)


@model(cite="Bhagoji et al. 2019, arXiv:1811.12470, section 2.4")
class FashionCNN:
    """The paper's network for Fashion-MNIST: two 5x5 convolutions of 64 without pooling, dense 128; 3.4 M parameters.

    Fields:
        channels: of both convolutions; 64 is the paper's.
        dense: width of the hidden dense layer; 128 is the paper's.
    """

    channels: int = 64
    dense: int = 128

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        depth, height, width = _image(shape, 9)
        return nn.Sequential(
            nn.Conv2d(depth, self.channels, 5),
            nn.ReLU(),
            nn.Conv2d(self.channels, self.channels, 5),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.Flatten(),
            nn.Linear(self.channels * (height - 8) * (width - 8), self.dense),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(self.dense, num_classes),
        )


@model(cite="LeCun et al. 1998, Proc. IEEE 86(11)")
class SmallCNN:
    """Two 5x5 convolutions with max pooling and one hidden dense layer; about 47 k parameters on 28x28.

    Fields:
        channels: of the two convolutions.
        dense: width of the hidden dense layer.
        dropout: before each dense layer.
    """

    channels: tuple[int, int] = (16, 32)
    dense: int = 64
    dropout: float = 0.25

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        depth, height, width = _image(shape, 16)
        first, second = self.channels
        side = (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2)
        return nn.Sequential(
            nn.Conv2d(depth, first, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(self.dropout),
            nn.Flatten(),
            nn.Linear(second * side, self.dense),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(self.dense, num_classes),
        )


def _image(shape: tuple[int, ...], smallest: int) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape[1:]) < smallest:
        raise ModelError(f"images of at least {smallest}x{smallest}", f"rows of shape {shape}", "use MLP")
    depth, height, width = shape
    return depth, height, width


@model(cite="Cox 1958, JRSS B 20(2)")
class Logistic:
    """Multinomial logistic regression as a torch module: one dense layer."""

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return MLP(hidden=())(shape, num_classes)


@model(cite="Breiman 2001, Machine Learning 45")
class RandomForest:
    """scikit-learn's random forest. No gradients, so only attacks on rows apply.

    Fields:
        n_estimators: number of trees.
    """

    n_estimators: int = 100

    def __call__(self, seed: int) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(n_estimators=self.n_estimators, random_state=seed)


@model(cite="Pedregosa et al. 2011, JMLR 12")
class Sklearn:
    """Any scikit-learn classifier or regressor by its import path. No gradients, so only attacks on rows apply.

    Fields:
        estimator: such as "sklearn.svm.SVC"; only names below "sklearn." are imported.
        parameters: pairs of name and value for its constructor.
    """

    estimator: str = "sklearn.linear_model.LogisticRegression"
    parameters: tuple[tuple[str, int | float | str | bool | None], ...] = ()

    def __call__(self, seed: int) -> Any:
        from sklearn.base import ClassifierMixin, RegressorMixin

        module, _, name = self.estimator.rpartition(".")
        if not module.startswith("sklearn."):  # a scenario file must not import code of its choice
            raise PluginError(
                "an estimator below sklearn.", repr(self.estimator), "write sklearn.ensemble.ExtraTreesClassifier"
            )
        try:
            found = getattr(importlib.import_module(module), name)
            fits = isinstance(found, type) and issubclass(found, (ClassifierMixin, RegressorMixin))
            if not fits:  # nor call any function there
                raise TypeError(f"{self.estimator} is not a classifier or regressor")
            estimator = found(**dict(self.parameters))
        except (ImportError, AttributeError, TypeError) as error:
            raise PluginError(
                "a scikit-learn classifier or regressor and its parameters", str(error), "see scikit-learn's reference"
            ) from error
        return estimator.set_params(random_state=seed) if "random_state" in estimator.get_params() else estimator


@model(cite="Widrow and Hoff 1960, IRE WESCON Convention Record 4")
class Adaline:
    """The adaptive linear neuron: squared error of a linear output, by scikit-learn's stochastic gradient descent.

    Fields:
        epochs: passes over the rows.
        learning_rate: step size, above 0; below 1 over the squared length of a row.
    """

    epochs: int = 200
    learning_rate: float = 1e-3

    def __call__(self, seed: int) -> Any:
        from sklearn.linear_model import SGDClassifier

        return SGDClassifier(
            loss="squared_error",
            penalty=None,
            learning_rate="constant",
            eta0=self.learning_rate,
            max_iter=self.epochs,
            tol=None,
            random_state=seed,
        )


def makes_estimator(architecture: Architecture) -> bool:
    """Whether it makes a scikit-learn estimator from a seed, rather than a torch module from a shape."""
    return "seed" in inspect.signature(architecture).parameters


def learner(architecture: Architecture, training: Training, device: str = "cpu") -> Learner:
    """What fits the given architecture."""
    if makes_estimator(architecture):
        return SklearnLearner(architecture)
    return TorchLearner(architecture, training, device)
