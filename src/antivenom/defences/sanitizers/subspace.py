"""Sanitizers that use the part of a row outside of the span of the leading singular vectors."""

from __future__ import annotations

import math

import numpy as np

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset, Rows
from antivenom.defences.inputs import check_share, judged
from antivenom.defences.sanitizers.distances import KOH, ROWS

EXACT = 1024  # an exact eigendecomposition is used up to this number of rows or of features, whichever is smaller


@sanitizer(access=ROWS, goal=Goal.AVAILABILITY, cite=KOH)
class SVDSanitizer:
    """Flags the rows that the leading singular vectors explain least: the largest ||(I - V V')x||.

    V are the fewest leading right singular vectors that leave less than `residual` of the squared Frobenius norm
    unexplained. The rows are not centred. Weakness: poison that is repeated often becomes a leading singular vector itself,
    and poison within the span looks normal.

    Fields:
        residual: share of the squared Frobenius norm that V may leave unexplained, above 0 and below 1.
        max_components: maximal number of vectors; text needs hundreds for a small residual.
        share: share of each class's reference rows whose unexplained part exceeds the threshold, 0 to 1.
        trusted: compute V and the threshold from the trusted rows instead of the suspicious ones.

    Reference: Koh, Steinhardt and Liang 2018, arXiv:1811.00741 (there residual 0.05).
    """

    residual: float = 0.05
    max_components: int = 256
    share: float = 0.05
    trusted: bool = False

    def __post_init__(self) -> None:
        check_share(self.share, "SVDSanitizer.share")
        if not 0 < self.residual < 1 or self.max_components < 1:
            raise PluginError(
                "SVDSanitizer.residual between 0 and 1 and max_components >= 1",
                f"{self.residual} and {self.max_components}",
            )

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        seed = context.streams.sklearn("svd")

        def unexplained(reference: Dataset, rows: Dataset) -> np.ndarray:
            vectors = singular_vectors(reference.flat, self.residual, self.max_components, seed)
            x = rows.flat
            return np.asarray(np.sqrt(np.maximum(squared(x) - ((x @ vectors) ** 2).sum(axis=1), 0)))

        return judged(self, data, context, unexplained)


def squared(x: Rows) -> np.ndarray:
    """(n,) squared lengths."""
    if isinstance(x, np.ndarray):
        return np.asarray(np.einsum("ij,ij->i", x, x, dtype=np.float64))
    return np.asarray(x.multiply(x).sum(axis=1), dtype=np.float64)


def singular_vectors(x: Rows, residual: float, most: int, seed: int) -> np.ndarray:
    """(features, k) leading right singular vectors, the fewest that leave less than `residual` of the squared norm.

    There are at most `most`. `seed` is that of the randomised decomposition of large tables.
    """
    total = squared(x).sum()
    if total == 0:
        return np.zeros((x.shape[1], 0))
    tall = x.shape[0] >= x.shape[1]
    if min(x.shape) <= EXACT:
        wide = x.astype(np.float64)
        gram = wide.T @ wide if tall else wide @ wide.T
        values, vectors = np.linalg.eigh(gram if isinstance(gram, np.ndarray) else gram.toarray())
        energy, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    else:
        from sklearn.utils.extmath import randomized_svd

        _, values, rows = randomized_svd(x, min(most, min(x.shape) - 1), random_state=seed)
        energy, vectors, tall = values.astype(np.float64) ** 2, rows.T, True
    k = int(np.searchsorted(np.cumsum(energy) / total, 1 - residual, side="right")) + 1
    k = min(k, most, int((energy > 1e-12 * energy[0]).sum()))
    if tall:
        return np.asarray(vectors[:, :k])
    return np.asarray(wide.T @ vectors[:, :k] / np.array([math.sqrt(e) for e in energy[:k]]))
