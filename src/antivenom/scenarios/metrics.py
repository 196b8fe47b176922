"""The metrics of all scenarios, and the judge of the central, transfer and acceptance scenarios.

The judge of the federated scenario, `antivenom.scenarios.rounds`, computes the same metrics after every round.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from antivenom.core.errors import DataError, ModelError, PluginError, ScenarioError
from antivenom.core.outcome import Sample
from antivenom.core.protocols import InputFilter, Model, Trigger
from antivenom.core.threat import Goal
from antivenom.core.verdict import ModelVerdict, Verdict, quality
from antivenom.core.wanted import Rows as ChosenRows
from antivenom.data import Dataset, Rows
from antivenom.data.checks import check_shown
from antivenom.models.scikit import SklearnModel
from antivenom.scenarios.copies import call_plugin
from antivenom.scenarios.grants import Aim
from antivenom.scenarios.guarded import shown
from antivenom.scenarios.pictures import pictures
from antivenom.scenarios.samples import triggered
from antivenom.scenarios.targets import classes_wanted


@dataclass(frozen=True, eq=False)
class Triggered:
    """Test rows with the trigger, for which the attacker wants a class.

    Fields:
        x: (m, ...) the inputs with the trigger.
        y: (m,) their true classes.
        wanted: (m,) the classes that the attacker wants.
    """

    x: Rows
    y: np.ndarray
    wanted: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    def metrics(self, predicted: np.ndarray, clean: np.ndarray) -> dict[str, float]:
        """Metrics of predicted classes (m,) of the final model and of the clean twin; -1 for an unusable prediction.

        `asr` (attack success rate) is the share of rows that get their wanted class from the model, and `asr_clean` from
        the clean twin. `robust_accuracy` is the share that keeps its true class. All are nan without rows.
        """
        return {
            "asr": share(predicted == self.wanted),
            "asr_clean": share(clean == self.wanted),
            "robust_accuracy": share(predicted == self.y),
            "triggered_rows": float(len(self)),
        }


@dataclass(frozen=True, eq=False)
class Judge:
    """Measures on test rows, which no attack or defence sees, except those that the scenario grants the attacker.

    The judge uses its own wanted classes, trigger and targets, not those that an attack returns. The exception are attacks
    registered with `learns_trigger`: they are judged on the trigger that they return, which is also put on a clean model.

    Fields:
        test: the test rows without the targets.
        aim: what the attacker wants.
        seen: (n,) bool, the test rows that the attacker holds.
    """

    test: Dataset
    aim: Aim
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def __post_init__(self) -> None:
        """Check that these rows, wanted classes and trigger can be judged, before anything is trained."""
        if not len(self.test):
            raise DataError("test rows to judge on", "none", f"{self.test.name} is too small")
        if self.backdoor:
            if isinstance(self.aim.wanted, ChosenRows):
                raise ScenarioError("wanted classes for all inputs with the trigger", "Rows", "use goal: targeted")
            where = getattr(self.aim.trigger, "where", None)
            if where is not None and not _suits(where, self.test):
                raise ScenarioError(
                    f"{where} rows for {type(self.aim.trigger).__name__}",
                    f"rows of shape {self.test.shape} in {self.test.name}",
                    "choose another trigger",
                )
            self._wanted_of(self.test.y)
            found = self._shown(None, self.test.x)
            if self.test.is_frame or self.test.is_tokens:
                check_shown(self.test, found)

    @property
    def backdoor(self) -> bool:
        return self.aim.threat.goal is Goal.BACKDOOR

    def with_rows(self, test: Dataset) -> Self:
        """The same judge with other test rows, such as those that an evasion changed."""
        return replace(self, test=test)

    def metrics(self, model: Model, gate: InputFilter | None = None) -> dict[str, float]:
        """Metrics of the model on test rows without the trigger, and on the targets.

        `clean_accuracy` is the accuracy, or R squared for regression; `chance_accuracy` that of the most frequent class.
        """
        test = self.test
        found = _regression(model, test) if test.is_regression else self._classification(model, gate)
        found["test_rows"] = float(len(test))
        if self.aim.targets is not None:
            found |= _targeted(model, self.aim.targets.rows, self.aim.targets.labels, gate)
        found |= _custom_metrics(model, test)
        if self.seen.any() and not self.seen.all():
            found |= {f"seen_{name}": value for name, value in _custom_metrics(model, test[self.seen]).items()}
        return found

    def trigger_metrics(
        self,
        model: Model,
        clean: Callable[[], Model],
        learned: Trigger | None = None,
        gate: InputFilter | None = None,
    ) -> dict[str, float]:
        """Metrics of the model and of its clean twin on test rows with the trigger (`Triggered.metrics`).

        `asr` is nan unless the goal is a backdoor.

        Args:
            model: the final model.
            clean: makes the clean twin; called only for backdoors.
            learned: a trigger that the attack learned, or None for the scenario's own.
            gate: the filter of a gate defence, or None.
        """
        if not self.backdoor:
            return {"asr": math.nan}
        triggered = self.triggered(learned)
        if not len(triggered):
            return dict.fromkeys(("asr", "asr_clean", "robust_accuracy"), math.nan)
        predicted = predictions(model, triggered.x)
        found = triggered.metrics(predicted, predictions(clean(), triggered.x)) | {
            "learned_trigger": float(learned is not None)
        }
        if gate is None:
            return found
        return found | self._gated(gate, triggered.x, predicted == triggered.wanted, predicted == triggered.y)

    def triggered(self, learned: Trigger | None = None) -> Triggered:
        """The test rows for which the attacker wants a class, with the scenario's trigger or the learned one."""
        wanted = self._wanted_of(self.test.y)
        rows = self.test[wanted >= 0]
        x = self._shown(learned, rows.x) if len(rows) else rows.x
        return Triggered(x, rows.y, wanted[wanted >= 0])

    def _shown(self, learned: Trigger | None, x: Rows) -> Rows:
        """Inputs with the learned trigger or, without one, the scenario's own."""
        return shown(self.aim.trigger if learned is None else learned, x, self.test.schema)

    def pictures(self, learned: Trigger | None = None, recovered: Trigger | None = None) -> dict[str, np.ndarray]:
        """A test image for which the attacker wants a class: without the trigger, with it, and with the recovered one."""
        if not self.backdoor or not self.test.is_image:
            return {}
        first = np.flatnonzero(self._wanted_of(self.test.y) >= 0)[:1]
        if not len(first):
            return {}
        x = self.test.x[first]
        rows = {"clean": x[0], "triggered": self._shown(learned, x)[0]}
        return pictures(rows if recovered is None else rows | {"recovered": shown(recovered, x)[0]})

    def samples(self, learned: Trigger | None = None) -> tuple[Sample, ...]:
        """A test input that is no image without and with the trigger; images are in `pictures`."""
        if not self.backdoor or self.test.is_image:
            return ()
        first = np.flatnonzero(self._wanted_of(self.test.y) >= 0)[:1]
        if not len(first):
            return ()
        row = self.test[first]
        x = self._shown(learned, row.x)
        return (triggered(row, x, int(self._wanted_of(row.y)[0])),)

    def detection_metrics(self, verdict: ModelVerdict, attacked: bool, model: Model) -> dict[str, float]:
        """The verdict of a model detector, and its quality over classes: which classes does the backdoor lead to?

        `recovered_asr` is the share of test rows of other classes that get the most suspicious class with the trigger that
        the detector recovered for it.
        """
        found = {"detected": float(verdict.flag), "model_score": verdict.score}
        if verdict.trigger is not None and verdict.classes is not None and isinstance(self.test.x, np.ndarray):
            top = int(verdict.classes.scores.argmax())
            others = self.test[self.test.y != top]
            found["recovered_asr"] = share(predictions(model, shown(verdict.trigger, others.x)) == top)
        if verdict.classes is None:
            return found | dict.fromkeys(("detection_auroc", "detection_tpr", "detection_fpr"), math.nan)
        c = len(verdict.classes)
        truth = np.zeros(c, dtype=bool)
        if attacked and self.backdoor:
            wanted = self._wanted_of(np.arange(c))
            truth[wanted[wanted >= 0]] = True
        return found | detection(verdict.classes, truth)

    def subpopulation_metrics(
        self, model: Model, subpopulation: Callable[[Rows], np.ndarray] | None
    ) -> dict[str, float]:
        """Accuracy on the subpopulation that the attack aims at, and on the other rows; nan for no rows.

        `subpopulation` maps rows (m, ...) to (m,) bool; None gives no metrics.
        """
        if subpopulation is None:
            return {}
        inside = np.asarray(call_plugin(subpopulation, self.test.x))
        if inside.shape != (len(self.test),) or inside.dtype != bool:
            raise PluginError(f"a subpopulation: {len(self.test)} bools", f"{inside.dtype} {inside.shape}")
        right = predictions(model, self.test.x) == self.test.y
        shares = [float(part.mean()) if len(part) else math.nan for part in (right[inside], right[~inside])]
        names = ("subpopulation_accuracy", "other_accuracy", "subpopulation_rows")
        return dict(zip(names, (*shares, float(inside.sum())), strict=True))

    def _wanted_of(self, y: np.ndarray) -> np.ndarray:
        """(m,) the class that the attacker wants for rows of true classes y (m,); -1 for rows without one."""
        return classes_wanted(self.aim.wanted, y, self.test.num_classes)

    def _classification(self, model: Model, gate: InputFilter | None) -> dict[str, float]:
        y = self.test.y
        right = predictions(model, self.test.x) == y
        found = {"chance_accuracy": float(np.bincount(y).max() / len(y))}
        if gate is not None:
            refused = gate(self.test.x).flags
            found |= {"gate_frr": float(refused.mean()), "ungated_accuracy": float(right.mean())}
            right = right & ~refused  # a refused input counts as a wrong answer
        found["clean_accuracy"] = float(right.mean())
        if self.seen.any() and not self.seen.all():
            found["unseen_accuracy"] = float(right[~self.seen].mean())
        if hasattr(model, "certified"):
            found |= _certificate(np.asarray(call_plugin(model, self.test.x, call=model.certified)), right)
        return found

    def _gated(self, gate: InputFilter, x: Rows, obeyed: np.ndarray, right: np.ndarray) -> dict[str, float]:
        """End-to-end metrics behind a gate. `gate_far` is the share of successful triggered inputs that it lets pass.

        For each triggered input x (m, ...), `obeyed` (m,) says whether the model gives the wanted class, and `right` (m,)
        whether it gives the true one.
        """
        verdict, clean = gate(x), gate(self.test.x)
        passed = ~verdict.flags
        scores = np.concatenate([clean.scores, verdict.scores[obeyed]])
        flags = np.concatenate([clean.flags, verdict.flags[obeyed]])
        judged = quality(Verdict(scores, flags), np.arange(len(scores)) >= len(clean))
        return {
            "asr": float((obeyed & passed).mean()),
            "ungated_asr": float(obeyed.mean()),
            "robust_accuracy": float((right & passed).mean()),
            "gate_far": float(passed[obeyed].mean()) if obeyed.any() else math.nan,
            "gate_auroc": judged.auroc,
        }


def _suits(where: str, data: Dataset) -> bool:
    return where != "image" or data.is_image if where in ("image", "table") else True


def _targeted(model: Model, rows: Dataset, labels: np.ndarray, gate: InputFilter | None) -> dict[str, float]:
    """Share of targets that get their wanted class, its mean probability, and the share that keeps its true class."""
    r = len(labels)
    shares = np.asarray(call_plugin(model, rows.x, call=model.predict_proba))
    if shares.shape[:1] != (r,) or shares.ndim != 2 or not np.isfinite(shares).all():
        raise ModelError(
            f"finite probabilities of shape ({r}, c) from the model", f"{shares.dtype} of shape {shares.shape}"
        )
    predicted = predictions(model, rows.x)
    if gate is not None:
        predicted = np.where(gate(rows.x).flags, -1, predicted)
    return on_targets(predicted, shares, rows.y, labels)


def on_targets(predicted: np.ndarray, shares: np.ndarray, y: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Metrics of the targets from predicted classes (r,), -1 for a refused or unusable one, and probabilities (r, c).

    `targets_hit` is the share that gets the wanted class, and `target_confidence` the mean probability of that class.
    `targets_right` is the share that keeps its true class, and `targets` the number of targets.
    """
    return {
        "targets_hit": share(predicted == labels),
        "target_confidence": float(shares[np.arange(len(labels)), labels].mean()),
        "targets_right": share(predicted == y),
        "targets": float(len(labels)),
    }


def _regression(model: Model, test: Dataset) -> dict[str, float]:
    """R squared, which serves as accuracy: 1 is perfect, 0 no better than the mean of y. `mse` is in squared units of y.

    `clean_accuracy` is R squared clipped at 0, since goals and reports expect a share.
    """
    mse = float(((predictions(model, test.x, regression=True) - test.y) ** 2).mean())
    spread = float(test.y.var())
    r2 = 1 - mse / spread if spread else math.nan
    return {"clean_accuracy": max(r2, 0.0) if spread else math.nan, "chance_accuracy": 0.0, "mse": mse, "r2": r2}


def _certificate(radii: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Certified metrics from radii (n,), the number of poisoned rows that cannot change each answer.

    A wrong answer has the radius -1.
    """
    if radii.shape != right.shape or radii.dtype.kind not in "iu":
        raise ModelError(f"a whole radius for each of {len(right)} rows", f"{radii.dtype} {radii.shape}")
    held = np.where(right, radii, -1)
    middle = np.sort(held)[::-1][math.ceil(len(held) / 2) - 1]  # the largest radius that half of the rows reach
    return {"certified_median": float(middle), "certified_accuracy": float((held >= 1).mean())}


def _custom_metrics(model: Model, test: Dataset) -> dict[str, float]:
    """Metrics that the model or its estimator computes in a method `judged`, such as the rates of a spam filter."""
    if hasattr(model, "judged"):
        found = call_plugin(model, test.x, test.y, call=model.judged)
    elif isinstance(model, SklearnModel) and hasattr(model.estimator, "judged"):
        found = model.estimator.judged(test.flat, test.y)
    else:
        found = {}
    return {str(name): float(value) for name, value in found.items()}


def predictions(model: Model, x: Rows, regression: bool = False) -> np.ndarray:
    """(m,) predicted classes, or numbers for regression, checked for shape and type.

    Raises:
        ModelError: predictions of another shape or type.
    """
    found, m = np.asarray(call_plugin(model, x, call=model.predict)), x.shape[0]
    kinds, what = ("f", "numbers") if regression else ("iu", "classes")
    if found.shape != (m,) or found.dtype.kind not in kinds:
        raise ModelError(f"{m} predicted {what}", f"{found.dtype} of shape {found.shape}", "return one for each row")
    return found


def share(which: np.ndarray) -> float:
    """Share of True in (m,) bools; nan if there are none."""
    return float(which.mean()) if len(which) else math.nan


def detection(verdict: Verdict, truth: np.ndarray) -> dict[str, float]:
    """Quality of a verdict over n items given the truth (n,) bool: AUROC and rates, nan where undefined."""
    judged = quality(verdict, truth)
    return {"detection_auroc": judged.auroc, "detection_tpr": judged.tpr, "detection_fpr": judged.fpr}
