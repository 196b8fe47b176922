"""The central arrow: rows are collected, perhaps sanitized, a model is fitted, perhaps mended, and judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from antivenom.core.errors import DataError, NotApplicable, PluginError, ScenarioError
from antivenom.core.protocols import Architecture, AttackContext, Model, Source, Trigger
from antivenom.core.registry import Kind
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, ThreatModel
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset, Named, Poison, source_of
from antivenom.models.architectures import MLP
from antivenom.models.training import Loss, Training, cross_entropy
from antivenom.scenarios.grants import enforce
from antivenom.scenarios.guarded import (
    deployed,
    evaded,
    granted,
    measured_goal,
    model_of,
    poison_of,
    verdict_of,
    view_of,
)
from antivenom.scenarios.metrics import Judge, class_detection, detection
from antivenom.scenarios.outcome import Outcome
from antivenom.scenarios.pipeline import Pipeline
from antivenom.scenarios.splits import Sources, hold_out, joined, known_test_rows, only_classes
from antivenom.triggers import Patch


@dataclass(frozen=True)
class Central:
    """One model fitted on rows that an attacker may have touched.

    Split, trusted rows, initial weights and the order of equally many rows depend on the seed alone, so trials with one
    seed are paired.

    Fields:
        data: where the rows come from: a source, the name of a data set, a Dataset, a Split, or (X, y).
        classes: use only these classes, renumbered in this order; None is all.
        model: a torch architecture or a scikit-learn estimator.
        training: how a torch architecture is trained.
        access: logic-corruption, data-manipulation or data-injection.
        goal: availability or backdoor.
        target: class the backdoor leads to.
        trigger: what is shown at test time (backdoor).
        max_poisoned_rate: share of the training rows that may be changed or added, 0 to 1.
        train_rows: use only so many training rows; None is all.
        clean_rows: trusted rows, held out of the training rows before the attack; for defences that need some.
        attacker_rows: rows held out for the attacker, who may validate on them; no model is trained on them.
        test_known: share of the test rows, with labels, that the attacker holds too, 0 to 1. Above 0 is a worst case;
            the accuracy on the others is then reported beside it.
        sources: honest sources that the rows are spread over, known to the defence; 1 is unknown.
        attacker_sources: how many further sources the poison comes from, where sources are known.
    """

    data: Source = Named("digits")
    classes: tuple[int, ...] | None = None
    model: Architecture = MLP()
    training: Training = Training(epochs=30, learning_rate=0.01)
    access: Access = Access.DATA_INJECTION
    goal: Goal = Goal.BACKDOOR
    target: int = 0
    trigger: Trigger = Patch()
    max_poisoned_rate: float = 1.0
    train_rows: int | None = None
    clean_rows: int = 100
    attacker_rows: int = 0
    test_known: float = 0.0
    sources: int = 1
    attacker_sources: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", source_of(self.data))
        threat = self.threat
        object.__setattr__(self, "access", threat.access)
        object.__setattr__(self, "goal", threat.goal)
        measured_goal(threat)
        if self.access is Access.TRANSFER_LEARNING:
            raise ScenarioError("another access level", "transfer-learning", "use kind: transfer")
        if not 0 <= self.test_known <= 1 or self.sources < 1 or self.attacker_sources < 1:
            raise ScenarioError(
                "test_known from 0 to 1, sources and attacker_sources >= 1",
                f"{self.test_known}, {self.sources} and {self.attacker_sources}",
                "correct them",
            )

    @property
    def threat(self) -> ThreatModel:
        """Who the attacker is."""
        return ThreatModel(self.access, self.goal, max_poisoned_rate=self.max_poisoned_rate)

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        """Attack, sanitize, fit, mend, judge.

        `attack` is a data attack, a logic attack, an evasion or None; `defence` a sanitizer, a robust learner, a model
        detector, a mitigation or None.
        """
        streams = Streams(seed)
        attack, attack_kind = granted(attack, self.threat, Kind.DATA_ATTACK, Kind.LOGIC_ATTACK, Kind.EVASION)
        split = self.data(streams)
        split = split if self.classes is None else only_classes(split, self.classes)
        seen = known_test_rows(split.test, self.test_known, streams)
        judge = Judge(split.test, self.goal, self.target, self.trigger, seen)
        clean, trusted, own = hold_out(split.train, self.clean_rows, self.train_rows, streams, self.attacker_rows)
        kind = deployed(defence, trusted, Kind.SANITIZER, Kind.ROBUST_LEARNER, Kind.MODEL_DETECTOR, Kind.MITIGATION)
        pipeline = Pipeline(self.model, self.training, device, streams)
        held = joined(own, split.test[seen])
        view = view_of(self.threat, self.target, self.trigger, streams, held)
        poison, loss = self._attacked(attack, attack_kind, clean, view)
        # Added rows come last; were they left there, their place would tell a sanitizer what they are.
        order = streams.numpy("arrival").permutation(len(poison.data))
        rows, mask = poison.data[order], poison.mask[order]
        rows = Sources(self.sources, self.attacker_sources).assigned(rows, mask, streams)
        removed, found = 0, {}
        if kind is Kind.SANITIZER:
            verdict = verdict_of(defence(rows, pipeline.context(trusted)), defence, len(rows), "rows")
            found, removed = detection(verdict, mask), int(verdict.flags.sum())
            rows = _kept(rows, verdict, defence)
        model = self._fitted(rows, loss, defence if kind is Kind.ROBUST_LEARNER else None, pipeline, trusted)
        if kind is Kind.MODEL_DETECTOR:
            verdict = defence(model, trusted, pipeline.context(trusted))
            backdoor = self.target if attack is not None and self.goal is Goal.BACKDOOR else None
            found = class_detection(verdict_of(verdict, defence, model.num_classes, "classes"), backdoor)
        if kind is Kind.MITIGATION:
            model = model_of(defence(model, trusted, pipeline.context(trusted)), defence, model.num_classes)
        if attack_kind is Kind.EVASION:
            judge = judge.shown(evaded(attack(model, split.test, view), split.test, attack))
        counts = {
            "poisoned_rows": float(mask.sum()),
            "poisoned_rate": float(mask.sum() / len(clean)),
            "removed_rows": float(removed),
        }
        notes = self._notes(attack_kind, kind, mask)
        measured = judge.metrics(model, poison.trigger) | judge.part(model, poison.subpopulation)
        return Outcome(measured | counts | found, notes=notes)

    def _attacked(self, attack: Any, kind: Kind | None, clean: Dataset, view: AttackContext) -> tuple[Poison, Loss]:
        """The rows that arrive, and the loss that the training code computes."""
        poison, loss = Poison.none(clean), cross_entropy
        if kind is Kind.DATA_ATTACK:
            poison = poison_of(attack(clean, view), attack, view.target)
        elif kind is Kind.LOGIC_ATTACK:
            loss = attack(cross_entropy, view)
            if not callable(loss):
                raise PluginError(
                    f"a loss from {type(attack).__name__}", type(loss).__name__, "return (forward, x, y) -> number"
                )
        enforce(self.threat, clean, poison)
        return poison, loss

    @staticmethod
    def _fitted(rows: Dataset, loss: Loss, robust: Any, pipeline: Pipeline, trusted: Dataset) -> Model:
        """The model, by the pipeline's own training or by a robust learner in its place."""
        if robust is None:
            return pipeline.fit(rows, "model", loss)
        name = type(robust).__name__
        if loss is not cross_entropy:
            raise NotApplicable(
                f"honest training code for {name}", "a corrupted loss", "it replaces that code: attack the rows"
            )
        return model_of(robust(rows, pipeline.context(trusted)), robust, len(rows.classes))

    @staticmethod
    def _notes(attack: Kind | None, defence: Kind | None, mask: np.ndarray) -> tuple[str, ...]:
        notes = []
        if attack is Kind.DATA_ATTACK and not mask.any():
            notes.append("the attack touched no row: its poisoned_rate is too small for these rows")
        if attack is Kind.LOGIC_ATTACK and defence is Kind.SANITIZER:
            notes.append("the attack touched no row, so a sanitizer could find none")
        if attack is Kind.EVASION:
            notes.append("an evasion: training was clean, the test rows were changed")
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
