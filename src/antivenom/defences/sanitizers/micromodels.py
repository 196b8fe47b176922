"""Sanitizers that compare models of different parts of the data."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.inputs import check_share, trusted_rows
from antivenom.defences.sanitizers.distances import ROWS


@sanitizer(access=ROWS, goal=(Goal.AVAILABILITY, Goal.BACKDOOR), cite="Cretu et al. 2008, IEEE S&P")
class Micromodels:
    """Trains one model per time slice. Each votes on the rows of the other slices, and rows that are outvoted are flagged.

    An attack during a short time misleads few of the models. In the paper, anomaly detectors vote; here classifiers vote
    against a row by predicting another label. The slices are the groups of the data or, without groups, equal parts in row
    order. The weight of a vote is the number of rows in its slice. Weakness: it fails if most slices contain poison, if
    slices are too small to learn from, or if labels change honestly over time.

    Fields:
        slices: number of slices if groups are not known.
        threshold: share of votes against the label from which a row is flagged, above 0 up to 1 (the paper: 0.15 to 0.45).
        trusted: train on slices of the trusted rows instead of the suspicious ones.

    Reference: Cretu, Stavrou, Locasto, Stolfo and Keromytis 2008, "Casting out Demons", IEEE S&P.
    """

    slices: int = 10
    threshold: float = 0.5
    trusted: bool = False

    def __post_init__(self) -> None:
        check_share(self.threshold, "Micromodels.threshold")
        if self.slices < 2 or self.threshold == 0:
            raise PluginError("Micromodels.slices >= 2 and threshold above 0", f"{self.slices} and {self.threshold}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        source = trusted_rows(context, self) if self.trusted else data
        slices = slice_numbers(source, self.slices)
        against, votes = np.zeros(len(data)), np.zeros(len(data))
        for number in np.unique(slices):
            part = source[slices == number]
            if len(np.unique(part.y)) < min(2, data.num_classes):  # a slice with a single class has no vote
                continue
            weight = len(part) * (np.ones(len(data)) if self.trusted else slices != number)
            against += weight * (context.fit(part).predict(data.x) != data.y)
            votes += weight
        if not votes.any():
            raise DataError("two slices with two classes each", "fewer", "use fewer slices or more rows")
        scores = against / np.maximum(votes, 1)
        return Verdict(scores, scores >= self.threshold - 1e-9)


def slice_numbers(data: Dataset, slices: int) -> np.ndarray:
    """(n,) the slice of each row: its group or, without groups, one of `slices` equal parts in row order."""
    return np.arange(len(data)) * slices // max(1, len(data)) if data.groups is None else data.groups
