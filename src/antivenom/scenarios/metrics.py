"""What all arrows measure, and the judge of the central and transfer arrows, who knows the truth.

The judge of the federated arrow, `antivenom.scenarios.rounds`, uses the same measures after every round.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from antivenom.core.errors import DataError, ModelError, PluginError, ScenarioError
from antivenom.core.protocols import InputFilter, Model, Trigger
from antivenom.core.threat import Goal
from antivenom.core.verdict import ModelVerdict, Verdict, quality
from antivenom.core.wanted import Rows as ChosenRows
from antivenom.data import Dataset, Rows
from antivenom.data.checks import check_shown
from antivenom.models.wrappers import SklearnModel
from antivenom.scenarios.copies import called
from antivenom.scenarios.grants import Aim
from antivenom.scenarios.guarded import shown
from antivenom.scenarios.targets import classes_wanted


@dataclass(frozen=True, eq=False)
class Triggered:
    """Test rows of which something is wanted, as the attacker shows them.

    Fields:
        x: (m, ...) the inputs with the trigger in them.
        y: (m,) their true classes.
        wanted: (m,) the classes wanted.
    """

    x: Rows
    y: np.ndarray
    wanted: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    def metrics(self, said: np.ndarray, clean: np.ndarray) -> dict[str, float]:
        """Of the final model's answers (m,) and the clean twin's; -1 where a model has no usable answer.

        `asr` and `asr_clean`: share of the rows that get the class wanted, from the model and from the clean twin.
        `robust_accuracy`: share that keep their true class. nan without rows.
        """
        return {
            "asr": share(said == self.wanted),
            "asr_clean": share(clean == self.wanted),
            "robust_accuracy": share(said == self.y),
            "triggered_rows": float(len(self)),
        }


@dataclass(frozen=True, eq=False)
class Judge:
    """Measures on the test rows, which no attack or defence saw, unless the scenario grants the attacker some.

    The classes wanted, the trigger and the targets are the judge's own, never what an attack returned. Only an attack
    registered with `learns_trigger` is judged on the trigger that it returned, and then on a clean model as well.

    Fields:
        test: those rows, without the targets.
        aim: what the attacker wants.
        seen: (n,) bool, the test rows that the attacker was granted.
    """

    test: Dataset
    aim: Aim
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def __post_init__(self) -> None:
        """Refuse what cannot be judged before anything is trained."""
        if not len(self.test):
            raise DataError("test rows to judge on", "none", f"{self.test.name} is too small")
        if self.backdoor:
            if isinstance(self.aim.wanted, ChosenRows):
                raise ScenarioError("wanted of every input with the trigger", "Rows", "use goal: targeted")
            where = getattr(self.aim.trigger, "where", None)
            if where is not None and not _suits(where, self.test):
                raise ScenarioError(
                    f"{where} rows for {type(self.aim.trigger).__name__}",
                    f"rows of shape {self.test.shape} in {self.test.name}",
                    "choose another trigger",
                )
            self._wanted_of(self.test.y)
            found = shown(self.aim.trigger, self.test.x)
            if self.test.is_frame or self.test.is_tokens:
                check_shown(self.test, found)

    @property
    def backdoor(self) -> bool:
        return self.aim.threat.goal is Goal.BACKDOOR

    def shown(self, test: Dataset) -> Self:
        """The judge of the same rows in another guise."""
        return replace(self, test=test)

    def metrics(self, model: Model, gate: InputFilter | None = None) -> dict[str, float]:
        """What the final model does on rows without a trigger, and on the targets."""
        test = self.test
        found = _regression(model, test) if test.is_regression else self._classification(model, gate)
        found["test_rows"] = float(len(test))
        if self.aim.targets is not None:
            found |= _targeted(model, self.aim.targets.rows, self.aim.targets.labels, gate)
        found |= _custom_metrics(model, test)
        if self.seen.any() and not self.seen.all():
            found |= {f"seen_{name}": value for name, value in _custom_metrics(model, test[self.seen]).items()}
        return found

    def backdoored(
        self,
        model: Model,
        clean: Callable[[], Model],
        learned: Trigger | None = None,
        gate: InputFilter | None = None,
    ) -> dict[str, float]:
        """What the trigger does to the final model and to the clean twin's (`Triggered`); nan without a backdoor goal."""
        if not self.backdoor:
            return {"asr": math.nan}
        triggered = self.triggered(learned)
        if not len(triggered):
            return dict.fromkeys(("asr", "asr_clean", "robust_accuracy"), math.nan)
        said = answers(model, triggered.x)
        found = triggered.metrics(said, answers(clean(), triggered.x)) | {"learned_trigger": float(learned is not None)}
        if gate is None:
            return found
        return found | self._gated(gate, triggered.x, said == triggered.wanted, said == triggered.y)

    def triggered(self, learned: Trigger | None = None) -> Triggered:
        """The test rows of which something is wanted, with the scenario's trigger in them, or the one that was learned."""
        wanted = self._wanted_of(self.test.y)
        rows = self.test[wanted >= 0]
        x = shown(self.aim.trigger if learned is None else learned, rows.x) if len(rows) else rows.x
        return Triggered(x, rows.y, wanted[wanted >= 0])

    def detected(self, verdict: ModelVerdict, attacked: bool) -> dict[str, float]:
        """How well a verdict met the truth: of the model, and of the classes that a backdoor leads to."""
        found = {"detected": float(verdict.flag), "model_score": verdict.score}
        if verdict.classes is None:
            return found | dict.fromkeys(("detection_auroc", "detection_tpr", "detection_fpr"), math.nan)
        c = len(verdict.classes)
        truth = np.zeros(c, dtype=bool)
        if attacked and self.backdoor:
            led_to = self._wanted_of(np.arange(c))
            truth[led_to[led_to >= 0]] = True
        return found | detection(verdict.classes, truth)

    def part(self, model: Model, subpopulation: Callable[[Rows], np.ndarray] | None) -> dict[str, float]:
        """How the model does on the part of the population that the attack means, and on the others; nan without rows."""
        if subpopulation is None:
            return {}
        inside = np.asarray(called(subpopulation, self.test.x))
        if inside.shape != (len(self.test),) or inside.dtype != bool:
            raise PluginError(f"a subpopulation: {len(self.test)} bools", f"{inside.dtype} {inside.shape}")
        right = answers(model, self.test.x) == self.test.y
        shares = [float(part.mean()) if len(part) else math.nan for part in (right[inside], right[~inside])]
        names = ("subpopulation_accuracy", "other_accuracy", "subpopulation_rows")
        return dict(zip(names, (*shares, float(inside.sum())), strict=True))

    def _wanted_of(self, y: np.ndarray) -> np.ndarray:
        """(m,) the class wanted of rows of true classes y, -1 where nothing is."""
        return classes_wanted(self.aim.wanted, y, self.test.num_classes)

    def _classification(self, model: Model, gate: InputFilter | None) -> dict[str, float]:
        y = self.test.y
        right = answers(model, self.test.x) == y
        found = {"chance_accuracy": float(np.bincount(y).max() / len(y))}
        if gate is not None:
            refused = gate(self.test.x).flags
            found |= {"gate_frr": float(refused.mean()), "ungated_accuracy": float(right.mean())}
            right = right & ~refused  # who is refused gets no right answer
        found["clean_accuracy"] = float(right.mean())
        if self.seen.any() and not self.seen.all():
            found["unseen_accuracy"] = float(right[~self.seen].mean())
        if hasattr(model, "certified"):
            found |= _certificate(np.asarray(called(model, self.test.x, call=model.certified)), right)
        return found

    def _gated(self, gate: InputFilter, x: Rows, obeyed: np.ndarray, right: np.ndarray) -> dict[str, float]:
        """End to end: what gets past the gate. `gate_far`: share of the successful triggered inputs that it lets pass."""
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
    """How many targets got the class wanted, and how sure the model is of it on average."""
    r = len(labels)
    shares = np.asarray(called(model, rows.x, call=model.predict_proba))
    if shares.shape[:1] != (r,) or shares.ndim != 2 or not np.isfinite(shares).all():
        raise ModelError(
            f"finite probabilities of {r} rows", f"{shares.dtype} of shape {shares.shape}", "mend the model"
        )
    said = answers(model, rows.x)
    if gate is not None:
        said = np.where(gate(rows.x).flags, -1, said)
    return on_targets(said, shares, rows.y, labels)


def on_targets(said: np.ndarray, shares: np.ndarray, y: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Of the answers (r,) and probabilities (r, c) of the targets; -1 where an answer was refused or is not usable.

    `targets_hit`: share that got the class wanted. `target_confidence`: mean probability of that class.
    `targets_right`: share that kept their true class. `targets`: how many they are.
    """
    return {
        "targets_hit": share(said == labels),
        "target_confidence": float(shares[np.arange(len(labels)), labels].mean()),
        "targets_right": share(said == y),
        "targets": float(len(labels)),
    }


def _regression(model: Model, test: Dataset) -> dict[str, float]:
    """R squared on the scale of an accuracy: 1 is perfect, 0 no better than the mean. `mse` in squared units of y."""
    mse = float(((answers(model, test.x, regression=True) - test.y) ** 2).mean())
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


def _custom_metrics(model: Model, test: Dataset) -> dict[str, float]:
    """Further numbers that the model, or its estimator, itself measures, such as a spam filter's third answer."""
    if hasattr(model, "judged"):
        found = called(model, test.x, test.y, call=model.judged)
    elif isinstance(model, SklearnModel) and hasattr(model.estimator, "judged"):
        found = model.estimator.judged(test.flat, test.y)
    else:
        found = {}
    return {str(name): float(value) for name, value in found.items()}


def answers(model: Model, x: Rows, regression: bool = False) -> np.ndarray:
    """(m,) predicted classes or numbers, looked at."""
    found, m = np.asarray(called(model, x, call=model.predict)), x.shape[0]
    kinds, what = ("f", "numbers") if regression else ("iu", "classes")
    if found.shape != (m,) or found.dtype.kind not in kinds:
        raise ModelError(f"{m} predicted {what}", f"{found.dtype} of shape {found.shape}", "mend `predict`")
    return found


def share(which: np.ndarray) -> float:
    """Share of (m,) bools that are true; nan of no bools."""
    return float(which.mean()) if len(which) else math.nan


def detection(verdict: Verdict, truth: np.ndarray) -> dict[str, float]:
    """How well a verdict met the truth (n,) bool; what is undefined is nan."""
    judged = quality(verdict, truth)
    return {"detection_auroc": judged.auroc, "detection_tpr": judged.tpr, "detection_fpr": judged.fpr}
