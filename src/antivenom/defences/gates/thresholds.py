"""The threshold of a gate and its distance from what is usual, from clean rows alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from antivenom.core.protocols import InputFilter
from antivenom.core.verdict import Verdict
from antivenom.defences.inputs import radius

ROUNDING = 1 / 12  # variance of the rounding to whole numbers: a count that is the same for all clean rows has no other


def above(score: Callable[[np.ndarray], np.ndarray], clean: np.ndarray, false_rejection: float) -> InputFilter:
    """A filter that refuses inputs whose score exceeds a threshold.

    Args:
        score: inputs (m, ...) -> (m,) suspicion.
        clean: (n,) suspicion of the clean rows.
        false_rejection: the threshold is the score that at most this share of the clean rows exceeds, 0 to 1.
    """
    limit = radius(clean, false_rejection)

    def judged(x: np.ndarray) -> Verdict:
        scores = score(x)
        return Verdict(scores, scores > limit)

    return judged


def mahalanobis(own: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Counts (m, k) of inputs -> (m,) their squared Mahalanobis distance from the counts (n, k) of the clean rows."""
    centre = own.mean(axis=0)
    covariance = np.atleast_2d(np.cov(own, rowvar=False)) if len(own) > 1 else np.zeros((own.shape[1],) * 2)
    precision = np.linalg.inv(covariance + ROUNDING * np.eye(own.shape[1]))

    def score(counts: np.ndarray) -> np.ndarray:
        apart = counts - centre
        return np.asarray(((apart @ precision) * apart).sum(axis=1))

    return score
