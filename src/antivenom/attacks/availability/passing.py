"""Poison in few places that sphere, slab and loss filters let through, with what those filters would learn from it."""

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
from antivenom.models.wrappers import SklearnModel


@dataclass(frozen=True)
class Victim:
    """The learner as the attacker knows it: a linear SVM with a regularised bias.

    Fields:
        weight_decay: lambda in mean hinge + lambda / 2 * (||w||^2 + b^2).
        seed: of the solver.
    """

    weight_decay: float
    seed: int

    def fit(self, x: Rows, y: np.ndarray) -> np.ndarray:
        """(d + 1,): weights and bias."""
        svc = BoundedSVC(None, self.weight_decay, random_state=self.seed).fit(x, y)
        return np.append(svc.coef_[0], svc.intercept_[0])

    def model(self, data: Dataset) -> Model:
        """The same as a Model."""
        svc = BoundedSVC(None, self.weight_decay, random_state=self.seed).fit(data.flat, data.y)
        return SklearnModel(svc, 2)

    def context(self, streams: Streams) -> DefenceContext:
        """What a defence would get from this learner."""

        def refit(*_: object) -> Model:
            raise NotApplicable("a defence that trains from scratch", "one that refits", "use another defence")

        return DefenceContext(streams.child("defence"), self.model, refit)


def margins(x: Rows, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """(m,): y (w . x + b), y as class numbers."""
    return np.asarray(signs(y) * (x @ theta[:-1] + theta[-1]))


@dataclass(frozen=True, eq=False)
class Passage:
    """What a row of one class must meet so that three filters keep it and the learner still minds it.

    Fields:
        inside: sphere and slab.
        sign: -1 or +1, the class.
        thetas: models under which the hinge loss must stay below `loss` and above 0.
        loss: the largest hinge loss that is kept.
        whole: the row will be rounded to whole numbers, which adds its share to the squared distance.
    """

    inside: FeasibleSet
    sign: float
    thetas: tuple[np.ndarray, ...]
    loss: float
    whole: bool

    def excess(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """By how much the row (d,) breaks the conditions, squared and summed, and the gradient; 0 where it passes."""
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
            lack = max(1 - self.loss - margin, 0.0) - max(margin - 0.95, 0.0)  # below the least margin, or without loss
            value, gradient = value + lack**2, gradient - 2 * lack * self.sign * theta[:-1]
        return value, gradient


def _squares(x: np.ndarray) -> tuple[float, np.ndarray]:
    """The expected ||z||^2 of z = x rounded at random to whole numbers, and its slope: linear between whole numbers."""
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
    """The conditions of both classes, where each filter drops the share `removed` of a class and learns from all rows.

    The slacks, as shares of slab and loss limits, are kept back for what rounding and the final fit will change.
    """
    sets = feasible_sets(rows, 100 * (1 - removed))
    losses = np.maximum(1 - margins(rows.flat, rows.y, thetas[-1]), 0)

    def of(k: int, sign: float) -> Passage:
        inside = replace(sets[k], width=sets[k].width * (1 - slab_slack))
        limit = float(np.quantile(losses[rows.y == k], 1 - removed))
        return Passage(inside, sign, tuple(thetas), limit * (1 - loss_slack), whole)

    return of(0, -1.0), of(1, 1.0)


def counts_around(x: np.ndarray, distinct: int, rng: np.random.Generator) -> np.ndarray:
    """(distinct, d) whole numbers whose mean is x (d,) to within 1 / distinct: strata instead of independent rounding."""
    low = np.floor(x)
    raised = np.floor((x - low) * distinct + rng.random(len(x)))  # how many of the rows round this coordinate up
    return np.asarray(low + (rng.random((distinct, len(x))).argsort(axis=0) < raised))


def error_behind(
    rows: Dataset, judged: Dataset, victim: Victim, removed: float, defence: Sanitizer | None, streams: Streams
) -> float:
    """The learner's error on `judged` after the filter that hurts the attacker most, no filter among them.

    The filters are the defence, or without one those by distance, slab and loss, each of which drops `removed` per class.
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
    """(n,) by distance from the own centroid, by offset along the line between centroids, by hinge loss."""
    x, near, aside = rows.flat, np.zeros(len(rows)), np.zeros(len(rows))
    for k, inside in enumerate(feasible_sets(rows)):
        own = np.flatnonzero(rows.y == k)
        near[own] = distances(x[own], inside.centre)
        aside[own] = np.abs(x[own] @ inside.direction - inside.centre @ inside.direction)
    return near, aside, np.maximum(1 - margins(x, rows.y, theta), 0)


def _kept(scores: np.ndarray, y: np.ndarray, removed: float) -> np.ndarray:
    """(n,) bool: all but the most suspicious share of each class."""
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
    """The data with that many copies of each class's place (d,) appended; as counts, in `distinct` rows around it."""

    tables = [counts_around(place, distinct, rng) if whole else place[None] for place in places]
    table: Rows = np.concatenate(tables)
    numbers = [np.arange(k) % len(rows) for k, rows in zip(split, tables, strict=True)]
    rows = (sp.csr_array(table) if data.is_sparse else table)[np.append(numbers[0], len(tables[0]) + numbers[1])]
    return injected(data, rows, np.repeat([0, 1], split)).data


def box(data: Dataset, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """(d,) least and largest values of a row: those of the clean rows, or for counts what the schema allows from 0 on."""
    if whole:
        least, largest = data.encoded.columns.ranges
        return np.maximum(least, 0.0), largest.copy()
    ends = data.flat.min(axis=0), data.flat.max(axis=0)
    low, high = ((end.toarray() if data.is_sparse else end).astype(np.float64) for end in ends)
    return low.ravel(), high.ravel()
