"""Models and learners around objects with scikit-learn's `fit` and `predict`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from antivenom.core.errors import AntivenomError, ModelError, NotApplicable, text_of
from antivenom.core.protocols import Model
from antivenom.core.streams import Streams
from antivenom.data import Dataset, Rows
from antivenom.data.forms import is_frame
from antivenom.data.schema import ColumnKind
from antivenom.models.own import checked_estimator
from antivenom.models.training import Loss, cross_entropy

_ROUNDING = 1e-4  # by which a probability may leave the range from 0 to 1


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
        if x.shape[0] == 0:  # scikit-learn raises for an empty array
            return np.zeros(0, dtype=np.int64 if self.num_classes else np.float64)
        found = self._answers("predict", x)
        return self._classes(found) if self.num_classes else _numbers(found, self._name)

    @property
    def _name(self) -> str:
        return type(self.estimator).__name__

    def _answers(self, method: str, x: Rows) -> np.ndarray:
        """What the estimator says about rows, of which it gets a copy that it may change.

        Raises:
            ModelError: it raised an error.
        """
        try:
            return np.asarray(getattr(self.estimator, method)(_table(x, self.text)))
        except AntivenomError:
            raise
        except Exception as error:  # the user's estimator may raise any exception
            raise ModelError(f"answers of {self._name}.{method}", text_of(error)) from error

    def _classes(self, found: np.ndarray) -> np.ndarray:
        """Predicted classes as int64.

        Raises:
            ModelError: words, or numbers that are no classes of the rows.
        """
        remedy = "return the numbers that `fit` got as labels"
        expected = f"classes from 0 to {self.num_classes - 1} from {self._name}.predict"
        try:
            numbers = found.astype(np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            first = found.ravel()[:1].tolist() or [None]
            raise ModelError(expected, repr(first[0]), remedy) from error
        wrong = ~((numbers >= 0) & (numbers < self.num_classes) & (numbers == np.floor(numbers)))  # NaN is wrong too
        if wrong.any():
            raise ModelError(expected, f"{numbers[wrong].ravel()[0]:g}", remedy)
        return numbers.astype(np.int64)

    def predict_proba(self, x: Rows) -> np.ndarray:
        """Probabilities (m, c), or one-hot predictions if the estimator has no `predict_proba`."""
        if not self.num_classes:
            raise NotApplicable("a classifier", "a regressor, which has no classes", "use predict")
        m = x.shape[0]
        out = np.zeros((m, self.num_classes))
        if m and hasattr(self.estimator, "predict_proba"):
            found = self._answers("predict_proba", x)
            known = self._classes(np.asarray(getattr(self.estimator, "classes_", range(self.num_classes))))
            if found.shape != (m, len(known)):
                raise ModelError(
                    f"probabilities of shape ({m}, {len(known)}) from {self._name}",
                    f"shape {found.shape}",
                    "return a column for each of `classes_`",
                )
            found = _numbers(found, self._name)
            if found.min() < -_ROUNDING or found.max() > 1 + _ROUNDING:
                raise ModelError(f"probabilities from {self._name}", f"{found.min():g} to {found.max():g}")
            out[:, known] = found
        else:
            out[np.arange(m), self.predict(x)] = 1.0
        return out


def _numbers(found: np.ndarray, name: str) -> np.ndarray:
    """The answers of an estimator as float64.

    Raises:
        ModelError: they are no finite numbers.
    """
    try:
        numbers = found.astype(np.float64)
        finite = bool(np.isfinite(numbers).all())
    except (TypeError, ValueError, OverflowError):
        finite = False
    if not finite:
        raise ModelError(f"finite numbers from {name}", "NaN, infinity or no numbers")
    return numbers


def _table(x: Rows, text: str) -> Rows:
    """A copy of the rows as scikit-learn takes them: (m, features), a DataFrame, CSR, or the texts of a column (m,)."""
    if text and is_frame(x):
        return x[text].copy()
    return x.copy() if x.ndim <= 2 else x.reshape(len(x), -1).copy()


def _text_of(data: Dataset) -> str:
    """The name of the column of texts, if the rows consist of it alone; otherwise ""."""
    columns = data.columns.columns if data.is_frame else ()
    return columns[0].name if len(columns) == 1 and columns[0].kind is ColumnKind.TEXT else ""


def _kind(estimator: Any) -> str | None:
    """classifier, regressor, clusterer or another of scikit-learn's kinds; None for an object that does not say it."""
    from sklearn.utils import get_tags

    try:
        kind: str | None = get_tags(estimator).estimator_type if hasattr(estimator, "__sklearn_tags__") else None
    except Exception:  # a pipeline of the user's own objects may raise any exception here
        return None
    return kind


def _remedy(data: Dataset, said: str) -> str:
    """What to do about an estimator that could not be fitted."""
    columns = data.columns.columns if data.is_frame else ()
    words = [column.name for column in columns if column.kind in (ColumnKind.CATEGORY, ColumnKind.TEXT)]
    if words and "could not convert string" in said:
        return f"encode the columns of words, such as {words[0]}, in a pipeline"
    return "" if "NaN" in said else "check its parameters and the rows"


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
            estimator.fit(_table(data.x, _text_of(data)), data.y.copy())
        except AntivenomError:
            raise
        except Exception as error:  # the user's estimator may raise any exception
            raise ModelError(
                f"rows that {type(estimator).__name__} can be fitted to",
                text_of(error).removeprefix("ValueError: "),
                _remedy(data, str(error) if isinstance(error, ValueError) else ""),
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
        wanted = "regressor" if data.is_regression else "classifier"
        kind = _kind(estimator) or wanted
        if kind != wanted:
            got = f"{type(estimator).__name__}, a {kind.replace('_', ' ')}"
            raise ModelError(f"a {wanted} for {data.name}", got, "choose another estimator")
        return estimator
