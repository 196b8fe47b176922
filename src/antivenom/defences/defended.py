"""A model of the user's own behind a defence, as a scikit-learn estimator."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import InputFilter, Model
from antivenom.core.registry import Kind, build, entry_of
from antivenom.core.streams import Streams
from antivenom.core.verdict import ModelVerdict, Verdict
from antivenom.data import Column, ColumnKind, Dataset, Schema
from antivenom.data.forms import is_frame
from antivenom.defences.sanitize import context_of, like, rows_of
from antivenom.fast.trainer import train_fastest
from antivenom.models.own import maker_of, training_of
from antivenom.models.training import Training
from antivenom.models.wrappers import learner

KINDS = (Kind.SANITIZER, Kind.ROBUST_LEARNER, Kind.MITIGATION, Kind.GATE, Kind.MODEL_DETECTOR)


class Defended(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A model of your own behind a defence, with scikit-learn's `fit`, `predict` and `predict_proba`.

    `fit` trains as an audit does: a sanitizer drops rows before the training, a robust learner replaces the training, and a
    mitigation repairs the trained model. A gate is calibrated after the training; `refused` says which inputs it refuses. A
    model detector only judges the trained model, in `verdict_`.

    Fields:
        model: an estimator, a torch module, a function that makes one, or `module:name` of one of these.
        defence: a defence or its name, as `antivenom list defences` prints it.
        train: a function train(rows, labels) -> predict, in place of a model.
        training: how a torch module is trained.
        random_state: the seed of all randomness.
        device: the torch device.

    Attributes:
        classes_: the labels, in order.
        model_: the trained model.
        verdict_: the verdict of a sanitizer over the rows, or of a model detector over the model; None for other defences.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> x = np.repeat([[0.0], [1.0]], 20, axis=0) + np.random.default_rng(0).normal(0, 0.1, (40, 1))
        >>> y = np.repeat(["no", "yes"], 20)
        >>> y[3] = "yes"  # a wrong label
        >>> model = Defended(LogisticRegression(), "KNNSanitizer").fit(x, y)
        >>> np.flatnonzero(model.verdict_.flags).tolist(), model.predict([[0.9]]).tolist()
        ([3], ['yes'])
    """

    def __init__(
        self,
        model: object = None,
        defence: object = "KNNSanitizer",
        *,
        train: object = None,
        training: Training = Training(),
        random_state: int = 0,
        device: str = "cpu",
    ) -> None:
        self.model = model
        self.defence = defence
        self.train = train
        self.training = training
        self.random_state = random_state
        self.device = device

    def fit(self, X: object, y: object = None, trusted: object = None) -> Self:
        """Train the model with the defence.

        Args:
            X: the rows: an array, a sparse matrix, a DataFrame or a list of texts. Without `y`, anything that
                `antivenom.sanitize` takes, such as a Dataset or a source.
            y: the labels, numbers or words.
            trusted: clean rows for defences that need some, as a Dataset or a pair (X, y). They must not be among the others.

        Raises:
            AntivenomError: the defence does not apply to such rows or such a model, or needs trusted rows.
        """
        defence = build(self.defence, *KINDS)
        kind, rows = entry_of(defence).kind, self._rows(X, y)
        known = None if trusted is None else self._trusted(trusted, rows)
        maker = maker_of(self.model) if self.train is None else training_of(self.train)
        streams = Streams(int(self.random_state))
        context = context_of(maker, streams.child("defence"), known, self.training, self.device)
        if known is None and kind in (Kind.MITIGATION, Kind.GATE, Kind.MODEL_DETECTOR):
            name = type(defence).__name__
            raise NotApplicable(f"trusted rows for {name}", "none", "give clean rows as `trusted`")
        self.verdict_: Verdict | ModelVerdict | None = None
        self._filter: InputFilter | None = None
        if kind is Kind.SANITIZER:
            self.verdict_ = _verdict(defence(rows, context), defence, len(rows))
            rows = _unflagged(rows, self.verdict_, defence)
        if kind is Kind.ROBUST_LEARNER:
            self.model_: Model = defence(rows, context)
        else:
            made = learner(maker, self.training, self.device, train_fastest)
            self.model_ = made.fit(rows, streams.child("model"))
        if kind is Kind.MITIGATION:
            self.model_ = defence(self.model_, known, context)
        elif kind is Kind.GATE:
            self._filter = defence(self.model_, known, context)
        elif kind is Kind.MODEL_DETECTOR:
            self.verdict_ = defence(self.model_, known, context)
        return self

    def predict(self, X: object) -> np.ndarray:
        """(m,) the label of each input. Behind a gate, do not use those of inputs that are `refused`."""
        return np.asarray(self.classes_[self.model_.predict(self._inputs(X))])

    def predict_proba(self, X: object) -> np.ndarray:
        """(m, c) the probability of each label, in the order of `classes_`."""
        return np.asarray(self.model_.predict_proba(self._inputs(X)))

    def refused(self, X: object) -> np.ndarray:
        """(m,) bool: the inputs that the gate refuses; none if the defence is no gate."""
        x = self._inputs(X)
        return np.zeros(x.shape[0], dtype=bool) if self._filter is None else np.asarray(self._filter(x).flags)

    def _rows(self, X: object, y: object) -> Dataset:
        """The rows as a Dataset, whose labels are numbers; sets `classes_`."""
        if y is None:
            rows = rows_of(X, int(self.random_state))
            self.classes_ = np.arange(rows.num_classes)
        else:
            self.classes_, numbers = np.unique(np.asarray(y), return_inverse=True)
            x, schema = _form(X)
            rows = Dataset(x, numbers, tuple(map(str, self.classes_)), schema=schema)
        self._schema = rows.schema
        return rows

    def _trusted(self, trusted: Any, rows: Dataset) -> Dataset:
        """The trusted rows with the schema and the classes of the others."""
        if not isinstance(trusted, tuple):
            return like(rows_of(trusted, int(self.random_state)), rows)
        X, y = trusted
        places = {label: number for number, label in enumerate(self.classes_.tolist())}
        labels = np.asarray(y).tolist()
        unknown = next((label for label in labels if label not in places), None)
        if unknown is not None:
            raise DataError(f"trusted labels among {', '.join(rows.classes[:5])}", repr(unknown), "drop those rows")
        return Dataset(_form(X)[0], np.array([places[label] for label in labels]), rows.classes, schema=self._schema)

    def _inputs(self, X: object) -> Any:
        """Inputs (m, ...) in the form of the rows."""
        if isinstance(X, Dataset):
            return X.x
        x, _ = _form(X)
        return Dataset(x, np.zeros(x.shape[0], dtype=int), ("any",), schema=self._schema).x


def _form(X: Any) -> tuple[Any, Schema | None]:
    """The rows as a Dataset takes them, and the schema of texts; None for other rows."""
    if is_frame(X):
        return X.set_axis(map(str, X.columns), axis=1), None
    if hasattr(X, "toarray"):
        return X, None
    x = np.asarray(X)
    if x.ndim == 1 and x.dtype.kind in "OUT":
        import pandas as pd

        return pd.DataFrame({"text": list(map(str, x))}), Schema((Column("text", ColumnKind.TEXT),), "text", frame=True)
    return x, None


def _verdict(found: object, defence: object, n: int) -> Verdict:
    if not isinstance(found, Verdict) or len(found) != n:
        raise PluginError(f"a Verdict over {n} rows from {type(defence).__name__}", type(found).__name__)
    return found


def _unflagged(rows: Dataset, verdict: Verdict, defence: object) -> Dataset:
    if verdict.flags.all():
        name = type(defence).__name__
        raise DataError(f"training rows left after {name}", f"all {len(rows)} flagged", "flag fewer rows")
    return rows[~verdict.flags]
