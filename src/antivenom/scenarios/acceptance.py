"""The acceptance arrow: a finished model arrives, is looked at, and is used, repaired or refused."""

from __future__ import annotations

from antivenom.core.errors import ScenarioError
from antivenom.core.outcome import Outcome
from antivenom.core.protocols import Architecture, Estimator, Known, Mitigation, Model, Source, Trigger, Wanted
from antivenom.core.registry import Kind, scenario
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset, Named, Poison
from antivenom.data.fingerprints import of_rows
from antivenom.models.architectures import MLP
from antivenom.models.training import Training, cross_entropy
from antivenom.scenarios import guarded
from antivenom.scenarios.fields import settle
from antivenom.scenarios.grants import Aim, deployed, granted
from antivenom.scenarios.metrics import Judge
from antivenom.scenarios.pipeline import Pipeline
from antivenom.scenarios.splits import hold_out
from antivenom.scenarios.twins import twin
from antivenom.triggers import Patch

ATTACKS = (Kind.DATA_ATTACK, Kind.LOGIC_ATTACK, Kind.MODEL_ATTACK)
DEFENCES = (Kind.MODEL_DETECTOR, Kind.MITIGATION, Kind.GATE)


@scenario(name="acceptance", arrows=(*ATTACKS, *DEFENCES), levels=tuple(Access), cite="Wang et al. 2019, S&P")
class Acceptance:
    """A model that somebody else has finished. The user has the model and a few clean rows, and neither training rows nor code.

    A model that the detector flags is repaired if the scenario names a `repair`, and refused otherwise. A user without a
    model is right as often as chance: that is the price of refusing a clean one.

    Fields:
        data: where the rows come from: a source, the name of a data set, a Dataset, a Split, or (X, y).
        model: what the provider trains, as in a central scenario; one with predict_proba alone is judged as it is.
        training: how the provider trains.
        access: what the attacker touches at the provider's: the rows, the code, or the finished model (transfer-learning).
        goal: backdoor.
        wanted: the classes that the attacker wants; a class number means AllToOne.
        trigger: what is shown at test time.
        max_poisoned_rate: share of the provider's rows that may be changed or added, 0 to 1.
        train_rows: use only so many rows at the provider's; None is all.
        clean_rows: the user's rows, held out before the provider trains.
        repair: a mitigation for models that the detector flags, or None.
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

    def __post_init__(self) -> None:
        settle(self)
        if self.goal is not Goal.BACKDOOR:
            raise ScenarioError("goal: backdoor", f"{self.goal}", "use kind: central")

    @property
    def threat(self) -> ThreatModel:
        """Who the attacker is."""
        return ThreatModel(self.access, self.goal, max_poisoned_rate=self.max_poisoned_rate)

    @property
    def level(self) -> str:
        """The step of the report's ladder: the access level."""
        return str(self.access)

    def known_to(self, attack: object) -> Known:
        """What the attack is shown."""
        return Known(("the provider's rows",), ("the user's rows", "the test rows"))

    def run(self, attack: object, defence: object, seed: int, device: str = "cpu") -> Outcome:
        """Train at the provider's, perhaps attacked; look at the model; use, repair or refuse it; judge.

        `attack` is a data attack, a logic attack, a model attack or None; `defence` a model detector, a mitigation, a gate
        or None.
        """
        streams, does = Streams(seed), granted(attack, self.threat, *ATTACKS)
        split = self.data(streams)
        judge = Judge(split.test, Aim(self.threat, self.wanted, self.trigger))
        theirs, ours, _ = hold_out(split.train, self.clean_rows, self.train_rows, streams)
        kind = deployed(defence, ours, *DEFENCES)
        pipeline = Pipeline(self.model, self.training, device, streams)
        model, poison = self._offered(attack, does, theirs, judge.aim, pipeline)
        found: dict[str, float] = {}
        notes, gate, refused = [], None, False
        if kind is Kind.MODEL_DETECTOR:
            verdict = guarded.model_detector(defence, model, ours, pipeline.context(ours))
            found = judge.detected(verdict, does is not None)
            if verdict.flag and self.repair is not None:
                model = guarded.mitigation(self.repair, model, ours, pipeline.context(ours))
                notes.append("the detector flagged the model, which was repaired")
            elif verdict.flag:
                refused = True
                notes.append("the detector flagged the model, which was refused: the user has none")
        elif kind is Kind.MITIGATION:
            model = guarded.mitigation(defence, model, ours, pipeline.context(ours))
        elif kind is Kind.GATE:
            gate = guarded.gate(defence, model, ours, pipeline.context(ours))
        measured = judge.metrics(model, gate)
        measured |= judge.backdoored(model, lambda: self._twin(theirs, pipeline), poison.trigger, gate)
        if refused:
            measured |= {"offered_asr": measured["asr"], "offered_accuracy": measured["clean_accuracy"]}
            measured |= {"asr": 0.0, "clean_accuracy": measured["chance_accuracy"]}
        poisoned = float(poison.mask.sum())
        counts = {"poisoned_rows": poisoned, "poisoned_rate": poisoned / len(theirs), "removed_rows": 0.0}
        return Outcome(measured | counts | {"refused": float(refused)} | found, notes=tuple(notes))

    def _offered(
        self, attack: object, does: Kind | None, theirs: Dataset, aim: Aim, pipeline: Pipeline
    ) -> tuple[Model, Poison]:
        """The finished model that the user is offered, and what was done to the provider's rows."""
        view = aim.view(pipeline.streams)
        poison = guarded.data_attack(attack, theirs, view) if does is Kind.DATA_ATTACK else Poison.none(theirs)
        loss = guarded.logic_attack(attack, view) if does is Kind.LOGIC_ATTACK else cross_entropy
        order = pipeline.streams.numpy("arrival").permutation(len(poison.data))
        model = pipeline.deployed(poison.data[order], loss, does is Kind.DATA_ATTACK)
        if does is Kind.MODEL_ATTACK:
            model, poison = guarded.model_attack(attack, model, theirs, view)
        return model, poison

    def _twin(self, theirs: Dataset, pipeline: Pipeline) -> Model:
        """The model of an honest provider."""
        order = pipeline.streams.numpy("arrival").permutation(len(theirs))
        key = (self.training, pipeline.device, pipeline.streams.key, of_rows(theirs))
        return twin(self.model, key, lambda: pipeline.deployed(theirs[order], cross_entropy, False))
