"""The central scenario: rows are collected and sanitized, a model is fitted and repaired, and the judge measures it."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import DataError, NotApplicable, ScenarioError
from antivenom.core.outcome import Outcome
from antivenom.core.protocols import Architecture, Estimator, Known, Model, Source, Trigger, Wanted
from antivenom.core.registry import Kind, entry_of, scenario
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, ThreatModel
from antivenom.core.verdict import Verdict
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset, Named, Poison, Split
from antivenom.data.fingerprints import of_rows
from antivenom.models.architectures import MLP
from antivenom.models.training import Loss, Training, cross_entropy
from antivenom.scenarios import guarded
from antivenom.scenarios.checks import about, check_aim, check_model, drawn_by
from antivenom.scenarios.fields import settle
from antivenom.scenarios.grants import Aim, attack_kind, defence_kind
from antivenom.scenarios.metrics import Judge, detection
from antivenom.scenarios.pipeline import Pipeline
from antivenom.scenarios.samples import poisoned
from antivenom.scenarios.splits import Sources, hold_out, joined, known_test_rows, only_classes
from antivenom.scenarios.targets import draw_targets
from antivenom.scenarios.twins import twin
from antivenom.triggers import Patch

ATTACKS = (Kind.DATA_ATTACK, Kind.LOGIC_ATTACK, Kind.EVASION)
DEFENCES = (Kind.SANITIZER, Kind.ROBUST_LEARNER, Kind.MODEL_DETECTOR, Kind.MITIGATION, Kind.GATE)


@scenario(
    name="central",
    arrows=(*ATTACKS, *DEFENCES),
    levels=(Access.LOGIC_CORRUPTION, Access.DATA_MANIPULATION, Access.DATA_INJECTION),
    cite="Biggio, Nelson and Laskov 2012, arXiv:1206.6389",
)
class Central:
    """One model is fitted to rows that an attacker may have poisoned.

    The split, the trusted rows, the initial weights and the order of rows depend only on the seed and the number of rows.
    So trials with the same seed are paired.

    Fields:
        data: source of the rows: a source, the name of a data set, a Dataset, a Split, or (X, y).
        classes: keep only these classes, renumbered in this order; None keeps all.
        model: an architecture or estimator by name, a torch module or a function that makes one, an object with fit and
            predict, a black box with predict_proba alone (never fitted), or `module:name` of one of these.
        training: how a torch architecture is trained.
        access: logic-corruption, data-manipulation or data-injection.
        goal: availability, targeted or backdoor.
        wanted: the classes that the attacker wants (backdoor and targeted); a class number means AllToOne.
        trigger: the trigger that is put on test inputs (backdoor).
        num_targets: number of test rows that the judge draws as targets (targeted), unless `wanted` names them.
        max_poisoned_rate: share of the training rows that may be changed or added, 0 to 1.
        train_rows: number of training rows, or None for all.
        clean_rows: number of trusted rows for defences that need some. They are held out before the attack.
        attacker_rows: number of rows held out for the attacker, for example to validate on. No model is trained on them.
        test_known: share of the test rows, with labels, that the attacker also holds, 0 to 1. Above 0 this is a worst
            case, and the accuracy on the other test rows is reported too (`unseen_accuracy`).
        sources: number of honest sources that sent the rows. With more than 1, the defence knows the source of each row.
        attacker_sources: number of further sources that sent the poison, if sources are known.
        private: whether the rows are private. Then records and report show no sample of them.
    """

    data: Source = Named("digits")
    classes: tuple[int, ...] | None = None
    model: Architecture | Estimator = MLP()
    training: Training = Training(epochs=30, learning_rate=0.01)
    access: Access = Access.DATA_INJECTION
    goal: Goal = Goal.BACKDOOR
    wanted: Wanted = AllToOne()
    trigger: Trigger = Patch()
    num_targets: int = 1
    max_poisoned_rate: float = 1.0
    train_rows: int | None = None
    clean_rows: int = 100
    attacker_rows: int = 0
    test_known: float = 0.0
    sources: int = 1
    attacker_sources: int = 1
    private: bool = False

    def __post_init__(self) -> None:
        settle(self)
        if self.goal is Goal.PRIVACY:
            raise ScenarioError("goal: availability, targeted or backdoor", f"{self.goal}", "use kind: membership")
        if self.access is Access.TRANSFER_LEARNING:
            raise ScenarioError("another access level", "transfer-learning", "use kind: transfer")
        if not 0 <= self.test_known <= 1 or min(self.sources, self.attacker_sources, self.num_targets) < 1:
            raise ScenarioError(
                "test_known from 0 to 1; sources, attacker_sources and num_targets >= 1",
                f"{self.test_known}, {self.sources}, {self.attacker_sources} and {self.num_targets}",
            )

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
        shown, withheld = {
            Kind.LOGIC_ATTACK: (["the batch in hand while it is trained on"], ["the other rows"]),
            Kind.EVASION: (["the finished model", "the test rows that it changes"], ["the training rows"]),
        }.get(entry_of(attack).kind, (["the training rows"], ["the model"]))
        if self.attacker_rows:
            shown.append(f"{self.attacker_rows} rows of its own")
        if self.test_known:
            shown.append(f"{self.test_known:.0%} of the test rows with their labels")
        return Known(tuple(shown), tuple(withheld))

    def check_rows(self, split: Split) -> None:
        """Check that classes, targets, numbers of rows, trigger and model suit the rows."""
        streams = Streams(0)
        with about("classes"):
            split = split if self.classes is None else only_classes(split, self.classes)
        check_aim(split.test, Aim(self.threat, self.wanted, self.trigger))
        with about(drawn_by(self.wanted)):
            if self.goal is Goal.TARGETED:
                draw_targets(split.test, self.wanted, self.num_targets, streams)
        with about("clean_rows" if self.train_rows is None else "train_rows"):
            clean, *_ = hold_out(split.train, self.clean_rows, self.train_rows, streams, self.attacker_rows)
        check_model(self.model, self.training, clean)

    def check_plugins(self, attack: object, defence: object) -> None:
        """Check that the plugins are of a kind that this scenario takes."""
        attack_kind(attack, self.threat, *ATTACKS)

    def run(self, attack: object, defence: object, seed: int, device: str = "cpu") -> Outcome:
        """Run one trial: attack the rows, sanitize them, fit a model, repair it, and measure.

        Args:
            attack: a data attack, a logic attack, an evasion, or None.
            defence: a sanitizer, a robust learner, a model detector, a mitigation, a gate, or None.
            seed: seed of all random streams.
            device: the torch device to train on.

        Raises:
            NotApplicable: a plugin that cannot be used in this scenario.
            ThreatError: the attack did more than the threat model grants.
        """
        streams, attack_arrow = Streams(seed), attack_kind(attack, self.threat, *ATTACKS)
        split = self.data(streams)
        split = split if self.classes is None else only_classes(split, self.classes)
        targets, test = None, split.test
        if self.goal is Goal.TARGETED:
            targets, test = draw_targets(test, self.wanted, self.num_targets, streams)
        seen = known_test_rows(test, self.test_known, streams)
        aim = Aim(self.threat, self.wanted, self.trigger, targets)
        judge = Judge(test, aim, seen)
        clean, trusted, own = hold_out(split.train, self.clean_rows, self.train_rows, streams, self.attacker_rows)
        defence_arrow = defence_kind(defence, trusted, *DEFENCES)
        pipeline = Pipeline(self.model, self.training, device, streams)
        view = aim.view(streams, joined(own, test[seen]))
        poison = guarded.data_attack(attack, clean, view) if attack_arrow is Kind.DATA_ATTACK else Poison.none(clean)
        loss: Loss = guarded.logic_attack(attack, view) if attack_arrow is Kind.LOGIC_ATTACK else cross_entropy
        rows, mask = self._received(poison, streams)
        found: dict[str, float] = {}
        removed = 0
        if defence_arrow is Kind.SANITIZER:
            verdict = guarded.sanitizer(defence, rows, pipeline.context(trusted))
            found, removed = detection(verdict, mask), int(verdict.flags.sum())
            rows = _unflagged(rows, verdict, defence)
        if defence_arrow is Kind.ROBUST_LEARNER:
            model = _fit_robustly(defence, rows, loss, pipeline, trusted)
        else:
            model = pipeline.deployed(rows, loss, attack_arrow is Kind.DATA_ATTACK or defence_arrow is Kind.SANITIZER)
        gate = None
        said: tuple[str, ...] = ()
        recovered: Trigger | None = None
        if defence_arrow is Kind.MODEL_DETECTOR:
            verdict_of_model = guarded.model_detector(defence, model, trusted, pipeline.context(trusted))
            found, said = (
                judge.detection_metrics(verdict_of_model, attack_arrow is not None, model),
                verdict_of_model.notes,
            )
            recovered = verdict_of_model.trigger
        elif defence_arrow is Kind.MITIGATION:
            model = guarded.mitigation(defence, model, trusted, pipeline.context(trusted))
        elif defence_arrow is Kind.GATE:
            gate = guarded.gate(defence, model, trusted, pipeline.context(trusted))
        if attack_arrow is Kind.EVASION:
            judge = judge.with_rows(guarded.evasion(attack, model, test, view))
        measured = judge.metrics(model, gate) | judge.subpopulation_metrics(model, poison.subpopulation)
        learned = loss.learned() if isinstance(loss, guarded.CorruptedLoss) else poison.trigger
        measured |= judge.trigger_metrics(model, lambda: self._twin(clean, pipeline), learned, gate)
        counts = {
            "poisoned_rows": float(mask.sum()),
            "poisoned_rate": float(mask.sum() / len(clean)),
            "removed_rows": float(removed),
        }
        found |= {f"attack_{name}": float(value) for name, value in poison.measured}
        notes = (*self._notes(attack_arrow, defence_arrow, mask), *said, *pipeline.notes(model, loss))
        shown = not self.private
        return Outcome(
            measured | counts | found,
            notes=notes,
            pictures=judge.pictures(poison.trigger, recovered) if shown else {},
            samples=(*poisoned(clean, poison), *judge.samples(poison.trigger)) if shown and seed == 0 else (),
        )

    def _received(self, poison: Poison, streams: Streams) -> tuple[Dataset, np.ndarray]:
        """The rows that reach the user, in random order, and the mask of the poison among them.

        Attacks append their rows. Without the random order, a defence could find the poison by its position.
        """
        order = streams.numpy("arrival").permutation(len(poison.data))
        mask = poison.mask[order]
        return Sources(self.sources, self.attacker_sources).assigned(poison.data[order], mask, streams), mask

    def _twin(self, clean: Dataset, pipeline: Pipeline) -> Model:
        """The clean twin: the undefended model of the clean rows."""
        order = pipeline.streams.numpy("arrival").permutation(len(clean))
        key = (self.training, pipeline.device, pipeline.streams.key, of_rows(clean))
        return twin(self.model, key, lambda: pipeline.deployed(clean[order], cross_entropy, False))

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


def _fit_robustly(robust: object, rows: Dataset, loss: Loss, pipeline: Pipeline, trusted: Dataset) -> Model:
    """The model of a robust learner, which replaces the training of the pipeline.

    Raises:
        NotApplicable: a logic attack, since the code that it corrupts would not run.
    """
    if loss is not cross_entropy:
        raise NotApplicable(
            f"honest training code for {type(robust).__name__}",
            "a corrupted loss",
            "use a data attack: the learner replaces the code that a logic attack corrupts",
        )
    return guarded.robust_learner(robust, rows, pipeline.context(trusted))


def _unflagged(rows: Dataset, verdict: Verdict, defence: object) -> Dataset:
    """The rows that the sanitizer did not flag.

    Raises:
        DataError: it flagged all rows.
    """
    if verdict.flags.all():
        raise DataError(
            f"training rows left after {type(defence).__name__}", f"all {len(rows)} flagged", "flag fewer rows"
        )
    return rows[~verdict.flags]
