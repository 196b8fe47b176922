"""A model that sees every input changed, for defences that leave its weights alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from antivenom.core.protocols import Model


@dataclass(frozen=True)
class Changed:
    """A model whose inputs are changed before it answers.

    Fields:
        model: the model that answers.
        change: inputs (m, ...) -> as many changed ones.
    """

    model: Model
    change: Callable[[np.ndarray], np.ndarray]

    @property
    def num_classes(self) -> int:
        return self.model.num_classes

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(self.change(x))

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict(self.change(x))
