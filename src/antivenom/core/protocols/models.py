"""The call shapes of models: what is fitted, and what makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from antivenom.data import Rows


class Model(Protocol):
    """A fitted classifier. Rows are float arrays (m, ...) or CSR; classes are 0 to c-1. c = 0 is a regressor."""

    @property
    def num_classes(self) -> int: ...

    def predict_proba(self, x: Rows) -> np.ndarray:
        """(m, c) probabilities."""
        ...

    def predict(self, x: Rows) -> np.ndarray:
        """(m,) classes; numbers if c is 0."""
        ...


class Architecture(Protocol):
    """What makes an untrained torch network."""

    def __call__(self, shape: tuple[int, ...], num_classes: int, /) -> nn.Module:
        """A module that maps rows (m, *shape) to logits (m, num_classes)."""
        ...


class Schedule(Protocol):
    """How the step size changes in the course of a training."""

    def __call__(self, done: float, /) -> float:
        """The factor of the step size when a share `done` of the steps is behind, from 0 to below 1."""
        ...


class Augmentation(Protocol):
    """A random change of the images of a batch."""

    def __call__(self, x: Tensor, generator: torch.Generator, /) -> Tensor:
        """New images of the same shape (m, channels, height, width)."""
        ...


class ScikitLearn(Protocol):
    """An unfitted object with scikit-learn's convention."""

    def fit(self, x: Any, y: Any, /) -> Any: ...

    def predict(self, x: Any, /) -> Any: ...


class Estimator(Protocol):
    """What makes an unfitted estimator."""

    def __call__(self, seed: int, /) -> ScikitLearn:
        """An estimator whose randomness is the seed's."""
        ...
