"""The transfer arrow: a provider's pretrained model, perhaps backdoored, is fine-tuned on the user's clean rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from antivenom.core.errors import DataError, PluginError, ScenarioError
from antivenom.core.protocols import Architecture, Model, Source, Trigger
from antivenom.core.registry import Kind
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, ThreatModel
from antivenom.data import Dataset, Named, source_of
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios.grants import enforce
from antivenom.scenarios.guarded import deployed, granted, measured_goal, model_of, poison_of, verdict_of, view_of
from antivenom.scenarios.metrics import Judge, class_detection
from antivenom.scenarios.outcome import Outcome
from antivenom.scenarios.pipeline import Pipeline
from antivenom.scenarios.splits import hold_out
from antivenom.triggers import Patch


@dataclass(frozen=True)
class Transfer:
    """A pretrained model from a provider who may be the attacker, trained further on rows that nobody touched.

    Split, shares of provider and user, and both trainings' random streams depend on the seed alone, so trials with one
    seed are paired.

    Fields:
        data: where the rows come from: a source, the name of a data set, a Dataset, a Split, or (X, y).
        model: a torch architecture.
        training: how the provider trains, and the user but for the two fields of fine-tuning.
        access: transfer-learning.
        goal: availability or backdoor.
        target: class the backdoor leads to.
        trigger: what is shown at test time (backdoor).
        pretrain_share: share of the training rows that the provider has, above 0 and below 1; the user has the others.
        fine_tune_epochs: the user's passes over their rows.
        fine_tune_learning_rate: the user's step size, customarily a fraction of the provider's.
        train_rows: use only so many training rows, provider's and user's together; None is all.
        clean_rows: trusted rows, held out of the training rows before; for mitigations and model detectors.
    """

    data: Source = Named("digits")
    model: Architecture = MLP()
    training: Training = Training(epochs=30, learning_rate=0.01)
    access: Access = Access.TRANSFER_LEARNING
    goal: Goal = Goal.BACKDOOR
    target: int = 0
    trigger: Trigger = Patch()
    pretrain_share: float = 0.5
    fine_tune_epochs: int = 10
    fine_tune_learning_rate: float = 0.001
    train_rows: int | None = None
    clean_rows: int = 100

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", source_of(self.data))
        threat = self.threat
        object.__setattr__(self, "access", threat.access)
        object.__setattr__(self, "goal", threat.goal)
        measured_goal(threat)
        if self.access is not Access.TRANSFER_LEARNING:
            raise ScenarioError("access: transfer-learning", f"{self.access}", "use kind: central")
        if not 0 < self.pretrain_share < 1 or self.fine_tune_epochs < 0:
            raise ScenarioError(
                "pretrain_share above 0 and below 1, and fine_tune_epochs >= 0",
                f"{self.pretrain_share} and {self.fine_tune_epochs}",
                "correct them",
            )

    @property
    def threat(self) -> ThreatModel:
        """Who the attacker is."""
        return ThreatModel(self.access, self.goal)

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        """Pretrain, attack, fine-tune, mend, judge. `attack` is a model attack or None; `defence` may be None."""
        streams = Streams(seed)
        attack, _ = granted(attack, self.threat, Kind.MODEL_ATTACK)
        split = self.data(streams)
        judge = Judge(split.test, self.goal, self.target, self.trigger)
        train, trusted, _ = hold_out(split.train, self.clean_rows, self.train_rows, streams)
        kind = deployed(defence, trusted, Kind.MODEL_DETECTOR, Kind.MITIGATION)
        theirs, ours = self._shared(train, streams)
        pipeline = Pipeline(self.model, self.training, device, streams)
        received, trigger = self._attacked(attack, pipeline.fit(theirs, "pretraining"), theirs, streams)
        found: dict[str, float] = {}
        notes: tuple[str, ...] = ()
        if kind is Kind.MODEL_DETECTOR:
            verdict = defence(received, trusted, pipeline.context())
            backdoor = self.target if attack is not None and self.goal is Goal.BACKDOOR else None
            found = class_detection(verdict_of(verdict, defence, received.num_classes, "classes"), backdoor)
            notes = ("a model detector only reports: the model was fine-tuned and judged all the same",)
        slower = replace(self.training, learning_rate=self.fine_tune_learning_rate)
        model = replace(pipeline, training=slower).refit(received, ours, self.fine_tune_epochs, "fine-tuning")
        if kind is Kind.MITIGATION:
            model = model_of(defence(model, trusted, pipeline.context()), defence, model.num_classes)
        counts = {"poisoned_rows": 0.0, "poisoned_rate": 0.0, "removed_rows": 0.0}
        return Outcome(judge.metrics(model, trigger) | counts | found, notes=notes)

    def _shared(self, train: Dataset, streams: Streams) -> tuple[Dataset, Dataset]:
        """The provider's rows and the user's."""
        order = streams.numpy("provider").permutation(len(train))
        cut = round(self.pretrain_share * len(train))
        if not 0 < cut < len(train):
            raise DataError(
                "rows for both provider and user", f"{cut} of {len(train)} for the provider", "change pretrain_share"
            )
        return train[order[:cut]], train[order[cut:]]

    def _attacked(
        self, attack: Any, pretrained: Model, theirs: Dataset, streams: Streams
    ) -> tuple[Model, Trigger | None]:
        """The model that the user receives, and the attack's own trigger if it made one."""
        if attack is None:
            return pretrained, None
        context = view_of(self.threat, self.target, self.trigger, streams)
        returned = attack(pretrained, theirs, context)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise PluginError(
                f"a model and a Poison from {type(attack).__name__}", type(returned).__name__, "return both"
            )
        poison = poison_of(returned[1], attack, context.target)
        enforce(self.threat, theirs, poison)
        return model_of(returned[0], attack, pretrained.num_classes), poison.trigger
