"""The central arrow: rows are collected, perhaps sanitized, a model is fitted, perhaps mended, and judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from antivenom.attacks import Patch
from antivenom.data import Dataset, Poison, load
from antivenom.errors import DataError, PluginError, ScenarioError
from antivenom.models.face import Architecture
from antivenom.models.reference import MLP
from antivenom.models.training import Loss, Training, cross_entropy
from antivenom.protocols import Trigger
from antivenom.registry import Kind
from antivenom.rng import Streams
from antivenom.scenarios.checks import deployed, granted, measured_goal, model_of, poison_of, verdict_of, view_of
from antivenom.scenarios.judging import Judge, class_detection, detection
from antivenom.scenarios.outcome import Outcome
from antivenom.scenarios.pipeline import Pipeline, hold_out
from antivenom.threat import Access, Goal, ThreatModel, enforce
from antivenom.verdict import Verdict


@dataclass(frozen=True)
class Central:
    """One model fitted on rows that an attacker may have touched.

    Split, trusted rows, initial weights and the order of equally many rows depend on the seed alone, so trials with one
    seed are paired.

    Fields:
        data: name of the data set.
        model: a torch architecture or a scikit-learn estimator.
        training: how a torch architecture is trained.
        access: logic-corruption, data-manipulation or data-injection.
        goal: availability or backdoor.
        target: class the backdoor leads to.
        trigger: what is shown at test time (backdoor).
        max_poisoned_rate: share of the training rows that may be changed or added, 0 to 1.
        train_rows: use only so many training rows; None is all.
        clean_rows: trusted rows, held out of the training rows before the attack; for mitigations and model detectors.
    """

    data: str = "digits"
    model: Architecture = MLP()
    training: Training = Training(epochs=30, learning_rate=0.01)
    access: Access = Access.DATA_INJECTION
    goal: Goal = Goal.BACKDOOR
    target: int = 0
    trigger: Trigger = Patch()
    max_poisoned_rate: float = 1.0
    train_rows: int | None = None
    clean_rows: int = 100

    def __post_init__(self) -> None:
        threat = self.threat
        object.__setattr__(self, "access", threat.access)
        object.__setattr__(self, "goal", threat.goal)
        measured_goal(threat)
        if self.access is Access.TRANSFER_LEARNING:
            raise ScenarioError("another access level", "transfer-learning", "use kind: transfer")

    @property
    def threat(self) -> ThreatModel:
        """Who the attacker is."""
        return ThreatModel(self.access, self.goal, max_poisoned_rate=self.max_poisoned_rate)

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        """Attack, sanitize, fit, mend, judge. `attack` is a data or logic attack or None; `defence` may be None."""
        streams = Streams(seed)
        attack, attack_kind = granted(attack, self.threat, Kind.DATA_ATTACK, Kind.LOGIC_ATTACK)
        split = load(self.data, streams)
        judge = Judge(split.test, self.goal, self.target, self.trigger)
        clean, trusted = hold_out(split.train, self.clean_rows, self.train_rows, streams)
        kind = deployed(defence, trusted, Kind.SANITIZER, Kind.MODEL_DETECTOR, Kind.MITIGATION)
        pipeline = Pipeline(self.model, self.training, device, streams)
        poison, loss = self._attacked(attack, attack_kind, clean, streams)
        # Added rows come last; were they left there, their place would tell a sanitizer what they are.
        order = streams.numpy("arrival").permutation(len(poison.data))
        rows, mask = poison.data[order], poison.mask[order]
        removed, found = 0, {}
        if kind is Kind.SANITIZER:
            verdict = verdict_of(defence(rows, pipeline.context()), defence, len(rows), "rows")
            found, removed = detection(verdict, mask), int(verdict.flags.sum())
            rows = _kept(rows, verdict, defence)
        model = pipeline.fit(rows, "model", loss)
        if kind is Kind.MODEL_DETECTOR:
            verdict = defence(model, trusted, pipeline.context())
            backdoor = self.target if attack is not None and self.goal is Goal.BACKDOOR else None
            found = class_detection(verdict_of(verdict, defence, model.num_classes, "classes"), backdoor)
        if kind is Kind.MITIGATION:
            model = model_of(defence(model, trusted, pipeline.context()), defence, model.num_classes)
        counts = {
            "poisoned_rows": float(mask.sum()),
            "poisoned_rate": float(mask.sum() / len(clean)),
            "removed_rows": float(removed),
        }
        notes = self._notes(attack_kind, kind, mask)
        return Outcome(judge.metrics(model, poison.trigger) | counts | found, notes=notes)

    def _attacked(self, attack: Any, kind: Kind | None, clean: Dataset, streams: Streams) -> tuple[Poison, Loss]:
        """The rows that arrive, and the loss that the training code computes."""
        context = view_of(self.threat, self.target, self.trigger, streams)
        poison, loss = Poison.none(clean), cross_entropy
        if kind is Kind.DATA_ATTACK:
            poison = poison_of(attack(clean, context), attack, context.target)
        elif kind is Kind.LOGIC_ATTACK:
            loss = attack(cross_entropy, context)
            if not callable(loss):
                raise PluginError(
                    f"a loss from {type(attack).__name__}", type(loss).__name__, "return (forward, x, y) -> number"
                )
        enforce(self.threat, clean, poison)
        return poison, loss

    @staticmethod
    def _notes(attack: Kind | None, defence: Kind | None, mask: np.ndarray) -> tuple[str, ...]:
        notes = []
        if attack is Kind.DATA_ATTACK and not mask.any():
            notes.append("the attack touched no row: its poisoned_rate is too small for these rows")
        if attack is Kind.LOGIC_ATTACK and defence is Kind.SANITIZER:
            notes.append("the attack touched no row, so a sanitizer could find none")
        if defence is Kind.MODEL_DETECTOR:
            notes.append("a model detector only reports: the model was judged as it was")
        return tuple(notes)


def _kept(rows: Dataset, verdict: Verdict, defence: Any) -> Dataset:
    """The rows that were not flagged."""
    if verdict.flags.all():
        raise DataError(
            f"training rows left after {type(defence).__name__}", f"all {len(rows)} flagged", "flag fewer rows"
        )
    return rows[~verdict.flags]
