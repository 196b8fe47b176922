"""The judge of the central and transfer arrows: looks at the final model with the truth in hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from antivenom.data import Dataset
from antivenom.errors import DataError, ModelError, ScenarioError
from antivenom.models.face import Model
from antivenom.protocols import Trigger
from antivenom.scenarios.checks import with_trigger
from antivenom.threat import Goal
from antivenom.verdict import Verdict, quality


@dataclass(frozen=True, eq=False)
class Judge:
    """Measures on the test rows, which no attack or defence saw.

    Fields:
        test: those rows.
        goal: what the attacker wants.
        target: the class wanted (backdoor).
        trigger: what is shown (backdoor).
    """

    test: Dataset
    goal: Goal
    target: int
    trigger: Trigger

    def __post_init__(self) -> None:
        """Refuse what cannot be judged before anything is trained."""
        c = self.test.num_classes
        if not len(self.test):
            raise DataError("test rows to judge on", "none", f"{self.test.name} is too small")
        if self.goal is not Goal.BACKDOOR:
            return
        if not 0 <= self.target < c:
            raise ScenarioError(f"target from 0 to {c - 1}", f"{self.target}", f"{self.test.name} has {c} classes")
        with_trigger(self.trigger, self.test.x)

    def metrics(self, model: Model, trigger: Trigger | None = None) -> dict[str, float]:
        """What the final model does; `trigger` is the attack's own, if it made one."""
        y = self.test.y
        return {
            "clean_accuracy": float((_classes(model, self.test.x) == y).mean()),
            "chance_accuracy": float(np.bincount(y).max() / len(y)),
            "test_rows": float(len(y)),
            "asr": self._success(model, trigger or self.trigger) if self.goal is Goal.BACKDOOR else math.nan,
        }

    def _success(self, model: Model, trigger: Trigger) -> float:
        """Share of the rows of other classes that the trigger turns into the target; nan if there are none."""
        others = self.test.x[self.test.y != self.target]
        if not len(others):
            return math.nan
        return float((_classes(model, with_trigger(trigger, others)) == self.target).mean())


def _classes(model: Model, x: np.ndarray) -> np.ndarray:
    """(m,) predicted classes, looked at."""
    found = np.asarray(model.predict(x))
    if found.shape != (len(x),) or found.dtype.kind not in "iu":
        raise ModelError(f"{len(x)} predicted classes", f"{found.dtype} of shape {found.shape}", "mend `predict`")
    return found


def detection(verdict: Verdict, truth: np.ndarray) -> dict[str, float]:
    """How well a verdict met the truth (n,) bool; what is undefined is nan."""
    judged = quality(verdict, truth)
    return {"detection_auroc": judged.auroc, "detection_tpr": judged.tpr, "detection_fpr": judged.fpr}


def class_detection(verdict: Verdict, target: int | None) -> dict[str, float]:
    """The same for a verdict over classes; `target` is the backdoor's, or None without one."""
    truth = np.arange(len(verdict)) == (-1 if target is None else target)
    return {"detected": float(verdict.flags.any()), **detection(verdict, truth)}
