"""An estimator around a plain training function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from antivenom.core.errors import ModelError


class Trained:
    """Gives a function `train(rows, labels) -> predict` scikit-learn's `fit`, `predict` and `predict_proba`.

    Args:
        train: the function. Rows are native rows, labels (n,) numbers of classes from 0.
        seed: is given to `train` if it has a parameter of that name.
    """

    def __init__(self, train: Callable[..., Callable[[Any], Any]], seed: int) -> None:
        self.train, self.seed = train, seed
        self.classes_ = np.zeros(0, dtype=int)
        self._answer: Callable[[Any], Any] | None = None

    def fit(self, rows: Any, labels: np.ndarray) -> Trained:
        known = inspect.signature(self.train).parameters
        answer = self.train(rows, labels, **({"seed": self.seed} if "seed" in known else {}))
        if not callable(answer):
            raise ModelError(
                f"a function predict(rows) from {_name(self.train)}", type(answer).__name__, "return one from it"
            )
        self._answer, self.classes_ = answer, np.arange(int(np.max(labels, initial=0)) + 1)
        return self

    def predict(self, rows: Any) -> np.ndarray:
        found = self._answers(rows)
        return found.argmax(axis=1) if found.ndim == 2 else found

    def predict_proba(self, rows: Any) -> np.ndarray:
        found = self._answers(rows)
        if found.ndim == 2:
            return found
        return np.asarray(found[:, None] == np.arange(len(self.classes_)), dtype=float)

    def _answers(self, rows: Any) -> np.ndarray:
        """(m,) classes or (m, c) probabilities.

        Raises:
            ModelError: anything else.
        """
        assert self._answer is not None
        found, m, c = np.asarray(self._answer(rows)), len(rows), len(self.classes_)
        finite = found.dtype.kind in "iufb" and bool(np.isfinite(found).all())
        if found.shape not in ((m,), (m, c)) or not finite:
            got = f"shape {found.shape}" if finite else "values that are no finite numbers"
            expected = f"classes of shape ({m},) or probabilities of shape ({m}, {c}) from predict"
            raise ModelError(expected, got, "return one of them for every row")
        return found


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
