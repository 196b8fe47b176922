"""A sanitizer that tests whether the activations of a class are those of one group of rows or of two."""

from __future__ import annotations

import math

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.inputs import median_and_spread, trusted_rows
from antivenom.defences.sanitizers.latent import ROWS, activations, fitted

ITERATIONS = 20  # of the decomposition; the covariances hardly change after ten


@sanitizer(access=ROWS, goal=Goal.BACKDOOR, cite="Tang et al. 2021, USENIX Security, arXiv:1908.00686")
class SCAn:
    """Splits the activations of each class into two groups, and flags one of them in classes where the split explains much.

    An activation is modelled as the class's mean plus a deviation whose covariance all classes share; the trusted rows give
    this covariance. A class's statistic is the mean log-likelihood ratio of two groups against one. It is compared with
    the other classes by the median absolute deviation. In a class above the threshold, the group that is farther from the
    trusted rows is flagged. Weakness: it needs several classes, most of them clean. It misses poison whose activations lie
    among the honest ones, such as that of AdaptiveBlend.

    Fields:
        threshold: a class is split if its statistic is so many robust standard deviations above the median, > 0.
        components: number of principal components of the activations, >= 1.

    Reference: Tang, Wang, Tang and Zhang 2021, "Demon in the Variant: Statistical Analysis of DNNs for Robust Backdoor
    Contamination Detection", USENIX Security, arXiv:1908.00686 (there the threshold is e^2).
    """

    threshold: float = math.exp(2)
    components: int = 32

    def __post_init__(self) -> None:
        if not self.threshold > 0 or self.components < 1:
            raise PluginError("SCAn.threshold > 0 and components >= 1", f"{self.threshold} and {self.components}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        trusted, model = trusted_rows(context, self), fitted(self, data, context)
        missing = [data.classes[c] for c in np.unique(data.y) if (trusted.y == c).sum() < 2]
        if missing:
            raise DataError("two trusted rows of each class", f"fewer of {', '.join(missing)}", "hold out more rows")
        asked, known = activations(model, data), activations(model, trusted)
        asked, known = self._reduced(asked, known)
        standard = whitening(known, trusted.y)
        asked, known = asked @ standard, known @ standard
        statistics, suspects = np.zeros(data.num_classes), np.zeros(len(data), dtype=bool)
        for c in range(data.num_classes):
            rows = np.flatnonzero(data.y == c)
            if len(rows) < 4:  # two groups of fewer rows mean nothing
                continue
            statistics[c], group = split(asked[rows], context.streams.sklearn("groups", c))
            middle = known[trusted.y == c].mean(axis=0)
            far = [np.linalg.norm(asked[rows[group == side]].mean(axis=0) - middle) for side in (False, True)]
            suspects[rows[group == (far[1] > far[0])]] = True
        above = excess(statistics, np.unique(data.y))
        return Verdict(np.where(suspects, above[data.y], 0.0), suspects & (above[data.y] > self.threshold))

    def _reduced(self, asked: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The activations in the directions in which those of the suspicious rows vary most."""
        middle = asked.mean(axis=0)
        _, values, directions = np.linalg.svd(asked - middle, full_matrices=False)
        used = min(self.components, max(1, int((values > 1e-6 * max(values[0], 1e-12)).sum())))
        return (asked - middle) @ directions[:used].T, (known - middle) @ directions[:used].T


def excess(statistics: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(c,) how far each class's statistic is above the median of the present classes, in robust standard deviations, at least 0."""
    middle, spread = median_and_spread(statistics[present])
    return np.asarray(np.maximum(statistics - middle, 0) / max(spread, 1e-9 * max(1.0, abs(middle))))


def split(standard: np.ndarray, seed: int) -> tuple[float, np.ndarray]:
    """The statistic of a class and its rows' groups (m,) bool.

    In whitened activations (m, width), two normal groups with unit covariance are the two clusters of least squares. The
    statistic is what the second mean takes from the mean squared distance.
    """
    from sklearn.cluster import KMeans

    one = ((standard - standard.mean(axis=0)) ** 2).sum(axis=1).mean()
    if one <= 1e-12:
        return 0.0, np.zeros(len(standard), dtype=bool)
    found = KMeans(2, n_init=4, random_state=seed).fit(standard)
    return float(one - found.inertia_ / len(standard)), found.labels_.astype(bool)


def whitening(known: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(width, width) matrix that gives the deviations of rows `known` (m, width) from their class's mean unit covariance.

    The mean of a class is normal with covariance B, and the deviations are normal with covariance W in all classes. B and W
    are estimated together, by expectation and maximisation.
    """
    centred = known - known.mean(axis=0)
    classes = np.unique(y)
    sums, counts = np.stack([centred[y == c].sum(axis=0) for c in classes]), np.array([(y == c).sum() for c in classes])
    ridge = 1e-6 * max(np.trace(centred.T @ centred) / centred.size, 1e-12) * np.eye(known.shape[1])
    means = sums / counts[:, None]
    between = means.T @ means / len(classes) + ridge
    deviations = centred - means[np.searchsorted(classes, y)]
    within = deviations.T @ deviations / len(known) + ridge
    for _ in range(ITERATIONS):
        gains = [between @ np.linalg.inv(m * between + within) for m in counts]
        expected = np.stack([gain @ total for gain, total in zip(gains, sums, strict=True)])
        rest = [between - m * gain @ between for m, gain in zip(counts, gains, strict=True)]  # uncertainty of the means
        deviations = centred - expected[np.searchsorted(classes, y)]
        unsure = sum(m * part for m, part in zip(counts, rest, strict=True)) / len(known)
        within = deviations.T @ deviations / len(known) + unsure + ridge
        between = expected.T @ expected / len(classes) + sum(rest) / len(classes) + ridge
    values, vectors = np.linalg.eigh(within)
    return np.asarray((vectors / np.sqrt(np.maximum(values, 1e-300))) @ vectors.T)
