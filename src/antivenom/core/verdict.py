"""What a detector says: a score and a flag per item. Whether it was right is for the judge alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from antivenom.core.errors import PluginError


@dataclass(frozen=True, eq=False)
class Verdict:
    """Suspicion over n items (rows, classes, agents).

    Fields:
        scores: (n,) float, higher is more suspicious; any scale.
        flags: (n,) bool, what the detector would remove.
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
                "a score for every item", f"{int(np.isnan(scores).sum())} NaN", "score what you cannot judge 0"
            )
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "flags", flags)

    def __len__(self) -> int:
        return len(self.flags)


@dataclass(frozen=True, eq=False)
class ModelVerdict:
    """Suspicion of one finished model.

    Fields:
        score: higher is more suspicious; any scale.
        flag: whether the detector would reject the model.
        classes: suspicion over the c classes a backdoor may lead to, or None if the method does not tell them apart.
    """

    score: float
    flag: bool
    classes: Verdict | None = None

    def __post_init__(self) -> None:
        if np.isnan(float(self.score)):
            raise PluginError("a score for the model", "NaN", "score what you cannot judge 0")
        object.__setattr__(self, "score", float(self.score))
        object.__setattr__(self, "flag", bool(self.flag))

    @classmethod
    def of_classes(cls, classes: Verdict) -> ModelVerdict:
        """The verdict of a method that judges classes: the worst class's score, flagged if any class is."""
        return cls(float(classes.scores.max(initial=-np.inf)), bool(classes.flags.any()), classes)


@dataclass(frozen=True)
class Quality:
    """How well a verdict met the truth. A number that is undefined is nan, never 0.

    Fields:
        auroc: chance that a poisoned item scores above a clean one; nan without both kinds.
        tpr: share of the poisoned items flagged; nan if there are none.
        fpr: share of the clean items flagged; nan if there are none.
    """

    auroc: float
    tpr: float
    fpr: float


def quality(verdict: Verdict, truth: np.ndarray) -> Quality:
    """Judge a verdict against the true mask, (n,) bool. Only the engine may call this."""
    from scipy.stats import rankdata  # imported here: whoever writes a plugin pays for neither
    from sklearn.metrics import roc_auc_score

    truth = np.asarray(truth, dtype=bool)
    if truth.shape != verdict.flags.shape:
        raise PluginError(f"a verdict over {truth.size} items", f"{len(verdict)}", "one score and one flag per item")
    bad, good = truth.sum(), (~truth).sum()
    ranks = rankdata(verdict.scores)  # all that AUROC looks at; unlike the scores they are always finite
    return Quality(
        auroc=float(roc_auc_score(truth, ranks)) if bad and good else float("nan"),
        tpr=float(verdict.flags[truth].mean()) if bad else float("nan"),
        fpr=float(verdict.flags[~truth].mean()) if good else float("nan"),
    )
