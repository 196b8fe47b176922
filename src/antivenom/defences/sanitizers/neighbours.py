"""Sanitizers that use the labels of a row's neighbours."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Access, Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.inputs import trusted_rows


@sanitizer(
    access=(Access.DATA_MANIPULATION, Access.DATA_INJECTION),
    goal=(Goal.AVAILABILITY, Goal.BACKDOOR),
    cite="Paudice et al. 2018, arXiv:1803.00992",
)
class KNNSanitizer:
    """Flags rows whose k nearest neighbours agree on another label.

    The paper gives such a row the label of its neighbours. A sanitizer removes it instead, which never creates a wrong label.
    Weakness: clusters of poison are their own neighbourhood, and clean-label poison agrees with its neighbours. Honest rows
    near the border of a class are lost. Distances must be meaningful in the units of the data.

    Fields:
        k: number of neighbours, without the row itself; fewer if there are fewer rows.
        agreement: eta, share of neighbours with the same other label, above 0 and up to 1.
        trusted: whether neighbours are searched among the trusted rows instead of the suspicious ones.

    Reference: Paudice, Munoz-Gonzalez and Lupu 2018, arXiv:1803.00992, Algorithm 1 (there k = 10, eta from 0.5).
    """

    k: int = 10
    agreement: float = 0.5
    trusted: bool = False

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 < self.agreement <= 1:
            raise PluginError("KNNSanitizer.k >= 1 and agreement above 0 up to 1", f"{self.k} and {self.agreement}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        from sklearn.neighbors import NearestNeighbors

        asked = trusted_rows(context, self) if self.trusted else data
        n, k = len(data), min(self.k, len(asked) - (not self.trusted))
        if k < 1:
            return Verdict(np.zeros(n), np.zeros(n, dtype=bool))
        index = NearestNeighbors(n_neighbors=k).fit(asked.flat)
        nearest = index.kneighbors(data.flat if self.trusted else None, return_distance=False)  # (n, k), never itself
        votes = np.stack([(asked.y[nearest] == c).mean(axis=1) for c in range(data.num_classes)], axis=1)  # (n, c)
        own = votes[np.arange(n), data.y]
        votes[np.arange(n), data.y] = 0
        against = votes.max(axis=1)
        return Verdict(against, (against >= self.agreement - 1e-9) & (against > own))
