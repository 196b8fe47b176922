"""Sanitizers that compare activations with those of other rows: trusted rows of the class, or the nearest rows."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.inputs import check_share, judged
from antivenom.defences.sanitizers.latent import ROWS, activations, fitted


@sanitizer(access=ROWS, goal=Goal.BACKDOOR, cite="baseline of this project")
class ReferenceDistance:
    """Flags rows whose activations are far from those of the trusted rows of their class.

    This is the baseline for every sanitizer that uses activations: the mean distance to the k nearest trusted rows of the
    same class, with a threshold for each class. Weakness: it needs trusted rows of each class, and it misses poison whose
    activations resemble those of its class.

    Fields:
        share: share of the trusted rows of each class whose distance exceeds the threshold, 0 to 1. Distances of trusted
            rows come from cross-fitting.
        k: number of nearest trusted rows; fewer if a class has fewer.
    """

    share: float = 0.05
    k: int = 3

    @property
    def trusted(self) -> bool:
        return True

    def __post_init__(self) -> None:
        check_share(self.share, "ReferenceDistance.share")
        if self.k < 1:
            raise PluginError("ReferenceDistance.k >= 1", f"{self.k}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        from sklearn.neighbors import NearestNeighbors

        model = fitted(self, data, context)

        def score(reference: Dataset, rows: Dataset) -> np.ndarray:
            known, asked, scores = activations(model, reference), activations(model, rows), np.zeros(len(rows))
            for c in np.unique(rows.y):
                own = known[reference.y == c]
                index = NearestNeighbors(n_neighbors=min(self.k, len(own))).fit(own)
                scores[rows.y == c] = index.kneighbors(asked[rows.y == c])[0].mean(axis=1)
            return scores

        return judged(self, data, context, score)


@sanitizer(access=ROWS, goal=(Goal.TARGETED, Goal.BACKDOOR), cite="Peri et al. 2020, ECCV workshop, arXiv:1909.13374")
class DeepKNN:
    """Flags rows whose label is not the most frequent one among their nearest rows in the space of activations.

    Clean-label poison has the activations of the target, so that rows of the target's class surround it. Weakness: poison
    that forms a neighbourhood of its own outvotes the honest rows. k should exceed twice the number of poisoned rows in a
    class, which nobody knows.

    Fields:
        k: number of neighbours, without the row itself; fewer if there are fewer rows.

    Reference: Peri, Gupta, Huang, Fowl, Zhu, Feizi, Goldstein and Dickerson 2020, "Deep k-NN Defense against Clean-label
    Data Poisoning Attacks", ECCV workshop, arXiv:1909.13374.
    """

    k: int = 50

    def __post_init__(self) -> None:
        if self.k < 1:
            raise PluginError("DeepKNN.k >= 1", f"{self.k}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        from sklearn.neighbors import NearestNeighbors

        seen, n = activations(fitted(self, data, context), data), len(data)
        k = min(self.k, n - 1)
        if k < 1:
            return Verdict(np.zeros(n), np.zeros(n, dtype=bool))
        nearest = NearestNeighbors(n_neighbors=k).fit(seen).kneighbors(None, return_distance=False)
        votes = np.stack([(data.y[nearest] == c).mean(axis=1) for c in range(data.num_classes)], axis=1)  # (n, c)
        own = votes[np.arange(n), data.y]
        return Verdict(votes.max(axis=1) - own, own < votes.max(axis=1) - 1e-9)
