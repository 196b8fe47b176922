"""Poison at few points that passes sphere, slab and loss filters whose statistics include the poison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from antivenom.attacks.inputs import injected
from antivenom.certify.feasible import FeasibleSet, distances, feasible_sets
from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import DefenceContext, Model, Sanitizer
from antivenom.core.streams import Streams
from antivenom.data import Dataset, Rows
from antivenom.models.hinge import BoundedSVC, signs
from antivenom.models.scikit import SklearnModel


@dataclass(frozen=True)
class Victim:
    """The learner as the attacker knows it: a linear SVM with a regularised bias.

    Fields:
        weight_decay: lambda in mean hinge + lambda / 2 * (||w||^2 + b^2).
        seed: seed of the solver.
    """

    weight_decay: float
    seed: int

    def fit(self, x: Rows, y: np.ndarray) -> np.ndarray:
        """Weights and bias (d + 1,)."""
        svc = BoundedSVC(None, self.weight_decay, random_state=self.seed).fit(x, y)
        return np.append(svc.coef_[0], svc.intercept_[0])

    def model(self, data: Dataset) -> Model:
        """The fitted learner as a Model."""
        svc = BoundedSVC(None, self.weight_decay, random_state=self.seed).fit(data.flat, data.y)
        return SklearnModel(svc, 2)

    def context(self, streams: Streams) -> DefenceContext:
        """The context that a defence would receive with this learner."""

        def refit(*_: object) -> Model:
            raise NotApplicable(
                "a defence that trains from scratch", "a defence that refits a model", "use another defence"
            )

        return DefenceContext(streams.child("defence"), self.model, refit)


def margins(x: Rows, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Margins y (w . x + b), (m,), where y is given as class numbers."""
    return np.asarray(signs(y) * (x @ theta[:-1] + theta[-1]))


@dataclass(frozen=True, eq=False)
class Passage:
    """Constraints on a row of one class, such that three filters keep it and it still has a positive loss.

    Fields:
        inside: sphere and slab.
        sign: -1 or +1, the class.
        thetas: models whose hinge loss on the row must be between 0 and `loss`.
        loss: the largest hinge loss that the loss filter keeps.
        whole: whether the row will be rounded to integers, which increases its squared distance.
    """

    inside: FeasibleSet
    sign: float
    thetas: tuple[np.ndarray, ...]
    loss: float
    whole: bool

    def excess(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Sum of squared constraint violations of a row (d,), and its gradient; 0 for a row that passes."""
        centre, direction, squared = self.inside.centre, self.inside.direction, self.inside.radius**2 or 1.0
        squares, slope = _squares(x) if self.whole else (float(x @ x), 2 * x)
        far = max(squares - 2 * float(centre @ x) + float(centre @ centre) - self.inside.radius**2, 0.0) / squared
        value, gradient = far * far, 2 * far / squared * (slope - 2 * centre)
        width = self.inside.width or 1.0
        offset = float(direction @ (x - centre))
        aside = max(abs(offset) - self.inside.width, 0.0) / width
        value, gradient = value + aside**2, gradient + 2 * aside / width * math.copysign(1.0, offset) * direction
        for theta in self.thetas:
            margin = self.sign * float(x @ theta[:-1] + theta[-1])
            lack = max(1 - self.loss - margin, 0.0) - max(
                margin - 0.95, 0.0
            )  # a margin that is too small, or without loss
            value, gradient = value + lack**2, gradient - 2 * lack * self.sign * theta[:-1]
        return value, gradient


def _squares(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Expected ||z||^2 of z = x rounded at random to integers, and its slope. It is linear between integers."""
    low = np.floor(x)
    return float(((2 * low + 1) * x - low * (low + 1)).sum()), 2 * low + 1


def passages(
    rows: Dataset,
    thetas: Sequence[np.ndarray],
    removed: float,
    slab_slack: float,
    loss_slack: float,
    whole: bool,
) -> tuple[Passage, Passage]:
    """Constraints of both classes, if each filter removes a share `removed` per class and is fitted to all rows.

    The slacks are shares of the slab and loss limits that are reserved for changes by rounding and by the final fit.
    """
    sets = feasible_sets(rows, 100 * (1 - removed))
    losses = np.maximum(1 - margins(rows.flat, rows.y, thetas[-1]), 0)

    def of(k: int, sign: float) -> Passage:
        inside = replace(sets[k], width=sets[k].width * (1 - slab_slack))
        limit = float(np.quantile(losses[rows.y == k], 1 - removed))
        return Passage(inside, sign, tuple(thetas), limit * (1 - loss_slack), whole)

    return of(0, -1.0), of(1, 1.0)


def counts_around(x: np.ndarray, distinct: int, rng: np.random.Generator) -> np.ndarray:
    """Integer rows (distinct, d) whose mean differs from x (d,) by at most 1 / distinct, by stratified rounding."""
    low = np.floor(x)
    raised = np.floor(
        (x - low) * distinct + rng.random(len(x))
    )  # number of rows in which this coordinate is rounded up
    return np.asarray(low + (rng.random((distinct, len(x))).argsort(axis=0) < raised))


def error_behind(
    rows: Dataset, judged: Dataset, victim: Victim, removed: float, defence: Sanitizer | None, streams: Streams
) -> float:
    """The learner's error on `judged` behind the filter that is worst for the attacker, including no filter.

    The filter is the defence if it is known. Otherwise filters by distance, slab and loss are tried, each of which removes
    the share `removed` per class.
    """
    theta = victim.fit(rows.flat, rows.y)
    kept = [np.ones(len(rows), dtype=bool)]
    if defence is not None:
        kept.append(~defence(rows, victim.context(streams)).flags)
    else:
        kept += [_kept(scores, rows.y, removed) for scores in _suspicions(rows, theta)]
    errors = []
    for mask in kept:
        found = theta if mask.all() else victim.fit(rows.flat[np.flatnonzero(mask)], rows.y[mask])
        errors.append(float((margins(judged.flat, judged.y, found) <= 0).mean()))
    return min(errors)


def _suspicions(rows: Dataset, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three scores (n,): distance from the class centroid, offset along the line between centroids, hinge loss."""
    x, near, aside = rows.flat, np.zeros(len(rows)), np.zeros(len(rows))
    for k, inside in enumerate(feasible_sets(rows)):
        own = np.flatnonzero(rows.y == k)
        near[own] = distances(x[own], inside.centre)
        aside[own] = np.abs(x[own] @ inside.direction - inside.centre @ inside.direction)
    return near, aside, np.maximum(1 - margins(x, rows.y, theta), 0)


def _kept(scores: np.ndarray, y: np.ndarray, removed: float) -> np.ndarray:
    """A mask (n,) of all rows except the most suspicious share of each class."""
    mask = np.ones(len(y), dtype=bool)
    for k in np.unique(y):
        own = np.flatnonzero(y == k)
        mask[own[np.argsort(-scores[own], kind="stable")[: math.floor(removed * len(own))]]] = False
    return mask


def copies(
    places: tuple[np.ndarray, np.ndarray],
    split: tuple[int, int],
    distinct: int,
    data: Dataset,
    whole: bool,
    rng: np.random.Generator,
) -> Dataset:
    """The data with copies of each class's point (d,) appended; counts are spread over `distinct` rows around it."""

    tables = [counts_around(place, distinct, rng) if whole else place[None] for place in places]
    table: Rows = np.concatenate(tables)
    numbers = [np.arange(k) % len(rows) for k, rows in zip(split, tables, strict=True)]
    rows = (sp.csr_array(table) if data.is_sparse else table)[np.append(numbers[0], len(tables[0]) + numbers[1])]
    return injected(data, rows, np.repeat([0, 1], split)).data


def box(data: Dataset, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest values (d,) of a row: those of the clean rows, or for counts those of the schema from 0."""
    if whole:
        least, largest = data.encoded.columns.ranges
        return np.maximum(least, 0.0), largest.copy()
    ends = data.flat.min(axis=0), data.flat.max(axis=0)
    low, high = ((end.toarray() if data.is_sparse else end).astype(np.float64) for end in ends)
    return low.ravel(), high.ravel()
