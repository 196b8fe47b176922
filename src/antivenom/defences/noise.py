"""A model of label noise on out-of-sample probabilities: how often is a label of class j recorded as class k?

The probabilities p(true class | row) are those of a classifier, sharpened by one exponent and one offset per class. A transition
matrix turns them into probabilities of the recorded label. All of it is fitted by maximum likelihood to the recorded labels.
Two matrices are tried: one rate for all pairs of classes, and one rate per pair. Akaike's criterion chooses. At a rate of 0, a
confident classifier that contradicts a label is explained by a row that is hard; at a high rate, by a label that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEAST_PROBABILITY, MOST_PAIRED = 1e-4, 20
_Parts = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class LabelNoise:
    """A fitted model of label noise.

    Fields:
        clean: (n, c) probabilities of the true class, given the row but not its label.
        transition: (c, c) probability that a row of true class j is labelled k.
        kind: "uniform" or "pairs".
        criterion: Akaike's criterion, half of it: negative log-likelihood plus number of parameters.
    """

    clean: np.ndarray
    transition: np.ndarray
    kind: str
    criterion: float

    @property
    def honest(self) -> np.ndarray:
        """(n, c) probability that the true class is c and that it is recorded as such."""
        return np.asarray(self.clean * np.diag(self.transition))

    def wrong(self, floor: float = 0.0) -> np.ndarray:
        """(n, c) probability that the label would be wrong if it were c.

        Args:
            floor: least rate of wrong labels from one class to another that is assumed. Without one, all labels are equally
                unsuspicious if the fitted matrix has no noise.
        """
        transition = np.maximum(self.transition, floor / max(1, len(self.transition) - 1))
        np.fill_diagonal(transition, 0.0)
        honest, noise = self.honest, self.clean @ transition
        return np.asarray(noise / np.maximum(honest + noise, 1e-300))


def label_noise(probabilities: np.ndarray, y: np.ndarray) -> LabelNoise:
    """Fit both models and choose one.

    Args:
        probabilities: (n, c) out-of-sample probabilities.
        y: (n,) recorded labels.

    Reference: Bootkrajang and Kaban 2012, "Label-noise robust logistic regression and its applications", ECML PKDD, whose
    model this is with the classifier's log-probabilities as features; Goldberger and Ben-Reuven 2017, ICLR, for networks.
    """
    kinds = ["uniform", *(["pairs"] if probabilities.shape[1] <= MOST_PAIRED else [])]
    return min((_fitted(probabilities, y, kind) for kind in kinds), key=lambda found: found.criterion)


def _fitted(probabilities: np.ndarray, y: np.ndarray, kind: str) -> LabelNoise:
    from scipy.optimize import minimize

    _n, c = probabilities.shape
    logs = np.log(np.clip(probabilities, LEAST_PROBABILITY, 1.0))
    logs -= logs.mean(axis=1, keepdims=True)
    extra = c * c if kind == "pairs" else 1
    start = np.concatenate([[1.0], np.zeros(c), _first(kind, c)])
    bounds = [(0.2, 6.0)] + [(-3.0, 3.0)] * c + [(-12.0, 12.0)] * extra
    parts = _parts(kind, logs, c)
    solved = minimize(
        _objective(kind, logs, y, parts), start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200}
    )
    clean, transition = parts(solved.x)
    free = c * (c - 1) if kind == "pairs" else 1
    return LabelNoise(clean, transition, kind, float(solved.fun) + free)


def _first(kind: str, c: int) -> np.ndarray:
    """The parameters of the matrix at the start, with about 2 % of noise."""
    if kind == "pairs":
        return np.asarray((4.0 + np.log(max(c - 1, 1))) * np.eye(c)).ravel()
    return np.array([-4.0])


def _parts(kind: str, logs: np.ndarray, c: int) -> Callable[[np.ndarray], _Parts]:
    """A function from the parameters to the clean probabilities (n, c) and the transition matrix (c, c)."""

    def parts(parameters: np.ndarray) -> _Parts:
        clean = _softmax(parameters[0] * logs + parameters[1 : 1 + c])
        if kind == "pairs":
            return clean, _softmax(parameters[1 + c :].reshape(c, c))
        rate = 1 / (1 + np.exp(-parameters[1 + c]))
        transition = np.full((c, c), rate / max(1, c - 1))
        np.fill_diagonal(transition, 1 - rate)
        return clean, transition

    return parts


def _objective(
    kind: str, logs: np.ndarray, y: np.ndarray, parts: Callable[[np.ndarray], _Parts]
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """The negative log-likelihood with a weak prior on the offsets, and its gradient."""
    n, c = logs.shape
    labels = np.eye(c)[y]

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        clean, transition = parts(parameters)
        joint = clean * transition[:, y].T
        likelihood = np.maximum(joint.sum(axis=1), 1e-300)
        true = joint / likelihood[:, None]  # (n, c) probability of the true class, given row and label
        slope, offsets = np.zeros_like(parameters), parameters[1 : 1 + c]
        slope[0] = ((clean - true) * logs).sum()
        slope[1 : 1 + c] = (clean - true).sum(axis=0) + 0.1 * offsets
        if kind == "pairs":
            counts = true.T @ labels
            slope[1 + c :] = (counts.sum(axis=1, keepdims=True) * transition - counts).ravel()
        else:
            slope[1 + c] = n * (1 - transition[0, 0]) - (1 - true[np.arange(n), y]).sum()
        return float(-np.log(likelihood).sum() + 0.05 * (offsets**2).sum()), slope

    return objective


def _softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))
