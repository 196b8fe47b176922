"""Robust regression."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.linear_model import LinearRegression
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import robust_learner
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset

Fitted = tuple[Any, np.ndarray]  # a model, and its squared residuals (n,) on every row


@robust_learner(
    access=(Access.DATA_INJECTION, Access.DATA_MANIPULATION),
    goal=Goal.AVAILABILITY,
    cite="Jagielski et al. 2018, arXiv:1804.00308, algorithm 2",
)
class TRIM:
    """Fits the pipeline's regressor to the rows that it predicts best, in the number that is assumed to be clean.

    It fits a random subset, keeps the rows with the smallest residuals, and repeats this until their loss no longer falls.
    Of several starts, the subset with the smallest loss is used. Weakness: it needs a bound on the poison, and without
    poison it removes as many clean rows. Poison near the regression of a wrong subset survives, and the minimum can be
    local.

    Fields:
        poisoned_rate: assumed bound on the number of added rows, as a share of the clean rows, 0 to 1; of N rows it keeps
            N / (1 + poisoned_rate).
        starts: number of random subsets.
        steps: maximal number of fits per start.

    Reference: Jagielski et al. 2018, IEEE S&P, arXiv:1804.00308, section IV (there one start).
    """

    poisoned_rate: float = 0.2
    starts: int = 20
    steps: int = 50

    def __post_init__(self) -> None:
        _check(self.poisoned_rate, self.starts, self.steps)

    def __call__(self, data: Dataset, context: DefenceContext) -> Model:
        if not data.is_regression:
            got = f"{len(data.classes)} classes in {data.name}"
            raise NotApplicable("a regression", got, "use a sanitizer, or a robust learner for classes")

        def fit(rows: np.ndarray) -> Fitted:
            model = context.fit(data[rows])
            return model, (model.predict(data.x) - data.y) ** 2

        kept = kept_rows(len(data), self.poisoned_rate)
        model: Model = trimmed(fit, len(data), kept, self.starts, self.steps, context.streams.numpy("starts"))[0]
        return model


class TrimmedRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """TRIM as a scikit-learn regressor: fits any regressor to the rows that it predicts best.

    Fields:
        regressor: the regressor; None is LinearRegression.
        poisoned_rate: assumed bound on the number of added rows, as a share of the clean rows, 0 to 1.
        starts: number of random subsets.
        steps: maximal number of fits per start.
        random_state: seed of the starts.

    Attributes:
        regressor_: the regressor fitted to the rows that were kept.
        support_: (n,) bool, the rows that were kept.
    """

    def __init__(
        self,
        regressor: object = None,
        poisoned_rate: float = 0.2,
        starts: int = 20,
        steps: int = 50,
        random_state: object = 0,
    ) -> None:
        self.regressor = regressor
        self.poisoned_rate = poisoned_rate
        self.starts = starts
        self.steps = steps
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        _check(self.poisoned_rate, self.starts, self.steps)
        X, y = validate_data(self, X, y, accept_sparse="csr", y_numeric=True)
        regressor = LinearRegression() if self.regressor is None else self.regressor

        def fit(rows: np.ndarray) -> Fitted:
            model = clone(regressor).fit(X[rows], y[rows])
            return model, (model.predict(X) - y) ** 2

        kept, rng = kept_rows(len(y), self.poisoned_rate), check_random_state(self.random_state)
        self.regressor_, self.support_ = trimmed(fit, len(y), kept, self.starts, self.steps, rng)
        return self

    def predict(self, X: object) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", reset=False)
        return np.asarray(self.regressor_.predict(X))

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def kept_rows(rows: int, poisoned_rate: float) -> int:
    """The least number n of clean rows among N = n + p rows, if p <= poisoned_rate * n."""
    return math.ceil(rows / (1 + poisoned_rate) - 1e-9)


def trimmed(
    fit: Callable[[np.ndarray], Fitted], rows: int, kept: int, starts: int, steps: int, rng: Any
) -> tuple[Any, np.ndarray]:
    """The model with the smallest loss on its own training rows, over all starts, and these rows as (rows,) bool."""
    best: tuple[float, Any, np.ndarray] = (math.inf, None, np.zeros(rows, dtype=bool))
    for _ in range(starts if kept < rows else 1):
        subset, loss = np.sort(rng.permutation(rows)[:kept]), math.inf
        for _ in range(steps):
            model, residuals = fit(subset)
            if (
                not residuals[subset].sum() < loss
            ):  # both fits and choices of rows lower the loss, until a local minimum
                break
            loss = float(residuals[subset].sum())
            if loss < best[0]:
                best = (loss, model, np.isin(np.arange(rows), subset))
            subset = np.sort(np.argsort(residuals, kind="stable")[:kept])
    return best[1], best[2]


def _check(poisoned_rate: float, starts: int, steps: int) -> None:
    if not 0 <= poisoned_rate <= 1 or starts < 1 or steps < 1:
        raise PluginError("poisoned_rate from 0 to 1, starts and steps >= 1", f"{poisoned_rate}, {starts} and {steps}")
