"""The call shapes of models: what is fitted, and what makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
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
    """A registered model: (row shape, classes) -> torch module, or random seed -> scikit-learn estimator."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
