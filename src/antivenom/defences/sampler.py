"""Sanitizers for the user's own pipeline: a scikit-learn estimator with imbalanced-learn's method `fit_resample`."""

from __future__ import annotations

import secrets
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone, is_regressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import _safe_indexing, check_X_y
from sklearn.utils.multiclass import check_classification_targets

from antivenom.core.errors import DataError, NotApplicable
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import Kind, build
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.models.wrappers import SklearnLearner


class SanitizerSampler(BaseEstimator):  # type: ignore[misc]
    """Removes the rows that a sanitizer flags. The other rows keep their order and their type.

    Use it as a step of an imbalanced-learn pipeline or alone: `X, y = SanitizerSampler("KNNSanitizer").fit_resample(X, y)`.
    X may be an array, a sparse matrix, a DataFrame of numbers or a list. Labels may be words.

    Fields:
        sanitizer: a sanitizer or its name; None is KNNSanitizer.
        estimator: a scikit-learn estimator for sanitizers that fit a model; None is logistic regression on columns scaled
            to unit variance.
        random_state: seed of the sanitizer's randomness; None draws a seed.

    Attributes:
        sample_indices_: (kept,) numbers of the rows that were kept, in order.
        verdict_: scores and flags over all rows.
        classes_: the sorted labels; absent for a regressor.
        n_features_in_: number of columns.
    """

    _estimator_type = "sampler"

    def __init__(self, sanitizer: object = None, estimator: object = None, random_state: int | None = 0) -> None:
        self.sanitizer = sanitizer
        self.estimator = estimator
        self.random_state = random_state

    def fit(self, X: object, y: object, groups: object = None, trusted: tuple[object, object] | None = None) -> Self:
        """Compute the verdict. `groups` (n,) are the sources of the rows, and `trusted` is a pair (X, y) of trusted rows."""
        x, labels = self._checked(X, y)
        self.n_features_in_ = x.shape[1]
        data = self._dataset(x, labels, groups)
        known = None
        if trusted is not None:
            trusted_x, trusted_y = trusted
            known = self._dataset(*self._checked(trusted_x, trusted_y, data.classes), None)
        if known is not None and known.shape != data.shape:
            raise DataError(f"trusted rows of {data.shape[0]} columns", f"{known.shape[0]}", "use the same columns")
        seed = secrets.randbits(31) if self.random_state is None else int(self.random_state)
        sanitizer = build("KNNSanitizer" if self.sanitizer is None else self.sanitizer, Kind.SANITIZER)
        self.verdict_ = sanitizer(data, context_of(self._learner(), Streams(seed), known))
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

    def _learner(self) -> object:
        if self.estimator is not None:
            return self.estimator
        return make_pipeline(StandardScaler(with_mean=False), LogisticRegression(max_iter=1000))

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


def context_of(estimator: object, streams: Streams, trusted: Dataset | None = None) -> DefenceContext:
    """The context of a sanitizer in a pipeline whose model is a scikit-learn estimator."""

    def make(seed: int) -> Any:
        made = clone(estimator)
        return made.set_params(random_state=seed) if "random_state" in made.get_params() else made

    def refit(model: Model, data: Dataset, epochs: int) -> Model:
        raise NotApplicable("a torch model to train further", "a scikit-learn estimator", "use another defence")

    learner = SklearnLearner(make)
    return DefenceContext(streams, lambda data: learner.fit(data, streams.child("fit")), refit, trusted)
