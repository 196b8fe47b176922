"""The acceptance scenario: a finished model arrives, is examined, and is used, repaired or refused."""

from __future__ import annotations

from dataclasses import replace

from antivenom.core.errors import ScenarioError
from antivenom.core.outcome import Outcome
from antivenom.core.protocols import Architecture, Estimator, Known, Mitigation, Model, Source, Trigger, Wanted
from antivenom.core.registry import Kind, scenario
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset, Named, Poison, Split
from antivenom.data.fingerprints import of_rows
from antivenom.models.architectures import MLP
from antivenom.models.training import Loss, Training, cross_entropy
from antivenom.scenarios import guarded
from antivenom.scenarios.checks import about, check_aim, check_model
from antivenom.scenarios.fields import settle
from antivenom.scenarios.grants import Aim, attack_kind, defence_kind
from antivenom.scenarios.metrics import Judge
from antivenom.scenarios.pipeline import Pipeline
from antivenom.scenarios.splits import hold_out
from antivenom.scenarios.twins import twin
from antivenom.triggers import Patch

ATTACKS = (Kind.DATA_ATTACK, Kind.LOGIC_ATTACK, Kind.MODEL_ATTACK)
DEFENCES = (Kind.MODEL_DETECTOR, Kind.MITIGATION, Kind.GATE)


@scenario(name="acceptance", arrows=(*ATTACKS, *DEFENCES), levels=tuple(Access), cite="Wang et al. 2019, S&P")
class Acceptance:
    """A provider hands over a finished model. The user has the model and a few clean rows, but no training rows or code.

    A model that the detector flags is repaired if the scenario has a `repair`, and refused otherwise. After a refusal the
    user has no model and is right as often as chance, so refusing a clean model lowers `clean_accuracy`.

    Fields:
        data: source of the rows: a source, the name of a data set, a Dataset, a Split, or (X, y).
        model: the model that the provider trains, as in a central scenario. A black box is used as it is.
        training: how the provider trains.
        access: what the attacker controls at the provider: the rows, the code, or the finished model (transfer-learning).
        goal: backdoor.
        wanted: the classes that the attacker wants; a class number means AllToOne.
        trigger: the trigger that is put on test inputs.
        max_poisoned_rate: share of the provider's rows that may be changed or added, 0 to 1.
        train_rows: number of the provider's rows, or None for all.
        clean_rows: number of the user's clean rows, which are held out before the provider trains.
        repair: a mitigation for models that the detector flags, or None.
        private: whether the rows are private. Then records and report show no picture of them.
    """

    data: Source = Named("digits")
    model: Architecture | Estimator = MLP()
    training: Training = Training(epochs=30, learning_rate=0.01)
    access: Access = Access.DATA_INJECTION
    goal: Goal = Goal.BACKDOOR
    wanted: Wanted = AllToOne()
    trigger: Trigger = Patch()
    max_poisoned_rate: float = 1.0
    train_rows: int | None = None
    clean_rows: int = 100
    repair: Mitigation | None = None
    private: bool = False

    def __post_init__(self) -> None:
        settle(self)
        if self.goal is not Goal.BACKDOOR:
            raise ScenarioError("goal: backdoor", f"{self.goal}", "use kind: central")

    @property
    def threat(self) -> ThreatModel:
        """The threat model: access, goal and limits of the attacker."""
        return ThreatModel(self.access, self.goal, max_poisoned_rate=self.max_poisoned_rate)

    @property
    def level(self) -> str:
        """The attacker's access level, which is the step on the report's ladder."""
        return str(self.access)

    def known_to(self, attack: object) -> Known:
        """What the attack sees, and what it does not, for the report."""
        return Known(("the provider's rows",), ("the user's rows", "the test rows"))

    def check_rows(self, split: Split) -> None:
        """Check that wanted classes, trigger, numbers of rows and model suit the rows."""
        check_aim(split.test, Aim(self.threat, self.wanted, self.trigger))
        with about("clean_rows" if self.train_rows is None else "train_rows"):
            theirs, *_ = hold_out(split.train, self.clean_rows, self.train_rows, Streams(0))
        check_model(self.model, self.training, theirs)

    def check_plugins(self, attack: object, defence: object) -> None:
        """Check that the attack is of a kind that this scenario takes."""
        attack_kind(attack, self.threat, *ATTACKS)

    def run(self, attack: object, defence: object, seed: int, device: str = "cpu") -> Outcome:
        """Run one trial: the provider trains, the user uses, repairs or refuses the model, and the judge measures.

        Args:
            attack: a data attack, a logic attack, a model attack, or None.
            defence: a model detector, a mitigation, a gate, or None.
            seed: seed of all random streams.
            device: the torch device to train on.

        Raises:
            NotApplicable: a plugin that cannot be used in this scenario.
            ThreatError: the attack did more than the threat model grants.
        """
        streams, attack_arrow = Streams(seed), attack_kind(attack, self.threat, *ATTACKS)
        split = self.data(streams)
        judge = Judge(split.test, Aim(self.threat, self.wanted, self.trigger))
        theirs, ours, _ = hold_out(split.train, self.clean_rows, self.train_rows, streams)
        defence_arrow = defence_kind(defence, ours, *DEFENCES)
        pipeline = Pipeline(self.model, self.training, device, streams)
        model, poison = self._offered(attack, attack_arrow, theirs, judge.aim, pipeline)
        found: dict[str, float] = {}
        notes: list[str] = []
        recovered: Trigger | None = None
        gate, refused = None, False
        if defence_arrow is Kind.MODEL_DETECTOR:
            verdict = guarded.model_detector(defence, model, ours, pipeline.context(ours))
            found = judge.detection_metrics(verdict, attack_arrow is not None, model)
            notes, recovered = [*verdict.notes], verdict.trigger
            if verdict.flag and self.repair is not None:
                model = guarded.mitigation(self.repair, model, ours, pipeline.context(ours))
                notes.append("the detector flagged the model, which was repaired")
            elif verdict.flag:
                refused = True
                notes.append("the detector flagged the model, which was refused: the user has none")
        elif defence_arrow is Kind.MITIGATION:
            model = guarded.mitigation(defence, model, ours, pipeline.context(ours))
        elif defence_arrow is Kind.GATE:
            gate = guarded.gate(defence, model, ours, pipeline.context(ours))
        measured = judge.metrics(model, gate)
        measured |= judge.trigger_metrics(model, lambda: self._twin(theirs, pipeline), poison.trigger, gate)
        if refused:
            measured |= {"offered_asr": measured["asr"], "offered_accuracy": measured["clean_accuracy"]}
            measured |= {"asr": 0.0, "clean_accuracy": measured["chance_accuracy"]}
        poisoned = float(poison.mask.sum())
        counts = {"poisoned_rows": poisoned, "poisoned_rate": poisoned / len(theirs), "removed_rows": 0.0}
        measured |= counts | {"refused": float(refused)} | found
        return Outcome(
            measured, notes=tuple(notes), pictures={} if self.private else judge.pictures(poison.trigger, recovered)
        )

    def _offered(
        self, attack: object, attack_arrow: Kind | None, theirs: Dataset, aim: Aim, pipeline: Pipeline
    ) -> tuple[Model, Poison]:
        """The finished model that the provider offers, and the poison in the provider's rows."""
        view = aim.view(pipeline.streams)
        poison = guarded.data_attack(attack, theirs, view) if attack_arrow is Kind.DATA_ATTACK else Poison.none(theirs)
        loss: Loss = guarded.logic_attack(attack, view) if attack_arrow is Kind.LOGIC_ATTACK else cross_entropy
        order = pipeline.streams.numpy("arrival").permutation(len(poison.data))
        model = pipeline.deployed(poison.data[order], loss, attack_arrow is Kind.DATA_ATTACK)
        if isinstance(loss, guarded.CorruptedLoss):
            poison = replace(poison, trigger=loss.learned())
        if attack_arrow is Kind.MODEL_ATTACK:
            model, poison = guarded.model_attack(attack, model, theirs, view)
        return model, poison

    def _twin(self, theirs: Dataset, pipeline: Pipeline) -> Model:
        """The clean twin: the model of an honest provider."""
        order = pipeline.streams.numpy("arrival").permutation(len(theirs))
        key = (self.training, pipeline.device, pipeline.streams.key, of_rows(theirs))
        return twin(self.model, key, lambda: pipeline.deployed(theirs[order], cross_entropy, False))
