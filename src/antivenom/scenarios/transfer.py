"""The transfer scenario: the user fine-tunes a provider's pretrained model, which may be backdoored, on clean rows."""

from __future__ import annotations

from dataclasses import replace

from antivenom.core.errors import DataError, ScenarioError
from antivenom.core.outcome import Outcome
from antivenom.core.protocols import Architecture, Known, Model, Source, Trigger, Wanted
from antivenom.core.registry import Kind, scenario
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset, Named, Split
from antivenom.data.fingerprints import of_rows
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios import guarded
from antivenom.scenarios.checks import about, check_aim, check_model, drawn_by
from antivenom.scenarios.fields import settle
from antivenom.scenarios.grants import Aim, attack_kind, defence_kind
from antivenom.scenarios.metrics import Judge
from antivenom.scenarios.pipeline import Pipeline
from antivenom.scenarios.splits import hold_out
from antivenom.scenarios.targets import draw_targets
from antivenom.scenarios.twins import twin
from antivenom.triggers import Patch


@scenario(
    name="transfer",
    arrows=(Kind.MODEL_ATTACK, Kind.MODEL_DETECTOR, Kind.MITIGATION, Kind.GATE),
    levels=(Access.TRANSFER_LEARNING,),
    cite="Kurita et al. 2020, arXiv:2004.06660",
)
class Transfer:
    """The user fine-tunes a pretrained model on clean rows; its provider may be the attacker.

    The split, the rows of provider and user, and the random streams of both trainings depend only on the seed. So trials
    with the same seed are paired.

    Fields:
        data: source of the rows: a source, the name of a data set, a Dataset, a Split, or (X, y).
        model: an architecture by name, a torch module, a function that makes one, or `module:name` of one of these.
        training: how the provider trains. The user trains in the same way, with the two fine-tuning fields below.
        access: transfer-learning.
        goal: availability, targeted or backdoor.
        wanted: the classes that the attacker wants (backdoor and targeted); a class number means AllToOne.
        trigger: the trigger that is put on test inputs (backdoor).
        num_targets: number of test rows that the judge draws as targets (targeted), unless `wanted` names them.
        pretrain_share: share of the training rows that the provider has, above 0 and below 1. The user has the others.
        fine_tune_epochs: the user's passes over the user's rows.
        fine_tune_learning_rate: the user's step size, usually a fraction of the provider's.
        train_rows: number of training rows, provider's and user's together; None is all.
        clean_rows: number of trusted rows for detectors, mitigations and gates. They are held out beforehand.
        private: whether the rows are private. Then records and report show no picture of them.
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
    private: bool = False

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
        """The threat model: access and goal of the attacker."""
        return ThreatModel(self.access, self.goal)

    @property
    def level(self) -> str:
        """The attacker's access level, which is the step on the report's ladder."""
        return str(self.access)

    def known_to(self, attack: object) -> Known:
        """What the attack sees, and what it does not, for the report."""
        return Known(("the provider's rows", "the model handed out"), ("the user's rows",))

    def check_rows(self, split: Split) -> None:
        """Check that targets, trigger, numbers of rows and model suit the rows."""
        streams = Streams(0)
        check_aim(split.test, Aim(self.threat, self.wanted, self.trigger))
        with about(drawn_by(self.wanted)):
            if self.goal is Goal.TARGETED:
                draw_targets(split.test, self.wanted, self.num_targets, streams)
        with about("clean_rows" if self.train_rows is None else "train_rows"):
            train, *_ = hold_out(split.train, self.clean_rows, self.train_rows, streams)
        with about("pretrain_share"):
            theirs, _ = self._divided(train, streams)
        check_model(self.model, self.training, theirs)

    def check_plugins(self, attack: object, defence: object) -> None:
        """Check that the attack is of a kind that this scenario takes."""
        attack_kind(attack, self.threat, Kind.MODEL_ATTACK)

    def run(self, attack: object, defence: object, seed: int, device: str = "cpu") -> Outcome:
        """Run one trial: pretrain, attack, fine-tune, repair, and measure.

        Args:
            attack: a model attack or None.
            defence: a model detector, a mitigation, a gate, or None.
            seed: seed of all random streams.
            device: the torch device to train on.

        Raises:
            NotApplicable: a plugin that cannot be used in this scenario.
            ThreatError: the attack did more than the threat model grants.
        """
        streams, attack_arrow = Streams(seed), attack_kind(attack, self.threat, Kind.MODEL_ATTACK)
        split = self.data(streams)
        targets, test = None, split.test
        if self.goal is Goal.TARGETED:
            targets, test = draw_targets(test, self.wanted, self.num_targets, streams)
        aim = Aim(self.threat, self.wanted, self.trigger, targets)
        judge = Judge(test, aim)
        train, trusted, _ = hold_out(split.train, self.clean_rows, self.train_rows, streams)
        defence_arrow = defence_kind(defence, trusted, Kind.MODEL_DETECTOR, Kind.MITIGATION, Kind.GATE)
        theirs, ours = self._divided(train, streams)
        pipeline = Pipeline(self.model, self.training, device, streams)
        pretrained = pipeline.fit(theirs, "pretraining")
        received, learned, recovered = pretrained, None, None
        if attack_arrow is not None:
            received, poison = guarded.model_attack(attack, pretrained, theirs, aim.view(streams))
            learned = poison.trigger
        found: dict[str, float] = {}
        notes: tuple[str, ...] = ()
        if defence_arrow is Kind.MODEL_DETECTOR:
            verdict = guarded.model_detector(defence, received, trusted, pipeline.context())
            found = judge.detection_metrics(verdict, attack_arrow is not None, received)
            recovered = verdict.trigger
            notes = (
                "a model detector only reports: the model was fine-tuned and judged all the same",
                *verdict.notes,
            )
        model = self._fine_tuned(received, ours, pipeline)
        gate = None
        if defence_arrow is Kind.MITIGATION:
            model = guarded.mitigation(defence, model, trusted, pipeline.context())
        elif defence_arrow is Kind.GATE:
            gate = guarded.gate(defence, model, trusted, pipeline.context())
        clean = lambda: self._twin(pretrained, theirs, ours, pipeline)  # noqa: E731 - trained only if needed
        measured = judge.metrics(model, gate) | judge.trigger_metrics(model, clean, learned, gate)
        counts = {"poisoned_rows": 0.0, "poisoned_rate": 0.0, "removed_rows": 0.0}
        said = (*notes, *pipeline.notes(pretrained))
        return Outcome(
            measured | counts | found, notes=said, pictures={} if self.private else judge.pictures(learned, recovered)
        )

    def _fine_tuned(self, received: Model, ours: Dataset, pipeline: Pipeline) -> Model:
        """The received model after the user's fine-tuning."""
        slower = replace(self.training, learning_rate=self.fine_tune_learning_rate)
        return replace(pipeline, training=slower).refit(received, ours, self.fine_tune_epochs, "fine-tuning")

    def _twin(self, pretrained: Model, theirs: Dataset, ours: Dataset, pipeline: Pipeline) -> Model:
        """The clean twin: the fine-tuned model of an honest provider."""
        tuning = (self.fine_tune_epochs, self.fine_tune_learning_rate)
        rows = (of_rows(theirs), of_rows(ours))
        key = (self.training, *tuning, pipeline.device, pipeline.streams.key, *rows)
        return twin(self.model, key, lambda: self._fine_tuned(pretrained, ours, pipeline))

    def _divided(self, train: Dataset, streams: Streams) -> tuple[Dataset, Dataset]:
        """(the provider's rows, the user's rows), drawn at random."""
        order = streams.numpy("provider").permutation(len(train))
        cut = round(self.pretrain_share * len(train))
        if not 0 < cut < len(train):
            raise DataError(
                "rows for both provider and user", f"{cut} of {len(train)} for the provider", "change pretrain_share"
            )
        return train[order[:cut]], train[order[cut:]]
