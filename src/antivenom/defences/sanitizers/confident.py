"""Sanitizers that compare labels with out-of-sample probabilities: confident learning, and a model of label noise."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Access, Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.crossfit import judge_of, keys_of, out_of_sample
from antivenom.defences.labels import check_rate, judged_labels

PRUNED = ("class", "noise-rate", "both", "confident-joint")
SCORES = ("margin", "self-confidence")


def confident_joint(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(c, c) counts: rows labelled i that are confidently of class j.

    A row counts for class j if its probability of j reaches the mean probability of j among the rows labelled j. If it
    reaches several, the most probable one counts.
    """
    joint = np.zeros((probabilities.shape[1],) * 2, dtype=np.int64)
    sure = _confident(probabilities, y)
    np.add.at(joint, (y[sure >= 0], sure[sure >= 0]), 1)
    return joint


def _confident(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,) the class that each row confidently has, or -1."""
    c = probabilities.shape[1]
    limits = np.array([probabilities[y == j, j].mean() if (y == j).any() else np.inf for j in range(c)])
    reached = np.where(probabilities >= limits - 1e-12, probabilities, -1.0)
    return np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), -1)


def noise_counts(joint: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(c, c) the joint, scaled so that row i sums to the number of rows labelled i."""
    rows = np.bincount(y, minlength=len(joint))
    # A class without a confident row has no estimate of its noise: all its rows stay where they are.
    filled = joint + np.diag(np.where(joint.sum(axis=1) == 0, 1, 0))
    return np.asarray(filled / filled.sum(axis=1, keepdims=True) * rows[:, None])


@sanitizer(
    access=(Access.DATA_MANIPULATION, Access.DATA_INJECTION),
    goal=(Goal.AVAILABILITY, Goal.TARGETED, Goal.BACKDOOR),
    cite="Northcutt, Jiang and Chuang 2021, JAIR 70, arXiv:1911.00068",
)
class ConfidentLearning:
    """Flags rows whose label contradicts out-of-sample probabilities, as many as the confident joint estimates to be wrong.

    The pipeline's model is trained on four fifths of the rows and judges the others, in turn. Weakness: where classes overlap,
    honest rows count as noise, so that there is no control of the false alarms. Poison that the model learns to expect, such as
    a backdoor or a flipped cluster, is not found.

    Fields:
        prune: "class" flags the rows with the lowest probability of their label, as many in each class as the joint says;
            "noise-rate" the rows with the largest margin for each pair of classes; "both" rows that both flag;
            "confident-joint" every row that is confidently of another class.
        score: "margin" is the largest probability of another class minus that of the label, "self-confidence" 1 minus the
            probability of the label.

    Reference: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70,
    arXiv:1911.00068, equations 1 to 3 and section 3.2.
    """

    prune: str = "noise-rate"
    score: str = "margin"

    def __post_init__(self) -> None:
        if self.prune not in PRUNED or self.score not in SCORES:
            raise PluginError(f"prune among {PRUNED} and score among {SCORES}", f"{self.prune!r} and {self.score!r}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        found = out_of_sample(
            judge_of(data, context.fit), keys_of(data), data.y, data.num_classes, context.streams.child("crossfit")
        )
        p, y = found.probabilities, data.y
        own = p[np.arange(len(y)), y]
        scores = 1 - own if self.score == "self-confidence" else margins(p)[np.arange(len(y)), y]
        return Verdict(scores, pruned(p, y, self.prune))


def margins(probabilities: np.ndarray) -> np.ndarray:
    """(n, c) the largest probability of another class minus that of class c."""
    order = np.sort(probabilities, axis=1)
    top, second = order[:, -1:], order[:, -2:-1] if probabilities.shape[1] > 1 else 0 * order
    others = np.where(np.arange(probabilities.shape[1]) == probabilities.argmax(axis=1)[:, None], second, top)
    return np.asarray(others - probabilities)


def pruned(probabilities: np.ndarray, y: np.ndarray, prune: str) -> np.ndarray:
    """(n,) bool: the rows that confident learning would remove."""
    if prune == "confident-joint":
        sure = _confident(probabilities, y)
        return np.asarray((sure >= 0) & (sure != y))
    counts = noise_counts(confident_joint(probabilities, y), y)
    by_class, by_rate = np.zeros(len(y), dtype=bool), np.zeros(len(y), dtype=bool)
    for i in range(len(counts)):
        own = np.flatnonzero(y == i)
        wrong = round(float(counts[i].sum() - counts[i, i]))
        by_class[own[np.argsort(probabilities[own, i], kind="stable")[:wrong]]] = True
        for j in range(len(counts)):
            if j != i:
                gap = probabilities[own, i] - probabilities[own, j]
                by_rate[own[np.argsort(gap, kind="stable")[: round(float(counts[i, j]))]]] = True
    return {"class": by_class, "noise-rate": by_rate, "both": by_class & by_rate}[prune]


@sanitizer(
    access=(Access.DATA_MANIPULATION, Access.DATA_INJECTION),
    goal=(Goal.AVAILABILITY, Goal.TARGETED, Goal.BACKDOOR),
    cite="Bootkrajang and Kaban 2012, ECML PKDD",
)
class LabelNoiseModel:
    """Flags rows whose label is probably wrong by a model of label noise that is fitted to out-of-sample probabilities.

    The model separates labels that are wrong from rows that are hard, so that the number of honest rows among the flagged ones
    can be estimated and limited. Weakness: it assumes that the rate of wrong labels depends on the class and not on the row.
    Flips that an attacker places where the model errs anyway pass for hard rows, and poison that the model learns to expect,
    such as a backdoor, is not found.

    Fields:
        false_alarms: largest share of the honest rows that is flagged, above 0 and below 1.

    Reference: Bootkrajang and Kaban 2012, "Label-noise robust logistic regression and its applications", ECML PKDD.
    """

    false_alarms: float = 0.01

    def __post_init__(self) -> None:
        check_rate(self.false_alarms)

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        return judged_labels(data, context.fit, context.streams, self.false_alarms).verdict
