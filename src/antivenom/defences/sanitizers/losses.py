"""Sanitizers that fit the pipeline's model and use the loss or gradient of each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.stats import rankdata

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset, Rows
from antivenom.defences.inputs import check_share, judged, trusted_rows
from antivenom.defences.sanitizers.distances import KOH, ROWS
from antivenom.models.wrappers import TorchModel

ITERATIONS = 50  # of the power method; the order of rows converges long before the direction does


@sanitizer(access=ROWS, goal=Goal.AVAILABILITY, cite=KOH)
class LossSanitizer:
    """Flags the rows with the largest loss under the pipeline's model, which is fitted to all suspicious rows.

    The loss is -log p of the row's label, the hinge loss for an estimator with margins only (a linear SVM), or the squared
    residual for a regression. Weakness: a model that memorises its rows fits poison as well. Poison with enough influence
    is fitted well, and honest rows then have the larger loss.

    Fields:
        share: share of each class's reference rows whose loss exceeds the threshold, 0 to 1.
        trusted: fit the model and compute the threshold on the trusted rows instead of the suspicious ones.

    Reference: Koh, Steinhardt and Liang 2018, arXiv:1811.00741.
    """

    share: float = 0.05
    trusted: bool = False

    def __post_init__(self) -> None:
        check_share(self.share, "LossSanitizer.share")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        def loss(reference: Dataset, rows: Dataset) -> np.ndarray:
            return losses(context.fit(reference), rows)

        return judged(self, data, context, loss)


@sanitizer(
    access=ROWS, goal=(Goal.AVAILABILITY, Goal.BACKDOOR), cite="Diakonikolas et al. 2019, ICML, arXiv:1803.02815"
)
class SEVER:
    """Fits, flags the rows with the largest gradients along the main direction of all gradients, and fits again.

    Poison that changes a model must push it in a common direction, which increases the variance of the gradients there. The
    gradient is that of the last layer: (p - onehot) times its inputs, or times the row for an estimator. Weakness: it misses
    poison that is spread over many directions or has gradients as small as honest ones. The model must be near its optimum.

    Fields:
        share: share of all rows that is flagged in the end, 0 to 1 (in the paper, an upper bound on the poisoned share).
        rounds: number of fits. Each flags an equal part of `share`.
        trusted: compute model and mean gradient from the trusted rows instead of the suspicious ones.

    Reference: Diakonikolas et al. 2019, "Sever: A Robust Meta-Algorithm for Stochastic Optimization", arXiv:1803.02815.
    """

    share: float = 0.1
    rounds: int = 4
    trusted: bool = False

    def __post_init__(self) -> None:
        check_share(self.share, "SEVER.share")
        if self.rounds < 1:
            raise PluginError("SEVER.rounds >= 1", f"{self.rounds}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        fixed = trusted_rows(context, self) if self.trusted else None
        model = None if fixed is None else context.fit(fixed)
        scores, kept = np.zeros(len(data)), np.arange(len(data))
        budget = int(self.share * len(data) + 1e-9)
        for round in range(self.rounds):
            rows = data[kept]
            used = context.fit(rows) if model is None else model
            mean = None if fixed is None else Gradients.of(used, fixed).mean()
            reach = Gradients.of(used, rows).reach(mean, context.streams.numpy("start", round))
            rank = rankdata(reach) / len(reach)
            cut = budget * (round + 1) // self.rounds - budget * round // self.rounds
            cut = min(cut, int((reach > 0).sum()), len(kept) - 1)
            order = np.argsort(-reach, kind="stable")
            scores[kept] = rank
            scores[kept[order[:cut]]] += self.rounds - round  # rows that are flagged earlier are more suspicious
            kept = kept[np.sort(order[cut:])]
        return Verdict(scores, ~np.isin(np.arange(len(data)), kept))


def losses(model: Model, data: Dataset) -> np.ndarray:
    """(n,) the loss of each row."""
    if data.is_regression:
        return np.asarray((model.predict(data.x) - data.y) ** 2)
    estimator = getattr(model, "estimator", None)
    if hasattr(estimator, "decision_function") and not hasattr(estimator, "predict_proba"):
        return hinge(estimator, data)
    rows = np.arange(len(data))
    return np.asarray(-np.log(np.maximum(model.predict_proba(data.x)[rows, data.y], 1e-12)), dtype=np.float64)


def hinge(estimator: Any, data: Dataset) -> np.ndarray:
    """(n,) max(0, 1 - margin), where the margin is the row's decision value minus the largest one of another class."""
    found = np.asarray(estimator.decision_function(data.flat), dtype=np.float64)
    known = estimator.classes_.astype(int)
    found = np.stack([-found / 2, found / 2], axis=1) if found.ndim == 1 else found
    values = np.repeat(found.min(axis=1, keepdims=True) - 1, data.num_classes, axis=1)  # for classes absent in training
    values[:, known] = found
    rows = np.arange(len(data))
    own = values[rows, data.y]
    values[rows, data.y] = -np.inf
    return np.asarray(np.maximum(1 - (own - values.max(axis=1)), 0))


@dataclass(frozen=True, eq=False)
class Gradients:
    """The gradients of n rows with respect to the weights of a last layer (c, width), as outer products of two factors.

    The matrix (n, c * width) is never built.

    Fields:
        residuals: (n, c) p - onehot, or prediction - y for a regression.
        inputs: (n, width) inputs of the layer, with a 1 for the bias.
    """

    residuals: np.ndarray
    inputs: Rows

    @classmethod
    def of(cls, model: Model, data: Dataset) -> Gradients:
        if data.is_regression:
            residuals = (model.predict(data.x) - data.y)[:, None]
        else:
            residuals = model.predict_proba(data.x).astype(np.float64)
            residuals[np.arange(len(data)), data.y] -= 1
        inputs: Any = model.features(data.dense) if isinstance(model, TorchModel) else data.flat
        one: Any = np.ones((len(data), 1), dtype=np.float32)
        stacked = np.hstack([inputs, one]) if isinstance(inputs, np.ndarray) else sp.hstack([inputs, one], format="csr")
        return cls(residuals, stacked)

    def mean(self) -> np.ndarray:
        """(c, width) mean gradient."""
        return np.asarray((self.inputs.T @ self.residuals).T / len(self.residuals))

    def along(self, direction: np.ndarray) -> np.ndarray:
        """(n,) inner products with a (c, width) direction."""
        return np.asarray((self.residuals * (self.inputs @ direction.T)).sum(axis=1))

    def reach(self, mean: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        """(n,) squared projections on the top singular vector of the centred gradients.

        `mean` (c, width) is subtracted first; None takes the mean of these rows. The power method starts at random.
        """
        centre = self.mean() if mean is None else mean
        size = centre.size

        def forth(v: np.ndarray) -> np.ndarray:
            direction = v.reshape(centre.shape)
            return np.asarray(self.along(direction) - (centre * direction).sum())

        def back(u: np.ndarray) -> np.ndarray:
            u = u.ravel()
            return np.asarray((self.inputs.T @ (self.residuals * u[:, None])).T - u.sum() * centre).ravel()

        direction = rng.standard_normal(size)
        for _ in range(ITERATIONS):
            step = back(forth(direction))
            length = np.linalg.norm(step)
            if length == 0:
                return np.zeros(len(self.residuals))
            direction = step / length
        return np.asarray(forth(direction) ** 2)
