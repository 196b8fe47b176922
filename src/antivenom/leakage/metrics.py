"""What the scores of a membership test amount to: rates, area and bounds by name."""

from __future__ import annotations

import math

import numpy as np

from antivenom.leakage.likelihood_ratio import Curve, curve, interval

RATES = {"tpr_at_1": 0.01, "tpr_at_01": 0.001}


def judged(scores: np.ndarray, inside: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Numbers by name from scores and truth (models, targets, values), with 95 % bounds from resampled targets.

    A rate is nan where the non-members are too few for one false alarm. With several values, a score counts by how far it
    is ahead of the best other value.
    """
    found: dict[str, float] = {}
    if scores.shape[2] > 1:
        found["attribute_accuracy"] = float(np.take_along_axis(inside, scores.argmax(2)[..., None], axis=2).mean())
        found["attribute_chance"] = 1 / scores.shape[2]
        scores = ahead(scores)
    flat, truth = (part.transpose(0, 2, 1).reshape(-1, scores.shape[1]) for part in (scores, inside))
    bounds = interval(flat, truth, _measures, rng)
    for name, value, low, high in zip(("auc", *RATES), _measures(curve(flat, truth)), *bounds, strict=True):
        known = name == "auc" or (~truth).sum() * RATES[name] >= 1
        numbers = (value, float(low), float(high)) if known else (math.nan,) * 3
        found |= dict(zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True))
    return found


def _measures(of: Curve) -> list[float]:
    return [of.auc, *map(of.tpr_at, RATES.values())]


def ahead(scores: np.ndarray) -> np.ndarray:
    """(..., values) of each score, what it has more than the best of the other values."""
    ranked = np.sort(scores, axis=-1)
    best, second = ranked[..., -1:], ranked[..., -2:-1]
    return np.asarray(scores - np.where(scores == best, second, best))
