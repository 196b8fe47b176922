"""Models and learners around objects with scikit-learn's `fit` and `predict`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from antivenom.core.errors import AntivenomError, ModelError, NotApplicable
from antivenom.core.protocols import Model
from antivenom.core.streams import Streams
from antivenom.data import Dataset, Rows
from antivenom.data.forms import is_frame
from antivenom.data.schema import ColumnKind
from antivenom.models.own import checked_estimator
from antivenom.models.training import Loss, cross_entropy


@dataclass(frozen=True, eq=False)
class SklearnModel:
    """A fitted scikit-learn classifier or regressor. Images are flattened for it; of texts it gets one string per row.

    Fields:
        estimator: the fitted estimator; classifiers have `classes_`.
        num_classes: c, or 0 for a regressor. Classes that were absent in training get probability 0.
        text: the column that the estimator gets in place of the DataFrame, if the rows are texts; "" for other rows.
    """

    estimator: Any
    num_classes: int
    text: str = ""

    def predict(self, x: Rows) -> np.ndarray:
        kind = np.int64 if self.num_classes else np.float64
        if x.shape[0] == 0:  # scikit-learn raises for an empty array
            return np.zeros(0, dtype=kind)
        return np.asarray(self.estimator.predict(_table(x, self.text))).astype(kind)

    def predict_proba(self, x: Rows) -> np.ndarray:
        """Probabilities (m, c), or one-hot predictions if the estimator has no `predict_proba`."""
        if not self.num_classes:
            raise NotApplicable("a classifier", "a regressor, which has no classes", "use predict")
        m = x.shape[0]
        out = np.zeros((m, self.num_classes))
        if m and hasattr(self.estimator, "predict_proba"):
            found = np.asarray(self.estimator.predict_proba(_table(x, self.text)))
            known = np.asarray(getattr(self.estimator, "classes_", range(self.num_classes))).astype(int)
            if found.shape != (m, len(known)):
                raise ModelError(
                    f"probabilities of shape ({m}, {len(known)}) from {type(self.estimator).__name__}",
                    f"shape {found.shape}",
                    "return a column for each of `classes_`",
                )
            out[:, known] = found
        else:
            out[np.arange(m), self.predict(x)] = 1.0
        return out


def _table(x: Rows, text: str) -> Rows:
    """Rows as scikit-learn takes them: (m, features), a DataFrame, CSR, or the texts of a column (m,)."""
    if text and is_frame(x):
        return x[text]
    return x if x.ndim <= 2 else x.reshape(len(x), -1)


def _text_of(data: Dataset) -> str:
    """The name of the column of texts, if the rows consist of it alone; otherwise ""."""
    columns = data.columns.columns if data.is_frame else ()
    return columns[0].name if len(columns) == 1 and columns[0].kind is ColumnKind.TEXT else ""


def _regresses(estimator: Any, unknown: bool) -> bool:
    """Whether the estimator is a regressor; `unknown` is returned for objects without scikit-learn's tags."""
    from sklearn.base import is_regressor

    return bool(is_regressor(estimator)) if hasattr(estimator, "__sklearn_tags__") else unknown


@dataclass(frozen=True)
class SklearnLearner:
    """Fits a scikit-learn classifier or, on rows without classes, a regressor.

    Fields:
        make: a function (seed) -> unfitted estimator.
    """

    make: Callable[[int], Any]

    def fit(
        self, data: Dataset, streams: Streams, loss: Loss = cross_entropy, start: Model | None = None
    ) -> SklearnModel:
        if loss is not cross_entropy or start is not None:
            raise NotApplicable(
                "a torch model", "a scikit-learn estimator", "its loss cannot be replaced, nor its fit continued"
            )
        estimator = self._made(data, streams.sklearn("fit"))
        try:
            estimator.fit(_table(data.x, _text_of(data)), data.y)
        except AntivenomError:
            raise
        except Exception as error:  # the user's estimator may raise any exception
            raise ModelError(
                f"rows that {type(estimator).__name__} can be fitted to",
                str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}",
                "check its parameters and the rows",
            ) from error
        return SklearnModel(estimator, len(data.classes), _text_of(data))

    def check(self, data: Dataset) -> None:
        """Check, without a fit, that the estimator can be made for these rows and that its parameters are valid.

        Raises:
            PluginError, ModelError: it cannot, or they are not.
        """
        estimator = self._made(data, 0)
        validate = getattr(estimator, "_validate_params", None)  # scikit-learn has no public name for it
        try:
            if validate is not None:
                validate()
        except ValueError as error:
            raise ModelError(f"valid parameters of {type(estimator).__name__}", str(error)) from error

    def _made(self, data: Dataset, seed: int) -> Any:
        """An unfitted estimator of the kind that the rows need."""
        estimator: Any = checked_estimator(self.make(seed), self.make)
        if _regresses(estimator, data.is_regression) != data.is_regression:
            kind = {True: "regressor", False: "classifier"}
            raise ModelError(
                f"a {kind[data.is_regression]} for {data.name}", type(estimator).__name__, "choose another estimator"
            )
        return estimator
