"""Metrics of a membership test: rates, area under the curve, and their bounds."""

from __future__ import annotations

import math

import numpy as np

from antivenom.leakage.likelihood_ratio import Curve, curve, interval

RATES = {"tpr_at_1": 0.01, "tpr_at_01": 0.001}


def judged(scores: np.ndarray, inside: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Metrics by name from scores and truth (models, targets, values), with 95 % bounds by a bootstrap over targets.

    A rate is nan if the non-members are too few for a single false alarm at that rate. With several values of an
    attribute, the score of a value is its lead over the best other value.
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
    """The difference (..., values) between each score and the best score of the other values."""
    ranked = np.sort(scores, axis=-1)
    best, second = ranked[..., -1:], ranked[..., -2:-1]
    return np.asarray(scores - np.where(scores == best, second, best))
