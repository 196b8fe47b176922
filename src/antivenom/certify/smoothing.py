"""Randomised smoothing against flipped labels: least squares is linear in the labels, so no noise need be drawn."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from antivenom.certify.certificate import Certificate, one_row_at_a_time
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import robust_learner
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Rows
from antivenom.models.features import FeatureMap

BLOCK = 256  # rows whose influences are computed at a time
CELLS = 1 << 17  # influences looked at at a time, so that they stay in the cache
STEPS = 6  # towards the best bound; it is valid after any number of them


class Bound(enum.StrEnum):
    """How a radius is proven.

    SMOOTHING is the paper's: how surely the prediction outlives random flips bounds what chosen flips can do. EXACT counts
    the fewest flips that turn the prediction; it is never below and needs no noise.
    """

    SMOOTHING = "smoothing"
    EXACT = "exact"


@robust_learner(
    access=(Access.DATA_MANIPULATION,),
    goal=(Goal.AVAILABILITY, Goal.TARGETED, Goal.BACKDOOR),
    cite="Rosenfeld et al. 2020, ICML",
)
class RandomizedSmoothing:
    """Randomised smoothing over the training labels of a least-squares classifier; certifies against flipped labels.

    Each label is thought to change with probability `noise` to any other. A score is a weighted sum of labels, so the chance
    that noise turns a prediction has a Chernoff bound, and that bound limits chosen flips (both in closed form).
    Weakness: the rows and the feature map are trusted; flips only. Not the label smoothing that softens targets.

    Fields:
        noise: q, chance that a label changes, above 0 and below (c - 1) / c.
        penalty: ridge, as a share of the sum of squared row lengths, above 0; flatter influences, larger radii.
        features: map of one row at a time, such as HOG; None takes the rows as they are.
        bound: smoothing or exact.

    Reference: Rosenfeld, Winston, Ravikumar and Kolter 2020, arXiv:2002.03018, Theorem 1 and section 4.
    """

    noise: float = 0.1
    penalty: float = 0.001
    features: FeatureMap | None = None
    bound: Bound = Bound.SMOOTHING

    def __post_init__(self) -> None:
        if not 0 < self.noise < 1 or not self.penalty > 0:
            got = f"{self.noise} and {self.penalty}"
            raise PluginError("RandomizedSmoothing.noise from 0 to 1, penalty above 0, both open", got, "correct them")
        object.__setattr__(self, "bound", Bound(self.bound))
        one_row_at_a_time(self.features, "RandomizedSmoothing")

    def __call__(self, data: Dataset, context: DefenceContext) -> SmoothedRidge:
        c = data.num_classes
        if c < 2 or not self.noise < (c - 1) / c:
            remedy = "with more, a label says least about itself: lower it"
            raise DataError(f"noise below (c - 1) / c for {c} classes", f"{self.noise}", remedy)
        x = _with_one(data.dense if self.features is None else self.features(data.dense))
        gram = x.T @ x
        level = self.penalty * np.trace(gram)
        influence = np.linalg.solve(gram + level * np.eye(len(gram)), x.T)  # (f, n)
        return SmoothedRidge(influence, influence @ np.eye(c)[data.y], data.y, self.features, self.noise, self.bound)


def _with_one(x: np.ndarray) -> np.ndarray:
    """(m, f + 1) float64 with a constant feature."""
    rows = x.reshape(len(x), -1)
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class SmoothedRidge:
    """A fitted least-squares classifier that knows each label's influence. Ties go to the smaller class.

    It answers with the highest mean score under noise, which is the highest score without noise.

    Fields:
        influence: (f, n) of each label on the weights of the class it names.
        weights: (f, c) of least squares.
        y: (n,) the training labels.
        features: what it is shown.
        noise: q.
        bound: how `certified` proves.
    """

    influence: np.ndarray
    weights: np.ndarray
    y: np.ndarray
    features: FeatureMap | None
    noise: float
    bound: Bound

    @property
    def num_classes(self) -> int:
        return int(self.weights.shape[1])

    @property
    def certificate(self) -> Certificate:
        smoothing = self.bound is Bound.SMOOTHING
        return Certificate("labels flipped", "Rosenfeld et al. 2020, Theorem 1" if smoothing else "counted, as linear")

    def influences(self, x: Rows) -> np.ndarray:
        """(m, n) what each training label adds to the score of the class it names."""
        return np.asarray(self._seen(x) @ self.influence)

    def scores(self, x: Rows) -> np.ndarray:
        """(m, c) without noise; near 1 for a class that the labels support, near 0 for others."""
        return np.asarray(self._seen(x) @ self.weights)

    def predict(self, x: Rows) -> np.ndarray:
        return np.asarray(self.scores(x).argmax(axis=1))

    def predict_proba(self, x: Rows) -> np.ndarray:
        """(m, c) softmax of the scores, which orders the classes but is not calibrated."""
        return np.asarray(softmax(self.scores(x), axis=1))

    def certified(self, x: Rows) -> np.ndarray:
        """(m,) for how many flipped training labels the prediction surely stays."""
        prove = self._smoothed if self.bound is Bound.SMOOTHING else self._counted
        step = max(1, CELLS // max(1, len(self.y)))
        radii = [np.zeros(0, dtype=np.int64)]
        for start in range(0, len(x), BLOCK):
            influences, winner = self.influences(x[start : start + BLOCK]), self.predict(x[start : start + BLOCK])
            pieces = [slice(first, first + step) for first in range(0, len(winner), step)]
            radii += [prove(influences[piece], winner[piece]) for piece in pieces]
        return np.concatenate(radii)

    def _seen(self, x: Rows) -> np.ndarray:
        return _with_one(x if self.features is None else self.features(x))

    def _counted(self, influences: np.ndarray, winner: np.ndarray) -> np.ndarray:
        """The most harmful flips one by one, against each other class, while the lead lasts."""
        radii = np.full(len(winner), len(self.y))
        slack = 1e-9 * np.abs(influences).sum(axis=1)  # what rounding might hide
        for label in range(self.num_classes):
            rows = np.flatnonzero(winner != label)
            found = influences[rows]
            given = found * (self.y == winner[rows, None]) - found * (self.y == label)
            harm = np.sort(given + np.abs(found), axis=1)[:, ::-1]  # a label can be made to cost its whole influence
            lead = given.sum(axis=1) - slack[rows]
            radii[rows] = np.minimum(radii[rows], (np.cumsum(harm, axis=1) < lead[:, None]).sum(axis=1))
        return radii

    def _smoothed(self, influences: np.ndarray, winner: np.ndarray) -> np.ndarray:
        """Theorem 1 with p from Chernoff bounds, summed over the other classes.

        The theorem is about the vote under noise. What is served is the class of the highest mean, and that stays too: flips
        that drew the mean over the border would be at least the Chernoff exponent of Kullback-Leibler divergence away, more
        than twice what the radius allows.
        """
        log_wrong = np.full(len(winner), -np.inf)
        for label in range(self.num_classes):
            rows = np.flatnonzero(winner != label)
            log_wrong[rows] = np.logaddexp(log_wrong[rows], -self._exponent(influences[rows], label, winner[rows]))
        return flips(log_wrong, self.noise, self.num_classes)

    def _exponent(self, influences: np.ndarray, label: int, winner: np.ndarray) -> np.ndarray:
        """(m,) E such that noise lets `label` reach the winner with chance at most exp(-E).

        E is the largest of -sum_i log E exp(-t a_i d_i) over t >= 0, where d_i is 1 if the noisy label is the winner, -1 if
        it is `label`, else 0. Newton's method from the mean and variance, halving the bracket where it leaps out of it.
        """
        kept, moved = 1 - self.noise, self.noise / (self.num_classes - 1)
        up, down = np.where(self.y == winner[:, None], kept, moved), np.where(self.y == label, kept, moved)
        rest = 1 - up - down
        low, t, best = np.zeros((3, len(winner)))
        high = 30 / np.maximum(np.abs(influences).max(axis=1), 1e-300)  # beyond that, exp overflows
        for _ in range(STEPS):
            grown = np.exp(t[:, None] * influences)
            plus, minus = up / grown, down * grown
            total = plus + minus + rest
            best = np.maximum(best, -np.log(total).sum(axis=1))
            slopes = influences * (minus - plus) / total
            bend = (influences * influences * (plus + minus) / total - slopes * slopes).sum(axis=1)
            slope = slopes.sum(axis=1)
            low, high = np.where(slope < 0, t, low), np.where(slope < 0, high, t)
            t = t - slope / np.maximum(bend, 1e-300)
            t = np.where((low < t) & (t < high), t, (low + high) / 2)
        return best


def flips(log_wrong: np.ndarray, noise: float, num_classes: int = 2) -> np.ndarray:
    """Theorem 1: how many chosen flips cannot turn a vote that noise turns with chance at most exp(log_wrong).

    One flip moves the law of a noisy label by a divergence k; p falls to 1/2 only at -log(4 p (1 - p)) / 2.
    """
    moved = noise / (num_classes - 1)
    each = (1 - noise - moved) * math.log((1 - noise) / moved)
    sure = np.minimum(log_wrong, -math.log(2))
    budget = -(math.log(4) + sure + np.log1p(-np.exp(sure)))
    return np.asarray(np.floor(np.maximum(budget, 0) / (2 * each) * (1 - 1e-9)), dtype=np.int64)
