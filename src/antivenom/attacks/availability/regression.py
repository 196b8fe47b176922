"""Attacks on linear regression."""

from __future__ import annotations

import math

import numpy as np

from antivenom.attacks.inputs import check_share, count, injected
from antivenom.core.errors import DataError, NotApplicable, PluginError, did_you_mean
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison

FLIPS = ("inv-flip", "b-flip")


@attack(access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Jagielski et al. 2018, arXiv:1804.00308 (OptP)")
class RegressionPoisoning:
    """Adds rows whose features and responses climb the error of the regression that is fitted with them.

    The fit has a closed form, so that its stationarity gives the gradient, and all rows move at the same time (in the paper,
    one at a time). Weakness: the rows end in corners of the feature box with extreme responses, far from any line through
    the honest rows. The attacker raises the error of his own model of the fit, on his own rows.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.
        alpha: penalty of the attacked ridge regression, in the unit of scikit-learn's Ridge; 0 is least squares.
        start: initial response of a copied row: "inv-flip" mirrors it in the range of responses, "b-flip" takes the end of
            the range that is farther away.
        responses: whether responses move as well.
        steps: maximal number of ascent steps.

    Reference: Jagielski, Oprea, Biggio, Liu, Nita-Rotaru and Li 2018, "Manipulating Machine Learning: Poisoning Attacks
    and Countermeasures for Regression Learning", IEEE S&P, arXiv:1804.00308, section III. It climbs the error on the
    attacker's own rows (the paper's W_val) or, without any, on the clean training rows (W_tr).
    """

    poisoned_rate: float = 0.2
    alpha: float = 0.0
    start: str = "b-flip"
    responses: bool = True
    steps: int = 100

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "RegressionPoisoning.poisoned_rate")
        if not 0 <= self.alpha < math.inf or self.steps < 0:
            raise PluginError("RegressionPoisoning.alpha and steps >= 0", f"{self.alpha} and {self.steps}")
        if self.start not in FLIPS:
            raise PluginError("RegressionPoisoning.start", repr(self.start), did_you_mean(self.start, FLIPS))

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        clean = table(data)
        low, high = clean.min(axis=0), clean.max(axis=0)
        rows = context.streams.numpy("copies").permutation(len(data))
        poison = clean[np.resize(rows, count(self.poisoned_rate, len(data)))]
        ends = low[-1], high[-1]
        poison[:, -1] = farther(poison[:, -1], *ends) if self.start == "b-flip" else sum(ends) - poison[:, -1]
        if len(poison):
            held = clean if context.rows is None else table(context.rows)
            poison = self._climbed(clean, poison, held, low, high)
        return injected(data, poison[:, :-1], poison[:, -1])

    def _climbed(
        self, clean: np.ndarray, poison: np.ndarray, held: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> np.ndarray:
        """Projected ascent. A step is halved until the error rises; if it never rises, the ascent ends."""
        width = high - low
        if not self.responses:
            width[-1] = 0
        (error, slope), step = ascent(clean, poison, held, self.alpha), 1.0
        for _ in range(self.steps):
            direction = slope * width**2  # the steepest direction after scaling each range to 1
            direction /= np.abs(slope * width).max() or 1.0
            while step > 1e-6:
                moved: np.ndarray = np.clip(poison + step * direction, low, high)
                found = ascent(clean, moved, held, self.alpha)
                if found[0] > error * (1 + 1e-9):
                    break
                step /= 2
            else:
                break
            poison, (error, slope), step = moved, found, min(1.0, 2 * step)
        return poison


@attack(access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Jagielski et al. 2018, arXiv:1804.00308 (StatP)")
class StatP:
    """Adds rows from the distribution of honest ones, rounded to corners of the feature box, with the worst responses.

    It needs the mean and covariance of the rows and predictions of the model, here a least-squares fit, but no
    optimisation. Weakness: residuals reveal corners with extreme responses. Correlated features are rounded to few
    corners, so that many rows are nearly equal.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.

    Reference: Jagielski et al. 2018, IEEE S&P, arXiv:1804.00308, section III-C.
    """

    poisoned_rate: float = 0.2

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "StatP.poisoned_rate")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        clean = table(data)
        x, low, high = clean[:, :-1], clean.min(axis=0), clean.max(axis=0)
        rng, k = context.streams.numpy("draws"), count(self.poisoned_rate, len(data))
        spread = np.atleast_2d(np.cov(x, rowvar=False, bias=True))
        drawn = rng.multivariate_normal(x.mean(axis=0), spread, size=k, method="eigh")
        corners = np.where(drawn > (low + high)[:-1] / 2, high[:-1], low[:-1])
        theta, _ = least_squares(clean, 0.0)
        answers = corners @ theta[:-1] + theta[-1]
        return injected(data, corners, farther(answers, low[-1], high[-1]))


def table(data: Dataset) -> np.ndarray:
    """A table (n, d + 1) of the features and, as its last column, the responses.

    Raises:
        NotApplicable: the rows have classes.
    """
    if not data.is_regression:
        raise NotApplicable("a regression", f"{len(data.classes)} classes in {data.name}", "attack its labels")
    if not len(data):
        raise DataError("at least one row", "an empty table")
    return np.column_stack([data.dense.reshape(len(data), -1), data.y])


def farther(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """For each value, the end of the range that is farther away."""
    return np.asarray(np.where(values > (low + high) / 2, low, high))


def least_squares(rows: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights and intercept (d + 1,) that minimise |Xw + b - y|^2 + alpha |w|^2, and the inverse of half the Hessian.

    If the minimum is not unique, as with constant features, the result is the minimiser with the smallest norm.
    """
    full = np.column_stack([rows[:, :-1], np.ones(len(rows))])
    penalty = np.diag(np.append(np.full(full.shape[1] - 1, alpha), 0.0))
    inverse = np.linalg.pinv(full.T @ full + penalty, hermitian=True)
    return inverse @ (full.T @ rows[:, -1]), inverse


def ascent(clean: np.ndarray, poison: np.ndarray, held: np.ndarray, alpha: float) -> tuple[float, np.ndarray]:
    """Mean squared error on `held` of a fit to `clean` and `poison`, and its gradient (k, d + 1) by poison row.

    At the fit, sum_i r_i (x_i, 1) + alpha (w, 0) = 0 with r_i = w . x_i + b - y_i. This must remain true when a row c
    moves: A dtheta = -[r_c (dx, 0) + (x_c, 1) (w . dx - dy)], where A is half the Hessian. So a single vector
    v = A^-1 dE/dtheta gives the gradients of all rows.
    """
    theta, inverse = least_squares(np.concatenate([clean, poison]), alpha)

    def residuals(rows: np.ndarray) -> np.ndarray:
        return np.asarray(rows[:, :-1] @ theta[:-1] + theta[-1] - rows[:, -1])

    missed = residuals(held)
    v = inverse @ (2 / len(held) * np.append(missed @ held[:, :-1], missed.sum()))
    reach = poison[:, :-1] @ v[:-1] + v[-1]
    to_x = -(np.outer(residuals(poison), v[:-1]) + np.outer(reach, theta[:-1]))
    return float((missed**2).mean()), np.column_stack([to_x, reach])
