"""Sanitizers made of others."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext, Sanitizer
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.sanitizers.distances import KOH, ROWS, KNNDistanceSanitizer, SlabSanitizer, SphereSanitizer
from antivenom.defences.sanitizers.losses import LossSanitizer
from antivenom.defences.sanitizers.subspace import SVDSanitizer

KOHS_FIVE: tuple[Sanitizer, ...] = (
    SphereSanitizer(),
    SlabSanitizer(),
    LossSanitizer(),
    SVDSanitizer(),
    KNNDistanceSanitizer(),
)


@sanitizer(access=ROWS, goal=(Goal.AVAILABILITY, Goal.BACKDOOR), cite=KOH)
class AllOf:
    """Uses several sanitizers and flags the rows that any of them flags. The default are the five of Koh et al.

    Each sanitizer judges all rows. The score of a row is its highest rank among them. Weakness: poison that passes each of
    them passes the combination, and the false alarms of all of them add up.

    Fields:
        sanitizers: the sanitizers, one or more.

    Reference: Koh, Steinhardt and Liang 2018, arXiv:1811.00741.
    """

    sanitizers: tuple[Sanitizer, ...] = KOHS_FIVE

    def __post_init__(self) -> None:
        if not self.sanitizers:
            raise PluginError("a sanitizer in AllOf.sanitizers", "none", "name one or more")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        verdicts = [each(data, context) for each in self.sanitizers]
        ranks = [rankdata(verdict.scores) / max(1, len(data)) for verdict in verdicts]
        return Verdict(np.max(ranks, axis=0), np.any([verdict.flags for verdict in verdicts], axis=0))
