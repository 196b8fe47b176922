"""The transfer arrow: a provider's pretrained model, perhaps backdoored, is fine-tuned on the user's clean rows."""

from __future__ import annotations

from dataclasses import replace

from antivenom.core.errors import DataError, ScenarioError
from antivenom.core.outcome import Outcome
from antivenom.core.protocols import Architecture, Known, Model, Source, Trigger, Wanted
from antivenom.core.registry import Kind, scenario
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset, Named
from antivenom.data.fingerprints import of_rows
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios import guarded
from antivenom.scenarios.fields import settle
from antivenom.scenarios.grants import Aim, deployed, granted
from antivenom.scenarios.metrics import Judge
from antivenom.scenarios.pipeline import Pipeline
from antivenom.scenarios.splits import hold_out
from antivenom.scenarios.targets import drawn
from antivenom.scenarios.twins import twin
from antivenom.triggers import Patch


@scenario(
    name="transfer",
    arrows=(Kind.MODEL_ATTACK, Kind.MODEL_DETECTOR, Kind.MITIGATION, Kind.GATE),
    levels=(Access.TRANSFER_LEARNING,),
    cite="Kurita et al. 2020, arXiv:2004.06660",
)
class Transfer:
    """A pretrained model from a provider who may be the attacker, trained further on rows that nobody touched.

    Split, shares of provider and user, and both trainings' random streams depend on the seed alone, so trials with one
    seed are paired.

    Fields:
        data: where the rows come from: a source, the name of a data set, a Dataset, a Split, or (X, y).
        model: an architecture by name, a torch module, a function that makes one, or `module:name` of one of these.
        training: how the provider trains, and the user but for the two fields of fine-tuning.
        access: transfer-learning.
        goal: availability, targeted or backdoor.
        wanted: the classes that the attacker wants (backdoor and targeted); a class number means AllToOne.
        trigger: what is shown at test time (backdoor).
        num_targets: test rows, drawn by the judge, that should be misclassified (targeted), unless `wanted` names them.
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
    wanted: Wanted = AllToOne()
    trigger: Trigger = Patch()
    num_targets: int = 1
    pretrain_share: float = 0.5
    fine_tune_epochs: int = 10
    fine_tune_learning_rate: float = 0.001
    train_rows: int | None = None
    clean_rows: int = 100

    def __post_init__(self) -> None:
        settle(self)
        if self.goal is Goal.PRIVACY:
            raise ScenarioError("goal: availability, targeted or backdoor", f"{self.goal}", "use kind: membership")
        if self.access is not Access.TRANSFER_LEARNING:
            raise ScenarioError("access: transfer-learning", f"{self.access}", "use kind: central")
        if not 0 < self.pretrain_share < 1 or self.fine_tune_epochs < 0 or self.num_targets < 1:
            raise ScenarioError(
                "pretrain_share above 0 and below 1, fine_tune_epochs >= 0 and num_targets >= 1",
                f"{self.pretrain_share}, {self.fine_tune_epochs} and {self.num_targets}",
            )

    @property
    def threat(self) -> ThreatModel:
        """Who the attacker is."""
        return ThreatModel(self.access, self.goal)

    @property
    def level(self) -> str:
        """The step of the report's ladder: the access level."""
        return str(self.access)

    def known_to(self, attack: object) -> Known:
        """What the attack is shown."""
        return Known(("the provider's rows", "the model handed out"), ("the user's rows",))

    def run(self, attack: object, defence: object, seed: int, device: str = "cpu") -> Outcome:
        """Pretrain, attack, fine-tune, mend, judge.

        `attack` is a model attack or None; `defence` a model detector, a mitigation, a gate or None.
        """
        streams, does = Streams(seed), granted(attack, self.threat, Kind.MODEL_ATTACK)
        split = self.data(streams)
        targets, test = None, split.test
        if self.goal is Goal.TARGETED:
            targets, test = drawn(test, self.wanted, self.num_targets, streams)
        aim = Aim(self.threat, self.wanted, self.trigger, targets)
        judge = Judge(test, aim)
        train, trusted, _ = hold_out(split.train, self.clean_rows, self.train_rows, streams)
        kind = deployed(defence, trusted, Kind.MODEL_DETECTOR, Kind.MITIGATION, Kind.GATE)
        theirs, ours = self._shared(train, streams)
        pipeline = Pipeline(self.model, self.training, device, streams)
        pretrained = pipeline.fit(theirs, "pretraining")
        received, learned = pretrained, None
        if does is not None:
            received, poison = guarded.model_attack(attack, pretrained, theirs, aim.view(streams))
            learned = poison.trigger
        found: dict[str, float] = {}
        notes: tuple[str, ...] = ()
        if kind is Kind.MODEL_DETECTOR:
            verdict = guarded.model_detector(defence, received, trusted, pipeline.context())
            found = judge.detected(verdict, does is not None)
            notes = ("a model detector only reports: the model was fine-tuned and judged all the same",)
        model = self._tuned(received, ours, pipeline)
        gate = None
        if kind is Kind.MITIGATION:
            model = guarded.mitigation(defence, model, trusted, pipeline.context())
        elif kind is Kind.GATE:
            gate = guarded.gate(defence, model, trusted, pipeline.context())
        clean = lambda: self._twin(pretrained, theirs, ours, pipeline)  # noqa: E731 - trained only if it is asked for
        measured = judge.metrics(model, gate) | judge.backdoored(model, clean, learned, gate)
        counts = {"poisoned_rows": 0.0, "poisoned_rate": 0.0, "removed_rows": 0.0}
        return Outcome(measured | counts | found, notes=(*notes, *pipeline.notes(pretrained)))

    def _tuned(self, received: Model, ours: Dataset, pipeline: Pipeline) -> Model:
        """The received model after the user's training."""
        slower = replace(self.training, learning_rate=self.fine_tune_learning_rate)
        return replace(pipeline, training=slower).refit(received, ours, self.fine_tune_epochs, "fine-tuning")

    def _twin(self, pretrained: Model, theirs: Dataset, ours: Dataset, pipeline: Pipeline) -> Model:
        """The user's model of an honest provider."""
        tuning = (self.fine_tune_epochs, self.fine_tune_learning_rate)
        rows = (of_rows(theirs), of_rows(ours))
        key = (self.training, *tuning, pipeline.device, pipeline.streams.key, *rows)
        return twin(self.model, key, lambda: self._tuned(pretrained, ours, pipeline))

    def _shared(self, train: Dataset, streams: Streams) -> tuple[Dataset, Dataset]:
        """The provider's rows and the user's."""
        order = streams.numpy("provider").permutation(len(train))
        cut = round(self.pretrain_share * len(train))
        if not 0 < cut < len(train):
            raise DataError(
                "rows for both provider and user", f"{cut} of {len(train)} for the provider", "change pretrain_share"
            )
        return train[order[:cut]], train[order[cut:]]
