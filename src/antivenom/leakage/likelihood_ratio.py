"""The likelihood-ratio test for membership, and how well it separates who was in from who was not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import DataError


def logit_scaled(logits: Tensor, y: Tensor) -> Tensor:
    """(...,) log(p / (1 - p)) of the class y (...,) under logits (..., c): nearly normal over models trained alike.

    Computed from the logits: once p rounds to 1, the quotient is lost.
    """
    own = logits.gather(-1, y.unsqueeze(-1))
    others = logits.scatter(-1, y.unsqueeze(-1), -torch.inf).logsumexp(-1)
    return own.squeeze(-1) - others


def lira(confidences: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(m, t) scores: log-likelihood ratio that target j was in the training of model i, each model in turn the victim.

    Two normal distributions are fitted per target, to its confidences under the *other* models that trained on it and
    under those that did not. `confidences` (m, t) are logit-scaled, `members` (m, t) bool.

    Raises:
        DataError: a target that is in or out of fewer than three models, which leaves no two beside a victim.

    Reference: Carlini et al. 2022, "Membership Inference Attacks From First Principles", S&P, arXiv:2112.03570
    (online attack, variance per target).
    """
    phi, inside = np.asarray(confidences, dtype=np.float64), np.asarray(members, dtype=bool)
    if phi.shape != inside.shape or phi.ndim != 2:
        raise DataError("confidences and members of one shape (models, targets)", f"{phi.shape} and {inside.shape}")
    if min(inside.sum(axis=0).min(initial=3), (~inside).sum(axis=0).min(initial=3)) < 3:
        raise DataError("every target in at least three models and out of three", "fewer", "train more models")
    return np.asarray(_log_likelihood(phi, inside) - _log_likelihood(phi, ~inside))


def _log_likelihood(phi: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(m, t) of each confidence under the normal distribution of the other models in `among`."""
    centred = phi - phi.mean(axis=0)  # so that sums of squares lose no digits
    own = among * centred
    n = among.sum(axis=0) - among
    mean = (own.sum(axis=0) - own) / n
    variance = ((own**2).sum(axis=0) - own**2) / n - mean**2
    variance = np.maximum(variance, 1e-12)
    return np.asarray(-0.5 * (np.log(variance) + (centred - mean) ** 2 / variance))


@dataclass(frozen=True, eq=False)
class Curve:
    """What a threshold on the scores can have: rates that rise from 0 to 1.

    Fields:
        fpr: share of non-members above the threshold.
        tpr: share of members above it.
    """

    fpr: np.ndarray
    tpr: np.ndarray

    @property
    def auc(self) -> float:
        """The chance that a member scores above a non-member, ties counted half."""
        return float(np.trapezoid(self.tpr, self.fpr))

    def tpr_at(self, fpr: float) -> float:
        """The largest share of members found with at most that share of false alarms; no step is interpolated."""
        return float(self.tpr[np.searchsorted(self.fpr, fpr + 1e-12, side="right") - 1])


def curve(scores: np.ndarray, members: np.ndarray, weights: np.ndarray | None = None) -> Curve:
    """The curve of all scores (m, t) together; `weights` (t,) count each target so often."""
    order = np.argsort(-scores, axis=None, kind="stable")
    ranked, inside = scores.ravel()[order], members.ravel()[order]
    counted = np.ones_like(ranked) if weights is None else np.broadcast_to(weights, scores.shape).ravel()[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # equal scores fall below a threshold together

    def share(rows: np.ndarray) -> np.ndarray:
        total = np.cumsum(counted * rows)
        return np.append(0.0, total[last] / total[-1])

    return Curve(share(~inside), share(inside))


def interval(
    scores: np.ndarray,
    members: np.ndarray,
    measure: Callable[[Curve], Sequence[float]],
    rng: np.random.Generator,
    resamples: int = 1000,
) -> np.ndarray:
    """(2, measures) 95 % bounds of what `measure` reads off the curve, from resampled targets.

    The scores of one target under different victims share its two fits, so targets are drawn, not scores: an interval
    that takes the scores as independent, such as Clopper-Pearson's, would be too narrow.
    """
    t = scores.shape[1]
    drawn = rng.multinomial(t, np.full(t, 1 / t), size=resamples)
    values = [measure(curve(scores, members, weights.astype(float))) for weights in drawn]
    return np.asarray(np.quantile(values, (0.025, 0.975), axis=0))
