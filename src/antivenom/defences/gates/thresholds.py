"""The threshold of a gate, from the scores of clean rows alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from antivenom.core.protocols import InputFilter
from antivenom.core.verdict import Verdict
from antivenom.defences.inputs import radius


def above(score: Callable[[np.ndarray], np.ndarray], clean: np.ndarray, false_rejection: float) -> InputFilter:
    """A filter that refuses inputs whose score exceeds a threshold.

    Args:
        score: inputs (m, ...) -> (m,) suspicion.
        clean: (n,) suspicion of the clean rows.
        false_rejection: the threshold is the score that at most this share of the clean rows exceeds, 0 to 1.
    """
    limit = radius(clean, false_rejection)

    def judged(x: np.ndarray) -> Verdict:
        scores = score(x)
        return Verdict(scores, scores > limit)

    return judged
