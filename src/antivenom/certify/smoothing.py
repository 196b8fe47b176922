"""Randomised smoothing against flipped labels, in closed form because least squares is linear in the labels."""

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
CELLS = 1 << 17  # influences that are processed at a time, few enough for the cache
STEPS = 6  # iterations towards the best bound, which is valid after any number of them


class Proof(enum.StrEnum):
    """The proof of a radius.

    SMOOTHING is the method of the paper: the probability that random flips change the prediction bounds the effect of
    chosen flips. EXACT counts the smallest number of flips that change the prediction. Its radius is at least as large,
    and it needs no noise.
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

    In the smoothed model each label changes to any other with probability `noise`. A score is a weighted sum of labels, so
    the probability that noise changes a prediction has a Chernoff bound, which in turn limits chosen flips. Both are in
    closed form. Weakness: it certifies flips only, and trusts rows and feature map. It is not the label smoothing of
    training targets.

    Fields:
        noise: q, probability that a label changes, above 0 and below (c - 1) / c.
        penalty: ridge penalty relative to the sum of squared row lengths, above 0; larger values give larger radii.
        features: a map of single rows, such as HOG; None for the rows themselves.
        proof: smoothing or exact.

    Reference: Rosenfeld, Winston, Ravikumar and Kolter 2020, arXiv:2002.03018, Theorem 1 and section 4.
    """

    noise: float = 0.1
    penalty: float = 0.001
    features: FeatureMap | None = None
    proof: Proof = Proof.SMOOTHING

    def __post_init__(self) -> None:
        if not 0 < self.noise < 1 or not self.penalty > 0:
            got = f"{self.noise} and {self.penalty}"
            raise PluginError("RandomizedSmoothing with 0 < noise < 1 and penalty > 0", got)
        object.__setattr__(self, "proof", Proof(self.proof))
        one_row_at_a_time(self.features, "RandomizedSmoothing")

    def __call__(self, data: Dataset, context: DefenceContext) -> SmoothedRidge:
        c = data.num_classes
        if c < 2 or not self.noise < (c - 1) / c:
            raise DataError(f"noise below (c - 1) / c for {c} classes", f"{self.noise}", "lower the noise")
        x = _with_one(data.dense if self.features is None else self.features(data.dense))
        gram = x.T @ x
        level = self.penalty * np.trace(gram)
        influence = np.linalg.solve(gram + level * np.eye(len(gram)), x.T)  # (f, n)
        return SmoothedRidge(influence, influence @ np.eye(c)[data.y], data.y, self.features, self.noise, self.proof)


def _with_one(x: np.ndarray) -> np.ndarray:
    """The rows (m, f + 1) in float64 with a constant feature."""
    rows = x.reshape(len(x), -1)
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class SmoothedRidge:
    """A fitted least-squares classifier with the influence of each label. A tie goes to the smaller class.

    It predicts the class with the highest mean score under noise, which is also the class with the highest score.

    Fields:
        influence: (f, n) influence of each label on the weights of its class.
        weights: (f, c) weights of least squares.
        y: (n,) training labels.
        features: the map of rows to inputs.
        noise: q.
        proof: the proof that `certified` uses.
    """

    influence: np.ndarray
    weights: np.ndarray
    y: np.ndarray
    features: FeatureMap | None
    noise: float
    proof: Proof

    @property
    def num_classes(self) -> int:
        return int(self.weights.shape[1])

    @property
    def certificate(self) -> Certificate:
        smoothing = self.proof is Proof.SMOOTHING
        return Certificate(
            "labels flipped",
            "Rosenfeld et al. 2020, Theorem 1" if smoothing else "exact count of flips for a linear model",
        )

    def influences(self, x: Rows) -> np.ndarray:
        """Contribution (m, n) of each training label to the score of its class."""
        return np.asarray(self._seen(x) @ self.influence)

    def scores(self, x: Rows) -> np.ndarray:
        """Scores (m, c) without noise: near 1 for a class that the labels support, near 0 for others."""
        return np.asarray(self._seen(x) @ self.weights)

    def predict(self, x: Rows) -> np.ndarray:
        return np.asarray(self.scores(x).argmax(axis=1))

    def predict_proba(self, x: Rows) -> np.ndarray:
        """Softmax (m, c) of the scores. It ranks the classes but is not calibrated."""
        return np.asarray(softmax(self.scores(x), axis=1))

    def certified(self, x: Rows) -> np.ndarray:
        """Certified radius (m,): the number of flipped training labels that cannot change a prediction."""
        prove = self._smoothed if self.proof is Proof.SMOOTHING else self._counted
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
        """Counts, for each other class, the most harmful flips until the winner's lead is lost."""
        radii = np.full(len(winner), len(self.y))
        slack = 1e-9 * np.abs(influences).sum(axis=1)  # an allowance for rounding errors
        for label in range(self.num_classes):
            rows = np.flatnonzero(winner != label)
            found = influences[rows]
            given = found * (self.y == winner[rows, None]) - found * (self.y == label)
            harm = np.sort(given + np.abs(found), axis=1)[
                :, ::-1
            ]  # a flip can reduce the lead by the full influence of its label
            lead = given.sum(axis=1) - slack[rows]
            radii[rows] = np.minimum(radii[rows], (np.cumsum(harm, axis=1) < lead[:, None]).sum(axis=1))
        return radii

    def _smoothed(self, influences: np.ndarray, winner: np.ndarray) -> np.ndarray:
        """Theorem 1, where the probability p is a sum of Chernoff bounds over the other classes.

        The theorem concerns the vote under noise, but the prediction is the class with the highest mean score. The same
        radius holds for it: flips that change the order of the means have a Kullback-Leibler divergence of at least the
        Chernoff exponent, which is more than twice the divergence that the radius allows.
        """
        log_wrong = np.full(len(winner), -np.inf)
        for label in range(self.num_classes):
            rows = np.flatnonzero(winner != label)
            log_wrong[rows] = np.logaddexp(log_wrong[rows], -self._exponent(influences[rows], label, winner[rows]))
        return flips(log_wrong, self.noise, self.num_classes)

    def _exponent(self, influences: np.ndarray, label: int, winner: np.ndarray) -> np.ndarray:
        """Exponents (m,): under noise, `label` reaches the winner's score with probability at most exp(-exponent).

        The exponent is the maximum over t >= 0 of -sum_i log E exp(-t a_i d_i), where d_i is 1 if the noisy label is the
        winner, -1 if it is `label`, and otherwise 0. It is found by Newton's method, with bisection as a safeguard.
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
    """Theorem 1: the number of chosen flips that cannot change a vote that noise changes with probability exp(log_wrong).

    One flip changes the distribution of a noisy label by a Kullback-Leibler divergence k, and the vote can change only at
    a divergence of -log(4 p (1 - p)) / 2.
    """
    moved = noise / (num_classes - 1)
    each = (1 - noise - moved) * math.log((1 - noise) / moved)
    sure = np.minimum(log_wrong, -math.log(2))
    budget = -(math.log(4) + sure + np.log1p(-np.exp(sure)))
    return np.asarray(np.floor(np.maximum(budget, 0) / (2 * each) * (1 - 1e-9)), dtype=np.int64)
