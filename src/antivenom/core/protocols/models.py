"""The call signatures of models, and of the plugins that make and train them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from antivenom.data import Rows


class Model(Protocol):
    """A fitted classifier of rows (m, ...) into classes 0 to c-1, or a regressor, for which c is 0."""

    @property
    def num_classes(self) -> int:
        """The number of classes c; 0 for a regressor."""
        ...

    def predict_proba(self, x: Rows) -> np.ndarray:
        """(m, c) probabilities."""
        ...

    def predict(self, x: Rows) -> np.ndarray:
        """(m,) classes; a regressor returns (m,) numbers."""
        ...


class Architecture(Protocol):
    """Makes an untrained torch network."""

    def __call__(self, shape: tuple[int, ...], num_classes: int, /) -> nn.Module:
        """A module that maps rows (m, *shape) to logits (m, num_classes)."""
        ...


class Schedule(Protocol):
    """Changes the step size (learning rate) during training."""

    def __call__(self, done: float, /) -> float:
        """The factor on the step size after a share `done` of all steps, from 0 to below 1."""
        ...


class Augmentation(Protocol):
    """Changes the images of a batch at random."""

    def __call__(self, x: Tensor, generator: torch.Generator, /) -> Tensor:
        """New images of the same shape (m, channels, height, width)."""
        ...


class ScikitLearn(Protocol):
    """An unfitted object that follows scikit-learn's convention, such as a classifier or a pipeline."""

    def fit(self, x: Any, y: Any, /) -> Any: ...

    def predict(self, x: Any, /) -> Any: ...


class Estimator(Protocol):
    """Makes an unfitted estimator."""

    def __call__(self, seed: int, /) -> ScikitLearn:
        """An estimator whose random state is the seed."""
        ...
