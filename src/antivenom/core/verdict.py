"""The answers of detectors: a score and a flag for each item. Only the judge compares them with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from antivenom.core.errors import PluginError

if TYPE_CHECKING:
    from antivenom.core.protocols.central import Trigger


@dataclass(frozen=True, eq=False)
class Verdict:
    """A detector's judgement of n items: rows, classes, inputs or agents.

    >>> verdict = Verdict(scores=[0.1, 2.5, 0.3], flags=[False, True, False])
    >>> len(verdict), verdict.flags.sum()
    (3, np.int64(1))

    Fields:
        scores: (n,) float, higher is more suspicious; any scale, infinite values allowed.
        flags: (n,) bool, True for the items that the detector would remove.

    Raises:
        PluginError: the shapes differ, a score is NaN, or the flags are not booleans.
    """

    scores: np.ndarray
    flags: np.ndarray

    def __post_init__(self) -> None:
        scores = np.asarray(self.scores, dtype=np.float64)
        flags = np.asarray(self.flags)
        if flags.dtype != bool and flags.size:
            raise PluginError("flags that are True or False", f"{flags.dtype}", "compare the scores with a threshold")
        flags = flags.astype(bool)
        if scores.shape != flags.shape or scores.ndim != 1:
            raise PluginError("scores and flags of one shape (n,)", f"{scores.shape} and {flags.shape}", "one per item")
        if np.isnan(scores).any():
            raise PluginError(
                "a score for every item", f"{int(np.isnan(scores).sum())} NaN", "use 0 for an item you cannot judge"
            )
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "flags", flags)

    def __len__(self) -> int:
        return len(self.flags)


@dataclass(frozen=True, eq=False)
class ModelVerdict:
    """A detector's judgement of one finished model.

    Fields:
        score: higher is more suspicious; any scale.
        flag: whether the detector would reject the model.
        classes: verdict over the c classes as targets of a backdoor, or None if the method does not tell them apart.
        p_value: rank of the score among those of clean reference models, above 0 and up to 1. A clean model that is
            exchangeable with them has a p-value of at most a with a probability of at most a. None without references.
        notes: whole sentences that a reader of the verdict must know, such as which classes were not judged.
        trigger: the trigger that was recovered for the class with the highest score, or None.
    """

    score: float
    flag: bool
    classes: Verdict | None = None
    p_value: float | None = None
    notes: tuple[str, ...] = ()
    trigger: Trigger | None = None

    def __post_init__(self) -> None:
        if np.isnan(float(self.score)):
            raise PluginError("a score for the model", "NaN", "use 0 for a model you cannot judge")
        if self.p_value is not None and not 0 < self.p_value <= 1:
            raise PluginError("a p-value above 0 and up to 1, or None", f"{self.p_value}")
        object.__setattr__(self, "score", float(self.score))
        object.__setattr__(self, "flag", bool(self.flag))

    @classmethod
    def of_classes(cls, classes: Verdict, p_value: float | None = None, notes: tuple[str, ...] = ()) -> ModelVerdict:
        """The verdict of a method that judges classes: the highest score of a class, and flagged if any class is."""
        score = float(classes.scores.max(initial=-np.inf))
        return cls(score, bool(classes.flags.any()), classes, p_value, notes)


@dataclass(frozen=True)
class Quality:
    """How well a verdict agrees with the truth. A number that is undefined is nan, never 0.

    Fields:
        auroc: probability that a poisoned item scores above a clean one; nan unless there are items of both kinds.
        tpr: true positive rate, the share of the poisoned items that is flagged; nan if no item is poisoned.
        fpr: false positive rate, the share of the clean items that is flagged; nan if no item is clean.
    """

    auroc: float
    tpr: float
    fpr: float


def quality(verdict: Verdict, truth: np.ndarray) -> Quality:
    """Compare a verdict with the true poison mask, (n,) bool. Only the judge calls this: defences never hold the mask."""
    from scipy.stats import rankdata  # here, because plugins import this module and should not pay for either import
    from sklearn.metrics import roc_auc_score

    truth = np.asarray(truth, dtype=bool)
    if truth.shape != verdict.flags.shape:
        raise PluginError(f"a verdict over {truth.size} items", f"{len(verdict)}", "one score and one flag per item")
    bad, good = truth.sum(), (~truth).sum()
    ranks = rankdata(verdict.scores)  # AUROC depends on ranks alone, and scikit-learn refuses infinite scores
    return Quality(
        auroc=float(roc_auc_score(truth, ranks)) if bad and good else float("nan"),
        tpr=float(verdict.flags[truth].mean()) if bad else float("nan"),
        fpr=float(verdict.flags[~truth].mean()) if good else float("nan"),
    )
