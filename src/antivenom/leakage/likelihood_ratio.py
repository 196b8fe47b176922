"""The likelihood-ratio test for membership, and the curve that shows how well it separates members from others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import DataError


def logit_scaled(logits: Tensor, y: Tensor) -> Tensor:
    """log(p / (1 - p)) (...,) for the probability p of class y (...,) under logits (..., c).

    Over models that were trained in the same way, it is nearly normally distributed. It is computed from the logits
    because p itself can round to 1.
    """
    own = logits.gather(-1, y.unsqueeze(-1))
    others = logits.scatter(-1, y.unsqueeze(-1), -torch.inf).logsumexp(-1)
    return own.squeeze(-1) - others


def lira(confidences: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Log-likelihood ratios (m, t) that target j was in the training set of model i.

    Each model is the victim once. For each target, one normal distribution is fitted to its confidences under the other
    models that trained on it, and one to those under the other models that did not. `confidences` (m, t) are
    logit-scaled, `members` (m, t) bool.

    Raises:
        DataError: a target with fewer than three models that trained on it, or fewer than three that did not.

    Reference: Carlini et al. 2022, "Membership Inference Attacks From First Principles", S&P, arXiv:2112.03570
    (online attack, variance per target).
    """
    phi, inside = np.asarray(confidences, dtype=np.float64), np.asarray(members, dtype=bool)
    if phi.shape != inside.shape or phi.ndim != 2:
        raise DataError("confidences and members of one shape (models, targets)", f"{phi.shape} and {inside.shape}")
    if min(inside.sum(axis=0).min(initial=3), (~inside).sum(axis=0).min(initial=3)) < 3:
        raise DataError("at least three models with and three without each target", "fewer", "train more models")
    return np.asarray(_log_likelihood(phi, inside) - _log_likelihood(phi, ~inside))


def _log_likelihood(phi: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Log-likelihood (m, t) of each confidence under the normal distribution of the other models in `among`."""
    centred = phi - phi.mean(axis=0)  # avoids cancellation in the sums of squares
    own = among * centred
    n = among.sum(axis=0) - among
    mean = (own.sum(axis=0) - own) / n
    variance = ((own**2).sum(axis=0) - own**2) / n - mean**2
    variance = np.maximum(variance, 1e-12)
    return np.asarray(-0.5 * (np.log(variance) + (centred - mean) ** 2 / variance))


@dataclass(frozen=True, eq=False)
class Curve:
    """A ROC curve; both rates rise from 0 to 1.

    Fields:
        fpr: false-positive rate, the share of non-members above the threshold.
        tpr: true-positive rate, the share of members above the threshold.
    """

    fpr: np.ndarray
    tpr: np.ndarray

    @property
    def auc(self) -> float:
        """Probability that a member has a higher score than a non-member; a tie counts as one half."""
        return float(np.trapezoid(self.tpr, self.fpr))

    def tpr_at(self, fpr: float) -> float:
        """The highest true-positive rate with at most this false-positive rate, without interpolation."""
        return float(self.tpr[np.searchsorted(self.fpr, fpr + 1e-12, side="right") - 1])


def curve(scores: np.ndarray, members: np.ndarray, weights: np.ndarray | None = None) -> Curve:
    """The ROC curve of all scores (m, t); `weights` (t,) count how often each target is included."""
    order = np.argsort(-scores, axis=None, kind="stable")
    ranked, inside = scores.ravel()[order], members.ravel()[order]
    counted = np.ones_like(ranked) if weights is None else np.broadcast_to(weights, scores.shape).ravel()[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # one threshold separates equal scores from the rest

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
    """Lower and upper 95 % bounds (2, measures) for `measure` of the curve, by a bootstrap over targets.

    The scores of one target under different victims depend on each other, because they share the two fits. So targets are
    resampled instead of scores. An interval for independent scores, such as Clopper-Pearson's, would be too narrow.
    """
    t = scores.shape[1]
    drawn = rng.multinomial(t, np.full(t, 1 / t), size=resamples)
    values = [measure(curve(scores, members, weights.astype(float))) for weights in drawn]
    return np.asarray(np.quantile(values, (0.025, 0.975), axis=0))
