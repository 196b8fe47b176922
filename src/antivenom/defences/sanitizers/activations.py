"""Sanitizers that use the activations of the last hidden layer."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.sanitizers.latent import ROWS, fitted


@sanitizer(
    access=ROWS,
    goal=Goal.BACKDOOR,
    cite="Chen et al. 2018, arXiv:1811.03728",
)
class ActivationClustering:
    """Trains on the suspicious rows, splits the activations of each class in two, and flags a small separate cluster.

    Triggered rows and rows of the target class have the same label because of different features. Weakness: it misses
    poison that fills half a class, too few rows to form a cluster, clean-label poison, and activations that were trained to
    overlap (Tan and Shokri 2020). It also flags honest classes that consist of two groups.

    Fields:
        components: number of principal components of the activations (the paper uses independent components).
        max_share: a cluster is flagged only if it is at most this share of its class, 0 to 0.5.
        min_silhouette: a cluster is flagged only if the mean silhouette of the split is at least this, -1 to 1.

    Reference: Chen et al. 2018, "Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering",
    arXiv:1811.03728.
    """

    components: int = 10
    max_share: float = 0.35
    min_silhouette: float = 0.3

    def __post_init__(self) -> None:
        if self.components < 1 or not 0 <= self.max_share <= 0.5 or not -1 <= self.min_silhouette <= 1:
            raise PluginError(
                "ActivationClustering with components >= 1, max_share from 0 to 0.5 and min_silhouette from -1 to 1",
                f"{self.components}, {self.max_share} and {self.min_silhouette}",
            )

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        features = fitted(self, data, context).features(data.dense)
        scores, flags = np.zeros(len(data)), np.zeros(len(data), dtype=bool)
        for c in range(data.num_classes):
            rows = np.flatnonzero(data.y == c)
            if len(rows) < 4:  # two clusters of fewer rows mean nothing
                continue
            smaller, clarity = self._split(features[rows], context.streams.sklearn("clusters", c))
            scores[rows[smaller]] = max(clarity, 0.0)
            flags[rows[smaller]] = smaller.mean() <= self.max_share and clarity >= self.min_silhouette
        return Verdict(scores, flags)

    def _split(self, features: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
        """The smaller of two clusters as a mask (m,), and the mean silhouette of the split."""
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.metrics import silhouette_score

        m, width = features.shape
        if np.ptp(features, axis=0).max() == 0:  # no two rows differ, so there is nothing to split
            return np.zeros(m, dtype=bool), 0.0
        low = PCA(min(self.components, m, width), svd_solver="full").fit_transform(features)
        part = KMeans(2, n_init=4, random_state=seed).fit_predict(low).astype(bool)
        return (part if part.mean() <= 0.5 else ~part), float(silhouette_score(low, part))
