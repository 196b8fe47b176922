"""Sanitizers for the user's own pipeline: a scikit-learn estimator with imbalanced-learn's method `fit_resample`."""

from __future__ import annotations

import secrets
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, is_regressor
from sklearn.utils import _safe_indexing, check_X_y
from sklearn.utils.multiclass import check_classification_targets

from antivenom.core.errors import DataError
from antivenom.core.registry import Kind, build
from antivenom.core.streams import Streams
from antivenom.data import Dataset, Schema
from antivenom.data.forms import is_frame
from antivenom.defences.sanitize import context_of, default_model


class SanitizerSampler(BaseEstimator):  # type: ignore[misc]
    """Removes the rows that a sanitizer flags. The other rows keep their order and their type.

    Use it as a step of an imbalanced-learn pipeline or alone: `X, y = SanitizerSampler("KNNSanitizer").fit_resample(X, y)`.
    X may be an array, a sparse matrix, a DataFrame or a list. Labels may be words. Sanitizer and estimator get numbers; a
    DataFrame with columns of words or truth values is encoded by `Schema.encode`.

    Fields:
        sanitizer: a sanitizer or its name; None is KNNSanitizer.
        estimator: a scikit-learn estimator for sanitizers that fit a model; None is logistic regression on columns scaled
            to unit variance.
        random_state: seed of the sanitizer's randomness; None draws a seed.

    Attributes:
        sample_indices_: (kept,) numbers of the rows that were kept, in order.
        verdict_: scores and flags over all rows.
        classes_: the labels, in order; absent for a regressor.
        n_features_in_: columns.
    """

    _estimator_type = "sampler"

    def __init__(self, sanitizer: object = None, estimator: object = None, random_state: int | None = 0) -> None:
        self.sanitizer = sanitizer
        self.estimator = estimator
        self.random_state = random_state

    def fit(self, X: object, y: object, groups: object = None, trusted: tuple[object, object] | None = None) -> Self:
        """Compute the verdict. `groups` (n,) are the sources of the rows; `trusted` is a pair (X, y) of trusted rows."""
        schema = _schema(X)
        x, labels = self._checked(_encoded(X, schema), y)
        self.n_features_in_ = x.shape[1] if schema is None else len(schema.columns)
        data = self._dataset(x, labels, groups)
        known = None
        if trusted is not None:
            trusted_x, trusted_y = trusted
            known = self._dataset(*self._checked(_encoded(trusted_x, schema), trusted_y, data.classes), None)
        if known is not None and known.shape != data.shape:
            raise DataError(f"trusted rows of {data.shape[0]} columns", f"{known.shape[0]}", "use the same columns")
        seed = secrets.randbits(31) if self.random_state is None else int(self.random_state)
        sanitizer = build("KNNSanitizer" if self.sanitizer is None else self.sanitizer, Kind.SANITIZER)
        self.verdict_ = sanitizer(
            data, context_of(default_model() if self.estimator is None else self.estimator, Streams(seed), known)
        )
        self.sample_indices_ = np.flatnonzero(~self.verdict_.flags)
        return self

    def fit_resample(
        self, X: object, y: object, groups: object = None, trusted: tuple[object, object] | None = None
    ) -> tuple[Any, Any]:
        """The rows and labels that were not flagged."""
        self.fit(X, y, groups, trusted)
        if not len(self.sample_indices_):
            raise DataError("rows left to train on", f"all {len(self.verdict_)} flagged", "flag fewer rows")
        return _safe_indexing(X, self.sample_indices_), _safe_indexing(y, self.sample_indices_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        return tags

    def _checked(self, X: object, y: object, classes: tuple[str, ...] | None = None) -> tuple[Any, np.ndarray]:
        """Rows as an array or CSR, labels as numbers."""
        x, labels = check_X_y(X, y, accept_sparse="csr", y_numeric=self._regresses())
        if self._regresses():
            return x, labels
        check_classification_targets(labels)
        if classes is None:
            self.classes_, numbers = np.unique(labels, return_inverse=True)
            return x, numbers
        numbers = np.searchsorted(self.classes_, labels).clip(max=len(classes) - 1)
        if (self.classes_[numbers] != labels).any():
            raise DataError(f"trusted labels among {', '.join(classes)}", "others too", "drop those rows")
        return x, numbers

    def _regresses(self) -> bool:
        return self.estimator is not None and bool(is_regressor(self.estimator))

    def _dataset(self, x: object, labels: np.ndarray, groups: object) -> Dataset:
        names = () if self._regresses() else tuple(map(str, self.classes_))
        numbers = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        return Dataset(x, labels, names, groups=numbers)


def _schema(X: Any) -> Schema | None:
    """The schema of a DataFrame that does not hold numbers alone; None for other rows."""
    if not is_frame(X) or all(dtype.kind in "iuf" for dtype in X.dtypes):
        return None
    return Schema.of(X.set_axis(map(str, X.columns), axis=1))


def _encoded(X: Any, schema: Schema | None) -> Any:
    """The rows as numbers.

    Raises:
        NotApplicable: a column of free text.
        DataError: columns or categories that the schema does not have.
    """
    if schema is None:
        return X
    if not is_frame(X):
        raise DataError("trusted rows in a DataFrame, as the others", type(X).__name__)
    return schema.encode(X.set_axis(map(str, X.columns), axis=1))
