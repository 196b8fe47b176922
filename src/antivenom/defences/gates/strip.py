"""A gate that measures how certain a model remains when its input is blended with other rows."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, InputFilter, Model
from antivenom.core.registry import gate
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset


@gate(goal=Goal.BACKDOOR, cite="Gao et al. 2019, arXiv:1902.06531")
class STRIP:
    """Blends each input with clean rows and refuses it if the predictions remain too certain.

    A trigger survives the blending, so the predictions for a triggered input hardly vary and their entropy is low. The
    threshold is a quantile of the entropies of clean rows. Weakness: triggers that blending damages, such as one that is
    blended into the whole image, are missed, and clean inputs with very certain predictions are refused.

    Fields:
        overlays: number of clean rows with which every input is blended.
        share: weight of the clean row in a blend, above 0 and below 1.
        false_rejection: share of the clean rows that the threshold refuses, 0 to 1.

    Reference: Gao, Xu, Wang, Chen, Ranasinghe and Nepal 2019, "STRIP: A Defence Against Trojan Attacks on Deep Neural
    Networks", ACSAC, arXiv:1902.06531.
    """

    overlays: int = 20
    share: float = 0.5
    false_rejection: float = 0.02

    def __post_init__(self) -> None:
        if self.overlays < 1 or not 0 < self.share < 1 or not 0 <= self.false_rejection <= 1:
            raise PluginError(
                "STRIP.overlays >= 1, share above 0 and below 1, and false_rejection from 0 to 1",
                f"{self.overlays}, {self.share} and {self.false_rejection}",
            )

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> InputFilter:
        if clean.is_sparse or clean.is_regression:
            raise NotApplicable("dense rows with classes for STRIP", clean.name, "rows are mixed as numbers")
        if len(clean) < 2 * self.overlays:
            raise DataError(
                f"at least {2 * self.overlays} clean rows for STRIP",
                f"{len(clean)}",
                "raise clean_rows or lower overlays",
            )
        order = context.streams.numpy("overlays").permutation(len(clean))
        mixed_in, others = clean.dense[order[: self.overlays]], clean.dense[order[self.overlays :]]
        threshold = np.quantile(self._entropy(model, others, mixed_in), self.false_rejection)

        def judged(x: np.ndarray) -> Verdict:
            entropy = self._entropy(model, x, mixed_in)
            return Verdict(-entropy, entropy < threshold)

        return judged

    def _entropy(self, model: Model, x: np.ndarray, overlays: np.ndarray) -> np.ndarray:
        """(m,) entropy in bits of the predictions for each input, averaged over the overlays."""
        total = np.zeros(len(x))
        for overlay in overlays:
            mixture = np.asarray((1 - self.share) * x + self.share * overlay, dtype=np.float32)
            shares = np.clip(
                np.asarray(model.predict_proba(mixture), dtype=np.float64), 1e-12, 1
            )  # log2(0) is infinite
            total -= (shares * np.log2(shares)).sum(axis=1)
        return total / len(overlays)
