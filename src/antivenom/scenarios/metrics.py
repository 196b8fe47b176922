"""The judge of the central and transfer arrows: looks at the final model with the truth in hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from antivenom.core.errors import DataError, ModelError, PluginError, ScenarioError
from antivenom.core.protocols import Model, Trigger
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict, quality
from antivenom.data import Dataset, Rows
from antivenom.models.wrappers import SklearnModel
from antivenom.scenarios.guarded import with_trigger


@dataclass(frozen=True, eq=False)
class Judge:
    """Measures on the test rows, which no attack or defence saw, unless the scenario grants the attacker some.

    Fields:
        test: those rows.
        goal: what the attacker wants.
        target: the class wanted (backdoor).
        trigger: what is shown (backdoor).
        seen: (n,) bool, the test rows that the attacker was granted.
    """

    test: Dataset
    goal: Goal
    target: int
    trigger: Trigger
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def __post_init__(self) -> None:
        """Refuse what cannot be judged before anything is trained."""
        if not len(self.test):
            raise DataError("test rows to judge on", "none", f"{self.test.name} is too small")
        if self.goal is not Goal.BACKDOOR:
            return
        c = self.test.num_classes
        if not 0 <= self.target < c:
            raise ScenarioError(f"target from 0 to {c - 1}", f"{self.target}", f"{self.test.name} has {c} classes")
        with_trigger(self.trigger, self.test.dense)

    def shown(self, test: Dataset) -> Self:
        """The judge of the same rows in another guise."""
        return replace(self, test=test)

    def metrics(self, model: Model, trigger: Trigger | None = None) -> dict[str, float]:
        """What the final model does; `trigger` is the attack's own, if it made one."""
        test = self.test
        found = _regression(model, test) if test.is_regression else self._classification(model)
        found["test_rows"] = float(len(test))
        found["asr"] = self._success(model, trigger or self.trigger) if self.goal is Goal.BACKDOOR else math.nan
        found |= _own_words(model, test)
        if self.seen.any() and not self.seen.all():
            found |= {f"seen_{name}": value for name, value in _own_words(model, test[self.seen]).items()}
        return found

    def part(self, model: Model, subpopulation: Callable[[Rows], np.ndarray] | None) -> dict[str, float]:
        """How the model does on the part of the population that the attack means, and on the others; nan without rows."""
        if subpopulation is None:
            return {}
        inside = np.asarray(subpopulation(self.test.x))
        if inside.shape != (len(self.test),) or inside.dtype != bool:
            raise PluginError(f"a subpopulation: {len(self.test)} bools", f"{inside.dtype} {inside.shape}")
        right = _answers(model, self.test.x) == self.test.y
        shares = [float(part.mean()) if len(part) else math.nan for part in (right[inside], right[~inside])]
        names = ("subpopulation_accuracy", "other_accuracy", "subpopulation_rows")
        return dict(zip(names, (*shares, float(inside.sum())), strict=True))

    def _classification(self, model: Model) -> dict[str, float]:
        y = self.test.y
        right = _answers(model, self.test.x) == y
        found = {"clean_accuracy": float(right.mean()), "chance_accuracy": float(np.bincount(y).max() / len(y))}
        if self.seen.any() and not self.seen.all():
            found["unseen_accuracy"] = float(right[~self.seen].mean())
        if hasattr(model, "certified"):
            found |= _certificate(np.asarray(model.certified(self.test.x)), right)
        return found

    def _success(self, model: Model, trigger: Trigger) -> float:
        """Share of the rows of other classes that the trigger turns into the target; nan if there are none."""
        others = self.test.dense[self.test.y != self.target]
        if not len(others):
            return math.nan
        return float((_answers(model, with_trigger(trigger, others)) == self.target).mean())


def _regression(model: Model, test: Dataset) -> dict[str, float]:
    """R squared on the scale of an accuracy: 1 is perfect, 0 no better than the mean. `mse` in squared units of y."""
    mse = float(((_answers(model, test.x, regression=True) - test.y) ** 2).mean())
    spread = float(test.y.var())
    r2 = 1 - mse / spread if spread else math.nan
    return {"clean_accuracy": max(r2, 0.0) if spread else math.nan, "chance_accuracy": 0.0, "mse": mse, "r2": r2}


def _certificate(radii: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """What a certified model proves on the test rows; a wrong answer is certified for nothing (-1)."""
    if radii.shape != right.shape or radii.dtype.kind not in "iu":
        raise ModelError(f"a whole radius for each of {len(right)} rows", f"{radii.dtype} {radii.shape}")
    held = np.where(right, radii, -1)
    middle = np.sort(held)[::-1][math.ceil(len(held) / 2) - 1]  # the largest radius that half of the rows reach
    return {"certified_median": float(middle), "certified_accuracy": float((held >= 1).mean())}


def _own_words(model: Model, test: Dataset) -> dict[str, float]:
    """Further numbers that the model, or its estimator, itself measures, such as a spam filter's third answer."""
    if hasattr(model, "judged"):
        found = model.judged(test.x, test.y)
    elif isinstance(model, SklearnModel) and hasattr(model.estimator, "judged"):
        found = model.estimator.judged(test.flat, test.y)
    else:
        found = {}
    return {str(name): float(value) for name, value in found.items()}


def _answers(model: Model, x: Rows, regression: bool = False) -> np.ndarray:
    """(m,) predicted classes or numbers, looked at."""
    found, m = np.asarray(model.predict(x)), x.shape[0]
    kinds, what = ("f", "numbers") if regression else ("iu", "classes")
    if found.shape != (m,) or found.dtype.kind not in kinds:
        raise ModelError(f"{m} predicted {what}", f"{found.dtype} of shape {found.shape}", "mend `predict`")
    return found


def detection(verdict: Verdict, truth: np.ndarray) -> dict[str, float]:
    """How well a verdict met the truth (n,) bool; what is undefined is nan."""
    judged = quality(verdict, truth)
    return {"detection_auroc": judged.auroc, "detection_tpr": judged.tpr, "detection_fpr": judged.fpr}


def class_detection(verdict: Verdict, target: int | None) -> dict[str, float]:
    """The same for a verdict over classes; `target` is the backdoor's, or None without one."""
    truth = np.arange(len(verdict)) == (-1 if target is None else target)
    return {"detected": float(verdict.flags.any()), **detection(verdict, truth)}
