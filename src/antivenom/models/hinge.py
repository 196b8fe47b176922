"""The linear support vector machine for which certificates hold: hinge loss, regularised bias, bounded norm."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import LinearSVC

from antivenom.core.errors import DataError, PluginError
from antivenom.core.registry import estimator
from antivenom.data import Rows


def signs(y: np.ndarray) -> np.ndarray:
    """(n,) float32, -1 for class 0 and +1 for class 1."""
    return (2 * np.asarray(y) - 1).astype(np.float32)


class BoundedSVC(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Minimises the mean hinge loss subject to ||theta||^2 <= rho_squared, theta = (w, b); a scikit-learn estimator.

    Weight decay is the Lagrange multiplier of the bound: `fit` raises it, starting at `weight_decay`, until the bound holds.

    Args:
        rho_squared: the bound, or None for no bound.
        weight_decay: lambda in mean hinge + lambda / 2 * ||theta||^2; with a bound, its least value.
        tolerance: accept ||theta||^2 between (1 - tolerance) rho_squared and rho_squared.
        random_state: seed of the solver, LIBLINEAR's dual coordinate descent.

    Attributes:
        weight_decay_: the weight decay that was used.
    """

    def __init__(
        self,
        rho_squared: float | None = None,
        weight_decay: float = 1e-6,
        tolerance: float = 0.01,
        random_state: int | None = None,
    ) -> None:
        self.rho_squared = rho_squared
        self.weight_decay = weight_decay
        self.tolerance = tolerance
        self.random_state = random_state

    def fit(self, X: Rows, y: np.ndarray) -> Self:
        self.classes_ = np.unique(y)
        if len(self.classes_) != 2:
            raise DataError("rows of two classes for a support vector machine", f"{len(self.classes_)}", "name two")
        rows = X.astype(np.float64)
        if self.rho_squared is None:
            theta = self._solve(rows, y, self.weight_decay)
        else:
            theta = self._bounded(rows, y, self.rho_squared)
        self.coef_, self.intercept_ = theta[None, :-1], theta[-1:]
        self.n_features_in_ = X.shape[1]
        return self

    def _solve(self, x: Rows, y: np.ndarray, decay: float) -> np.ndarray:
        svc = LinearSVC(
            loss="hinge", C=1 / (len(y) * decay), tol=1e-3, max_iter=20000, random_state=self.random_state
        ).fit(x, y)
        self.weight_decay_ = decay
        return np.append(svc.coef_[0], svc.intercept_[0])

    def _bounded(self, x: Rows, y: np.ndarray, bound: float) -> np.ndarray:
        """Parameters that meet the bound. The norm falls as weight decay rises: bracket it, then bisect its logarithm."""
        low, high = self.weight_decay, max(self.weight_decay, 0.01)
        theta = self._solve(x, y, high)
        while (squared := float(theta @ theta)) > bound:
            low, high = high, high * 4
            theta = self._solve(x, y, high)
        while squared < bound * (1 - self.tolerance) and high > low * 1.001:
            middle = math.sqrt(low * high)
            trial = self._solve(x, y, middle)
            if trial @ trial > bound:
                low = middle
            else:
                high, theta, squared = middle, trial, float(trial @ trial)
        self.weight_decay_ = high
        return theta

    def decision_function(self, X: Rows) -> np.ndarray:
        return np.asarray(X @ self.coef_[0] + self.intercept_[0])

    def predict(self, X: Rows) -> np.ndarray:
        return np.asarray(self.classes_[(self.decision_function(X) > 0).astype(int)])


@estimator(cite="Steinhardt, Koh and Liang 2017, arXiv:1706.03691")
class BoundedSVM:
    """A linear SVM with hinge loss, a regularised bias and parameters within a ball. For two classes, dense or CSR rows.

    Fields:
        rho_squared: bound on ||w||^2 + b^2, or None for no bound.
        weight_decay: lambda in mean hinge + lambda / 2 * (||w||^2 + b^2), above 0; with a bound, its least value.

    Reference: Steinhardt, Koh and Liang 2017, arXiv:1706.03691.
    """

    rho_squared: float | None = 1.0
    weight_decay: float = 1e-5

    def __post_init__(self) -> None:
        if not (self.rho_squared is None or 0 < self.rho_squared < math.inf) or not 0 < self.weight_decay < math.inf:
            raise PluginError(
                "BoundedSVM.rho_squared and weight_decay above 0",
                f"{self.rho_squared} and {self.weight_decay}",
                "0.8 suits MNIST-1-7, 16 the IMDB reviews",
            )

    def __call__(self, seed: int) -> object:
        return BoundedSVC(self.rho_squared, self.weight_decay, random_state=seed)
