"""Sanitizers that use the spectrum of a class's activations: poison shifts their mean in a direction of its own."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import chi2

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.inputs import check_share
from antivenom.defences.sanitizers.latent import ROWS, activations, fitted

BUDGET = 1.5  # both papers remove 1.5 times as many rows as they assume to be poisoned


@sanitizer(access=ROWS, goal=Goal.BACKDOOR, cite="Tran, Li and Madry 2018, NeurIPS, arXiv:1811.00636")
class SpectralSignatures:
    """Flags the rows of each class whose activations reach farthest along the class's main direction.

    The activations of a class are centred at their mean. A row's score is its squared inner product with the top right
    singular vector, divided by the class's mean score, so that classes can be compared. In each class, 1.5 times as many
    rows are flagged as are assumed to be poisoned. Weakness: this removes many clean rows, because every class loses as
    many as the poisoned one. It misses poison whose activations do not stand apart, as those of AdaptiveBlend.

    Fields:
        share: assumed share of poisoned rows among all rows (epsilon), 0 to 1. It is a guess: try half and twice as much.

    Reference: Tran, Li and Madry 2018, "Spectral Signatures in Backdoor Attacks", NeurIPS, arXiv:1811.00636, Algorithm 1.
    """

    share: float = 0.05

    def __post_init__(self) -> None:
        check_share(self.share, "SpectralSignatures.share")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        seen = activations(fitted(self, data, context), data)
        scores, flags = np.zeros(len(data)), np.zeros(len(data), dtype=bool)
        for c in range(data.num_classes):
            rows = np.flatnonzero(data.y == c)
            if len(rows) < 2:
                continue
            found = signature(seen[rows])
            scores[rows] = found
            flags[rows[highest(found, BUDGET * self.share * len(data))]] = True
        return Verdict(scores, flags)


@sanitizer(access=ROWS, goal=Goal.BACKDOOR, cite="Hayase et al. 2021, ICML, arXiv:2104.11315")
class SPECTRE:
    """Whitens the activations of each class by a robust covariance, and flags rows in the class with the largest scores.

    The activations are projected on the top k directions of their class. Mean and covariance there are estimated from the
    rows that lie nearest, so that poison does not hide itself by widening the spread. A row's score is its quantum entropy
    score in the whitened space, which weights directions by their remaining variance. In each class, 1.5 times as many rows
    would be removed as are assumed to be poisoned. The class and the k are chosen whose removal makes the removed rows
    stand out most, and only this class is cleaned. Weakness: it loses rows even if no row is poisoned, and with a wrong
    share another class may be chosen. Poison that fills half a class is taken for the honest part.

    Fields:
        share: assumed share of poisoned rows among all rows (epsilon), 0 to 1. It is a guess: try half and twice as much.
        dimensions: the numbers k of directions that are tried, each at least 1.
        alpha: weight of the largest variances in the score, >= 0; 0 is the squared length.
        rounds: rounds of the robust estimate.

    Reference: Hayase, Kong, Somani and Oh 2021, "SPECTRE: Defending Against Backdoor Attacks Using Robust Statistics",
    ICML, arXiv:2104.11315. The robust estimate is simpler here: it trims by the Mahalanobis distance.
    """

    share: float = 0.05
    dimensions: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    alpha: float = 4.0
    rounds: int = 10

    def __post_init__(self) -> None:
        check_share(self.share, "SPECTRE.share")
        if not self.dimensions or min(self.dimensions) < 1 or self.alpha < 0 or self.rounds < 1:
            raise PluginError(
                "SPECTRE.dimensions of 1 or more, alpha >= 0 and rounds >= 1",
                f"{self.dimensions}, {self.alpha} and {self.rounds}",
            )

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        seen = activations(fitted(self, data, context), data)
        budget = BUDGET * self.share * len(data)
        scores, flags = np.zeros(len(data)), np.zeros(len(data), dtype=bool)
        strongest, suspects = 0.0, np.zeros(0, dtype=np.int64)
        for c in range(data.num_classes):
            rows = np.flatnonzero(data.y == c)
            if len(rows) < 4:  # a covariance of fewer rows means nothing
                continue
            strength, scores[rows] = self._best(seen[rows], budget)
            if strength > strongest:
                strongest, suspects = strength, rows[highest(scores[rows], budget)]
        flags[suspects] = True
        return Verdict(scores, flags)

    def _best(self, seen: np.ndarray, budget: float) -> tuple[float, np.ndarray]:
        """The strongest removal of rows of a class, over all k: its strength, and the scores (m,) that choose the rows.

        Removals for different k are compared in one space, that of the largest k. There all rows are whitened by the
        covariance of the rows that were not removed, and their mean score is the strength.
        """
        centred = seen - seen.mean(axis=0)
        values, directions = np.linalg.svd(centred, full_matrices=False)[1:]
        known = int((values > 1e-9 * max(values.max(initial=0.0), 1e-300)).sum())
        tried = sorted({min(k, known, len(seen) // 2) for k in self.dimensions} - {0})
        if not tried:  # no two rows differ
            return 0.0, np.zeros(len(seen))
        low, removed = centred @ directions[: tried[-1]].T, min(budget, len(seen) / 2)
        found = []
        for k in tried:
            standard = whitened(low[:, :k], removed / len(seen), self.rounds)
            scores = entropy_scores(standard, self.alpha)
            rest = np.setdiff1d(np.arange(len(seen)), highest(scores, removed))
            found.append((float(entropy_scores(standardised(low, rest), self.alpha).mean()), scores))
        return max(found, key=lambda pair: pair[0])


def signature(seen: np.ndarray) -> np.ndarray:
    """(m,) squared projections of the centred activations (m, width) on their top singular vector, with mean 1.

    They are 0 if no two rows differ.
    """
    centred = seen - seen.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    if values[-1] <= 1e-12 * max(1.0, np.abs(seen).max() ** 2):
        return np.zeros(len(seen))
    found = (centred @ vectors[:, -1]) ** 2
    return np.asarray(found / found.mean())


def highest(scores: np.ndarray, budget: float) -> np.ndarray:
    """Indices of the highest scores, as many as the budget allows. Scores of 0 are left out, and one row is always kept."""
    count = min(int(budget + 1e-9), len(scores) - 1, int((scores > 0).sum()))
    return np.asarray(np.argsort(-scores, kind="stable")[:count])


def standardised(low: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows (m, k), shifted and scaled such that the given ones among them have mean 0 and unit covariance."""
    spread = np.atleast_2d(np.cov(low[rows], rowvar=False, bias=True))
    values, vectors = np.linalg.eigh(spread + 1e-9 * max(np.trace(spread), 1e-300) * np.eye(low.shape[1]))
    return np.asarray((low - low[rows].mean(axis=0)) @ (vectors / np.sqrt(values)) @ vectors.T)


def whitened(low: np.ndarray, trimmed: float, rounds: int) -> np.ndarray:
    """The rows (m, k), shifted and scaled such that their honest part has mean 0 and about unit covariance.

    Mean and covariance are those of the 1 - `trimmed` rows with the smallest Mahalanobis distances, which are computed anew
    in each round. Trimming makes the covariance too small, and the median distance corrects its scale.
    """
    m, k = low.shape
    near = np.arange(m)
    for _ in range(rounds + 1):
        standard = standardised(low, near)
        distances = (standard**2).sum(axis=1)
        near = np.argsort(distances, kind="stable")[: max(math.ceil((1 - trimmed) * m), k + 1)]
    return np.asarray(standard * np.sqrt(chi2.ppf(0.5, k) / max(np.median(distances), 1e-300)))


def entropy_scores(standard: np.ndarray, alpha: float) -> np.ndarray:
    """(m,) quantum entropy scores h' Q h / tr Q of whitened rows h (m, k), Q = exp(alpha (S - I) / (|S| - 1)).

    S is the second moment of the rows and |S| its largest eigenvalue. Q is the identity if no direction has more variance
    than an honest class has.

    Reference: Dong, Hopkins and Li 2019, NeurIPS, arXiv:1906.11366.
    """
    values, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    excess = values[-1] - 1
    weights = np.exp(alpha * ((values - 1) / excess - 1)) if excess > 1e-9 else np.ones_like(values)
    return np.asarray(((standard @ vectors) ** 2 @ weights) / weights.sum())
