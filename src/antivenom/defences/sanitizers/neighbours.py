"""Sanitizers that ask a row's neighbours."""

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

    The paper gives such a row its neighbours' label; a sanitizer drops it instead, which loses the row but never writes
    a wrong label. Weakness: poison that comes in clusters is its own neighbourhood, clean-label poison agrees with it,
    honest rows near a class border are lost, and the distance must mean something in the data's own units.

    Fields:
        k: neighbours asked, the row itself left out; fewer where there are fewer rows.
        agreement: eta, share of them that must hold one other label, above 0 up to 1.
        trusted: ask neighbours among the trusted rows instead of the suspicious ones.

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
