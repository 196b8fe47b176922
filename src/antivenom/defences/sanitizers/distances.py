"""Sanitizers that use the distance of a row from its class or from other rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Access, Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.inputs import check_share, judged

STEINHARDT = "Steinhardt, Koh and Liang 2017, arXiv:1706.03691"
KOH = "Koh, Steinhardt and Liang 2018, arXiv:1811.00741"
ROWS = (Access.DATA_MANIPULATION, Access.DATA_INJECTION)


@sanitizer(access=ROWS, goal=Goal.AVAILABILITY, cite=STEINHARDT)
class SphereSanitizer:
    """Flags the rows that are farthest from the centroid of their class, outside the sphere ||x - mu_y|| <= r_y.

    Without trusted rows it is the data-dependent sphere, the L2 defence of Koh et al. With trusted rows it is the oracle
    version, which poison cannot move. Weakness: it misses poison inside the sphere, as mislabelled rows often are. Without
    trusted rows, poison can move the centroid. Distances must be meaningful in the units of the data.

    Fields:
        share: share of each class's reference rows outside of the sphere, 0 to 1 (Steinhardt 0.3, Koh 0.05).
        trusted: compute centroid and radius from the trusted rows instead of the suspicious ones.

    Reference: Steinhardt, Koh and Liang 2017, arXiv:1706.03691, section 3; Koh et al. 2018, arXiv:1811.00741.
    """

    share: float = 0.05
    trusted: bool = False

    def __post_init__(self) -> None:
        check_share(self.share, "SphereSanitizer.share")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        return judged(self, data, context, self._distance)

    def _distance(self, reference: Dataset, rows: Dataset) -> np.ndarray:
        return to_points(rows, centroids(reference))


@sanitizer(access=ROWS, goal=Goal.AVAILABILITY, cite=STEINHARDT)
class SlabSanitizer:
    """Flags the rows farthest from the centroid of their class along the line between the classes.

    The slab is |<x - mu_y, v_y>| <= s_y, where the unit vector v_y points from the mean of all other rows to mu_y. For two
    classes it is the paper's mu_+ - mu_-. It detects mislabelled rows, which the sphere misses. Weakness: it misses poison
    that is far away in other directions only, or inside the slab. Without trusted rows, poison can move both centroids.

    Fields:
        share: share of each class's reference rows outside of the slab, 0 to 1 (Steinhardt 0.3, Koh 0.05).
        trusted: compute centroids and width from the trusted rows instead of the suspicious ones.

    Reference: Steinhardt, Koh and Liang 2017, arXiv:1706.03691, section 3; Koh et al. 2018, arXiv:1811.00741.
    """

    share: float = 0.05
    trusted: bool = False

    def __post_init__(self) -> None:
        check_share(self.share, "SlabSanitizer.share")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        return judged(self, data, context, self._distance)

    def _distance(self, reference: Dataset, rows: Dataset) -> np.ndarray:
        counts = np.bincount(reference.y, minlength=reference.num_classes)[:, None]
        if (counts > 0).sum() < 2:
            raise DataError("rows of two classes for SlabSanitizer", "one", "use SphereSanitizer")
        means = centroids(reference)
        rest = ((counts * means).sum(axis=0) - counts * means) / np.maximum(counts.sum() - counts, 1)
        axes = means - rest
        lengths = np.linalg.norm(axes, axis=1, keepdims=True)
        axes = np.divide(axes, lengths, out=np.zeros_like(axes), where=lengths > 0)
        along = (rows.flat @ axes.T)[np.arange(len(rows)), rows.y]
        return np.asarray(np.abs(along - (means * axes).sum(axis=1)[rows.y]))


@sanitizer(access=ROWS, goal=Goal.AVAILABILITY, cite=KOH)
class KNNDistanceSanitizer:
    """Flags the rows whose k-th nearest neighbour is far away, in regions without other rows.

    The distance ignores labels. Weakness: k + 1 copies of a poison row are neighbours of each other, and a mislabelled row
    is close to honest rows (KNNSanitizer detects it).

    Fields:
        k: number of the neighbour, without the row itself; with fewer rows, the farthest neighbour.
        share: share of each class's reference rows whose distance exceeds the threshold, 0 to 1.
        trusted: search neighbours among the trusted rows instead of the suspicious ones.

    Reference: Koh, Steinhardt and Liang 2018, arXiv:1811.00741 (there k = 5).
    """

    k: int = 5
    share: float = 0.05
    trusted: bool = False

    def __post_init__(self) -> None:
        check_share(self.share, "KNNDistanceSanitizer.share")
        if self.k < 1:
            raise PluginError("KNNDistanceSanitizer.k >= 1", f"{self.k}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        return judged(self, data, context, self._distance)

    def _distance(self, reference: Dataset, rows: Dataset) -> np.ndarray:
        from sklearn.neighbors import NearestNeighbors

        itself = rows is reference
        k = min(self.k, len(reference) - itself)
        if k < 1:
            return np.zeros(len(rows))
        index = NearestNeighbors(n_neighbors=k).fit(reference.flat)
        return np.asarray(index.kneighbors(None if itself else rows.flat)[0][:, -1], dtype=np.float64)


def centroids(data: Dataset) -> np.ndarray:
    """The mean (c, features) of each class; zeros for a class without rows."""
    n, c = len(data), data.num_classes
    members = sp.csr_array((np.ones(n), (data.y, np.arange(n))), shape=(c, n))
    sums: Any = members @ data.flat
    counts = np.bincount(data.y, minlength=c)
    return np.asarray((sums.toarray() if data.is_sparse else sums) / np.maximum(counts, 1)[:, None])


def to_points(data: Dataset, points: np.ndarray) -> np.ndarray:
    """Euclidean distance (n,) of each row from the point (c, features) of its class."""
    x = data.flat
    if not data.is_sparse:
        return np.asarray(np.linalg.norm(x - points[data.y], axis=1))
    squares = x.multiply(x).sum(axis=1) + (points**2).sum(axis=1)[data.y]
    return np.asarray(np.sqrt(np.maximum(squares - 2 * (x @ points.T)[np.arange(len(data)), data.y], 0)))
