"""A model of the harm: a Gaussian process over families of attacks, their fields, and seeds.

The covariance of two trials is a sum of parts with learned variances. Some are shared by families: a class that is easy to
reach in one of them is expected to be easy in the others. Seed and noise are parts, too, so that one lucky trial counts for
little. scikit-learn's Gaussian process has no covariance with parts for columns that only some rows have.

Reference: Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", sections 2.2, 2.7 and 5.4.1.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from antivenom.search.space import Choices, Family, Point

LENGTH, NARROW = 0.3, 0.08  # parts of a field's range over which the harm changes, for broad and for narrow effects
UNALIKE = 0.3  # correlation of different choices in the broad joint part
LEVEL = 0.5  # prior standard deviation of the mean of all harms, which is 0 to 1
# The variances start from these shares of the variance of the harms; their logarithms have a prior of this deviation.
FAMILY, FIELD, SINGLE, BROAD, PEAK, ATTACK, SEED, CROSSED, NOISE = 0.3, 0.1, 0.2, 0.1, 0.05, 0.03, 0.05, 0.03, 0.2
DEVIATION = 1.0
LEAST = 1e-3  # variance of the harms, if they are nearly equal
STEPS = 30  # of the optimiser
EAGER, GROWTH = 30, 1.1  # the variances are learned anew after every trial up to so many, then after so much growth
JITTER = 1e-8

Row = tuple[int, Point]  # the number of a family, and a point in its cube
Features = tuple[np.ndarray, np.ndarray]  # numbers of the families, (n,), and the places of all fields, (n, fields)


@dataclass(frozen=True)
class Layout:
    """The names of the fields of all families; fields of the same name are the same feature.

    Fields:
        families: the families, by number.
    """

    families: tuple[Family, ...]

    @functools.cached_property
    def paths(self) -> tuple[str, ...]:
        """The names of all fields."""
        return tuple(dict.fromkeys(path for family in self.families for path in family.fields))

    @functools.cached_property
    def shared(self) -> tuple[str, ...]:
        """The names of the fields that several families have."""
        return tuple(path for path in self.paths if sum(path in family.fields for family in self.families) > 1)

    @functools.cached_property
    def nominal(self) -> frozenset[str]:
        """The names of the fields whose values have no order."""
        fields = (item for family in self.families for item in family.fields.items())
        return frozenset(path for path, axis in fields if isinstance(axis, Choices))

    def number(self, family: Family) -> int:
        """The number of a family."""
        return self._numbers[id(family)]

    @functools.cached_property
    def _numbers(self) -> dict[int, int]:
        return {id(family): number for number, family in enumerate(self.families)}

    def features(self, rows: Sequence[Row]) -> Features:
        """The features of attacks; nan where a family does not have a field."""
        index = {path: i for i, path in enumerate(self.paths)}
        places = np.full((len(rows), len(index)), np.nan)
        for i, (number, point) in enumerate(rows):
            places[i, [index[path] for path in self.families[number].fields]] = point
        return np.array([number for number, _ in rows]), places

    def parts(self, a: Features, b: Features) -> list[np.ndarray]:
        """The covariances of the parts of the harm between two lists of attacks, each with variance 1.

        They are: the family; each shared field; the fields within a family one at a time, jointly and broadly, and jointly and
        narrowly; the attack itself.
        """
        same = (a[0][:, None] == b[0][None, :]).astype(float)
        single, number = np.zeros_like(same), np.zeros_like(same)
        broad, narrow, equal = same.copy(), same.copy(), same.copy()
        fields = []
        for column, path in enumerate(self.paths):
            gap = a[1][:, column][:, None] - b[1][:, column][None, :]
            absent = np.isnan(gap)
            gap[absent] = 0.0
            alike = np.abs(gap) < 1e-9
            if path in self.nominal:
                own: Any = alike.astype(float)
                wide, tight = np.where(alike, 1.0, UNALIKE), own
            else:
                own = wide = np.exp(-0.5 * (gap / LENGTH) ** 2)
                tight = np.exp(-0.5 * (gap / NARROW) ** 2)
            if path in self.shared:
                fields.append(np.where(absent, 0.0, own))
            single += np.where(absent, 0.0, own)
            number += ~absent
            broad *= np.where(absent, 1.0, wide)
            narrow *= np.where(absent, 1.0, tight)
            equal *= absent | alike
        return [same, *fields, same * single / np.maximum(number, 1), broad, narrow, equal]


@dataclass(frozen=True, eq=False)
class Surrogate:
    """What is known of the harm after some trials.

    Fields:
        layout: the families and their fields.
        features: those of the attacks of the trials.
        logs: logarithms of the variances of the parts, the last three for the seed, the seed with the choices, and noise.
        factor: of the covariance of the trials (Cholesky).
        weights: the inverse covariance times the harms.
        learned: the number of trials from which the variances were learned.
    """

    layout: Layout
    features: Features
    logs: np.ndarray
    factor: Any
    weights: np.ndarray
    learned: int

    @property
    def noise(self) -> float:
        """The variance of a trial's harm around the attack's mean harm."""
        return float(np.exp(self.logs[-3:]).sum())

    def posterior(self, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        """The mean and the covariance of the mean harms, over seeds, of these attacks."""
        asked = self.layout.features(rows)
        cross = self._covariance(asked, self.features)
        return cross @ self.weights, self._covariance(asked, asked) - cross @ cho_solve(self.factor, cross.T)

    def _covariance(self, a: Features, b: Features) -> np.ndarray:
        parts = np.array(self.layout.parts(a, b))
        return np.asarray(np.tensordot(np.exp(self.logs[: len(parts)]), parts, 1) + LEVEL**2)


def learned(
    layout: Layout, rows: Sequence[Row], seeds: Sequence[int], harms: Sequence[float], before: Surrogate | None = None
) -> Surrogate:
    """The model after these trials.

    Args:
        layout: the families and their fields.
        rows, seeds, harms: the attack, the seed and the harm of each trial.
        before: the model after fewer of them, from whose variances it starts.
    """
    features, y, n = layout.features(rows), np.array(harms, dtype=float), len(rows)
    parts = layout.parts(features, features)
    same = (np.array(seeds)[:, None] == np.array(seeds)[None, :]).astype(float)
    choices = [parts[1 + i] for i, path in enumerate(layout.shared) if path in layout.nominal]
    crossed = same * sum(choices) / len(choices) if choices else np.zeros_like(same)
    stack = np.array([*parts, same, crossed, np.eye(n)])
    shares = [FAMILY, *(FIELD for _ in layout.shared), SINGLE, BROAD, PEAK, ATTACK, SEED, CROSSED, NOISE]
    guess = np.log(max(float(y.var()), LEAST) * np.array(shares))
    logs, number = (guess, 0) if before is None else (before.logs, before.learned)
    if n <= EAGER or n >= GROWTH * number:
        optimised: Any = minimize  # the stubs want a narrower type of `args`
        options = {"maxiter": STEPS}
        logs = optimised(_loss, logs, args=(stack, y, guess), jac=True, method="L-BFGS-B", options=options).x
        number = n
    factor = cho_factor(_total(np.exp(logs)[:, None, None] * stack), lower=True)
    return Surrogate(layout, features, logs, factor, cho_solve(factor, y), number)


def _total(scaled: np.ndarray) -> np.ndarray:
    """The covariance of the trials from its scaled parts."""
    return np.asarray(scaled.sum(axis=0) + LEVEL**2 + JITTER * np.eye(scaled.shape[1]))


def _loss(logs: np.ndarray, stack: np.ndarray, y: np.ndarray, guess: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus the logarithm of likelihood times prior of the variances, up to a constant, and its gradient."""
    scaled = np.exp(logs)[:, None, None] * stack
    factor = cho_factor(_total(scaled), lower=True)
    weights = cho_solve(factor, y)
    off = (logs - guess) / DEVIATION
    value = 0.5 * y @ weights + np.log(np.diag(factor[0])).sum() + 0.5 * off @ off
    slope = cho_solve(factor, np.eye(len(y))) - np.outer(weights, weights)
    return float(value), 0.5 * np.tensordot(scaled, slope, 2) + off / DEVIATION
