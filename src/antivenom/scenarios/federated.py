"""The federated arrow: a federation with malicious agents, judged every round on rows that nobody in it saw."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antivenom.attacks import NoAttack
from antivenom.core.errors import DataError, NotApplicable, ScenarioError
from antivenom.core.outcome import Chart, Curve, Outcome
from antivenom.core.protocols import Architecture, Known, Source, Targets, Trigger
from antivenom.core.registry import Kind, entry_of, scenario
from antivenom.core.registry.entry import registered
from antivenom.core.streams import Streams
from antivenom.core.threat import HARMS, Access, Goal, Knowledge, Level, ThreatModel
from antivenom.core.verdict import Verdict, quality
from antivenom.data import Dataset, Named, missing_classes
from antivenom.federated.aggregators import Mean, selected
from antivenom.federated.answers import accuracies, probabilities
from antivenom.federated.chain import Chain
from antivenom.federated.clients import Client, Shards, loop_note, trained
from antivenom.federated.detectors import range_statistic, range_statistics
from antivenom.federated.distances import distances
from antivenom.federated.engine import Federation, Round
from antivenom.models.architectures import MLP
from antivenom.models.network import Network
from antivenom.models.wrappers import TorchLearner, TorchModel, learner
from antivenom.scenarios.fields import settle
from antivenom.scenarios.guarded import shown
from antivenom.triggers import Patch

LEVEL = Level("federated", "controls agents of a federation and the updates they send", (Access.LOGIC_CORRUPTION,))
CHARTS = (
    Chart(
        "test accuracy",
        (Curve("accuracy", "global model"), Curve("malicious_accuracy", "malicious model alone")),
    ),
    Chart(
        "L2 distance of updates",
        (
            Curve("benign_distance", "between benign updates", share=False, band=True),
            Curve("malicious_distance", "malicious to benign", share=False, band=True),
        ),
    ),
)
TABLE = (
    Curve("accuracy", "global accuracy"),
    Curve("malicious_accuracy", "malicious model alone"),
    Curve("range_statistic", "range statistic of the malicious update", share=False),
    Curve("benign_range_statistic", "greatest range statistic of a benign update", share=False),
)


@scenario(
    name="federated",
    arrows=(Kind.AGENT, Kind.AGGREGATOR, Kind.REDUCER, Kind.CLIENT_DETECTOR),
    levels=(LEVEL,),
    cite="Bhagoji et al. 2019, arXiv:1811.12470",
    in_step=True,
    charts=CHARTS,
    table=TABLE,
)
class Federated:
    """A federation with malicious agents, who want it useless, chosen test inputs misclassified, or a trigger obeyed.

    Targets are drawn from the test rows and taken out of them; by default among those that an honest model of the
    attacker's own shard gets right, for an input that is misclassified anyway is no target. The server's validation
    rows come from the training rows. All of it depends on the seed alone, so trials with one seed are paired.

    Fields:
        data: where the rows come from: a source, the name of a data set, a Dataset, a Split, or (X, y).
        model: an architecture by name, a torch module, a function that makes one, or `module:name` of one of these.
        federation: the protocol.
        goal: availability, targeted or backdoor.
        num_targets: r; one target goes from `source` to `target`, several get random points and random wrong classes.
        source: true class of a single target, or of the inputs that the trigger is judged on; None is any.
        target: class wanted; None is a random wrong one for a target and class 0 for a trigger.
        only_right: draw targets that an honest model, trained on the attacker's shard alone, classifies correctly.
        stop_accuracy: end after the first round with this test accuracy; None runs all rounds.
        train_rows: use only so many training rows; None is all.
        test_rows: judge on only so many test rows; None is all.
        validation_rows: the server's own, taken from the training rows before they are shared.
        trigger: what is shown at test time (backdoor).
        edge_cases: training rows from the tail of `source` (furthest from its mean) that only the attacker holds; the
            targets are then the tail of the test rows (targeted). 0: the attacker holds the targets themselves.
    """

    data: Source = Named("digits")
    model: Architecture = MLP()
    federation: Federation = Federation()
    goal: Goal = Goal.TARGETED
    num_targets: int = 1
    source: int | None = None
    target: int | None = None
    only_right: bool = True
    stop_accuracy: float | None = None
    train_rows: int | None = None
    test_rows: int | None = None
    validation_rows: int = 100
    trigger: Trigger = Patch()
    edge_cases: int = 0

    def __post_init__(self) -> None:
        if self.goal not in HARMS:
            raise ScenarioError("goal: availability, targeted or backdoor", f"{self.goal}", "choose one")
        settle(self)
        if self.edge_cases < 0 or (self.edge_cases and (self.goal is not Goal.TARGETED or self.source is None)):
            raise ScenarioError(
                "edge_cases with goal: targeted and a source class", f"{self.edge_cases}", "name the class of the tail"
            )
        target = 0 if self.goal is Goal.BACKDOOR and self.target is None else self.target
        if self.source is not None and self.source == target:
            raise ScenarioError(
                "a target that differs from the true class", f"{self.source} for both", "change target or source"
            )
        if self.num_targets < 1:
            raise ScenarioError("num_targets >= 1", f"{self.num_targets}", "ask for at least one target")

    @property
    def threat(self) -> ThreatModel:
        """Who the attacker is: agents that send what they like, and see what the federation shows them."""
        return ThreatModel(Access.LOGIC_CORRUPTION, self.goal, self.federation.knowledge)

    @property
    def level(self) -> str:
        """The step of the report's ladder."""
        return LEVEL.name

    @property
    def budget(self) -> str:
        """The attacker's means, in words."""
        one = self.federation
        return f"{one.num_malicious} of {one.num_agents} agents, in {one.rounds} rounds"

    def known_to(self, attack: object) -> Known:
        """What the malicious agents are shown."""
        shown = ["its own rows", "the global model of each round it takes part in", "the aggregation weights"]
        withheld = ["the others' rows"]
        (shown if self.threat.knowledge is Knowledge.OMNISCIENT else withheld).append("the others' current updates")
        return Known(tuple(shown), tuple(withheld))

    def run(self, attack: object, defence: object, seed: int, device: str = "cpu") -> Outcome:
        """Train and judge. `attack` is an agent or None; `defence` an aggregation rule, a client detector or None."""
        streams = Streams(seed)
        rule, detector = _server_side(defence)
        agent = _agent(attack, self.goal)
        split = self.data(streams)
        train = _some(split.train, self.train_rows, streams, "train rows", self.validation_rows)
        validation, train = train[: self.validation_rows], train[self.validation_rows :]
        train, tail = self._tail_of(train)
        maker = learner(self.model, self.federation.training, device)
        if not isinstance(maker, TorchLearner):
            raise NotApplicable(
                "a torch model in a federation", type(self.model).__name__, "averaging needs parameters"
            )
        network = maker.network(train, streams)
        if network.running:
            raise NotApplicable(
                "a network without running statistics", ", ".join(network.running), "use GroupNorm, not BatchNorm"
            )
        shards = self.federation.shards(train, streams, device)
        targets, test = self._targets(split.test, train, network, shards, streams, device)
        del split  # of a large set, each trial in step would hold its own
        judge = RoundJudge(network, targets, test, device, self.source)
        notes = [
            missing_classes(train, [rows.cpu().numpy() for rows in shards.rows]),
            loop_note(network, self.federation.training, device),
        ]
        held = targets if not len(tail) else _as_targets(tail, np.full(len(tail), int(targets.wanted[0])), device)
        rounds = self.federation.rounds_of(
            network, shards, held, streams, agent, rule, detector, validation if len(validation) else None
        )
        for played in rounds:
            judge.look_at(played)
            if self.stop_accuracy is not None and judge.curves["accuracy"][-1] >= self.stop_accuracy:
                break
        return judge.outcome(tuple(note for note in notes if note))

    def _tail_of(self, train: Dataset) -> tuple[Dataset, Dataset]:
        """The training rows without the edge cases, and those."""
        rows = _outermost(train, train, self.source)[: self.edge_cases]
        if len(rows) < self.edge_cases:
            raise DataError(f"{self.edge_cases} training rows of class {self.source}", f"{len(rows)}", "ask for fewer")
        return train[np.setdiff1d(np.arange(len(train)), rows)], train[rows]

    def _targets(
        self, test: Dataset, clean: Dataset, network: Network, shards: Shards, streams: Streams, device: str
    ) -> tuple[Targets, Dataset]:
        """What is wanted, and the test rows without the targets."""
        if self.goal is not Goal.TARGETED:
            nothing = _as_targets(test[:0], np.zeros(0, dtype=np.int64), device)
            if self.goal is Goal.BACKDOOR:
                target = 0 if self.target is None else self.target
                self._check_classes(test, target)
                nothing = dataclasses.replace(nothing, target=target, trigger=self.trigger)
            return nothing, _some(test, self.test_rows, streams, "test rows")
        right = np.ones(len(test), dtype=bool)
        if self.only_right:
            own = shards.of_agent(self.federation.num_agents - 1)
            client = Client(network, network.initial, *own, self.federation.training, streams.child("own model"))
            right = TorchModel(network, trained([client])[0], network.buffers).predict(test.inputs) == test.y
        rows, wanted = self._drawn(test, clean, right, streams.numpy("targets"))
        rest = test[np.setdiff1d(np.arange(len(test)), rows)]
        return _as_targets(test[rows], wanted, device), _some(rest, self.test_rows, streams, "test rows")

    def _check_classes(self, test: Dataset, target: int | None) -> None:
        c = test.num_classes
        for role, value in (("source", self.source), ("target", target)):
            if value is not None and not 0 <= value < c:
                raise ScenarioError(
                    f"{role} from 0 to {c - 1} for {test.name}", f"{value}", f"name one of its {c} classes"
                )

    def _drawn(
        self, test: Dataset, clean: Dataset, right: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers (r,) of the targets and the classes (r,) wanted; `right` (n,) says which rows may be drawn."""
        c = test.num_classes
        self._check_classes(test, self.target)
        if self.source is not None:
            right = right & (test.y == self.source)
        if self.target is not None:
            right = right & (test.y != self.target)
        eligible = np.flatnonzero(right)
        if len(eligible) < self.num_targets:
            raise DataError(
                f"{self.num_targets} test rows to target", f"{len(eligible)}", "lower num_targets or change source"
            )
        rows = rng.choice(eligible, self.num_targets, replace=False)
        shift = rng.integers(1, c, size=self.num_targets)
        if self.edge_cases:
            outermost = _outermost(test, clean, self.source)
            rows = outermost[np.isin(outermost, eligible)][: self.num_targets]
            shift[:] = shift[0]  # one class for the whole tail
        wanted = (test.y[rows] + shift) % c if self.target is None else np.full(self.num_targets, self.target)
        return rows, wanted


def _outermost(rows: Dataset, clean: Dataset, label: int | None) -> np.ndarray:
    """Numbers of the rows of that class, the one furthest from the class's mean in the clean rows first."""
    found = np.flatnonzero(rows.y == label)
    if not len(found):
        return found
    apart = np.linalg.norm(rows.flat[found] - clean.flat[clean.y == label].mean(axis=0), axis=1)
    return found[np.argsort(-apart, kind="stable")]


def _as_targets(rows: Dataset, wanted: np.ndarray, device: str) -> Targets:
    return Targets(
        torch.tensor(rows.inputs, device=device),
        torch.tensor(rows.y, device=device),
        torch.tensor(wanted, device=device),
    )


def _some(data: Dataset, rows: int | None, streams: Streams, name: str, reserve: int = 0) -> Dataset:
    """A random part of the rows, plus `reserve` more; all, in random order, if `rows` is None."""
    order = streams.numpy(name).permutation(len(data))
    need = len(data) if rows is None else rows + reserve
    if need > len(data) or need <= reserve:
        raise DataError(f"from 1 to {len(data) - reserve} {name}", f"{rows}", f"{data.name} has {len(data)} rows")
    return data[order[:need]]


def _server_side(defence: Any) -> tuple[Any, Any]:
    """(rule, detector) for a defence."""
    kind = None if defence is None else entry_of(defence).kind
    if kind not in (None, Kind.AGGREGATOR, Kind.REDUCER, Kind.CLIENT_DETECTOR):
        raise NotApplicable(
            "an aggregator or client detector in a federation", f"a {kind}", "use it in another scenario"
        )
    if kind is Kind.REDUCER:
        return Chain((defence,), Mean()), None
    if kind is Kind.CLIENT_DETECTOR:
        return Mean(), defence
    return (Mean() if defence is None else defence), None


def _agent(attack: Any, goal: Goal) -> Any:
    """The agent, or None for no attack.

    Raises:
        NotApplicable: it is no agent, or it, or an agent that it is made of, wants something else.
    """
    if attack is None or isinstance(attack, NoAttack):
        return None
    entry = entry_of(attack)
    if entry.kind is not Kind.AGENT:
        raise NotApplicable("a malicious agent in a federation", f"a {entry.kind}", "use it in another scenario")
    if goal not in entry.goals:
        wants = " or ".join(entry.goals)
        raise NotApplicable(f"an agent whose goal is {goal}", f"{entry.name}, whose goal is {wants}", "change `goal`")
    for part in (getattr(attack, known.name) for known in dataclasses.fields(attack)):
        inner = registered(type(part))
        if inner is not None and inner.kind is Kind.AGENT:
            _agent(part, goal)
    return attack


class RoundJudge:
    """Looks at every round with the truth in hand: the test rows, the targets, who is malicious."""

    def __init__(
        self, network: Network, targets: Targets, test: Dataset, device: str, source: int | None = None
    ) -> None:
        self.network, self.targets = network, targets
        self.x, self.y = torch.tensor(test.inputs, device=device), torch.tensor(test.y, device=device)
        self.shown: Tensor | None = None
        self.own_trigger: Trigger | None = None  # the attacker's, as last sent
        self.end: Tensor | None = None
        if targets.trigger is not None:
            others = test.y != targets.target if source is None else test.y == source
            self.others = test[np.flatnonzero(others)]
            self.shown = torch.tensor(shown(targets.trigger, self.others.inputs), device=device)
        self.curves: dict[str, list[float]] = {}
        self.notes: list[str] = []
        self._flags: list[np.ndarray] = []
        self._owned: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []

    def look_at(self, played: Round) -> None:
        """Append one value to every curve."""
        self.notes += played.notes
        self.end, self.own_trigger = played.end, played.trigger or self.own_trigger
        bad = torch.nonzero(played.malicious).flatten().tolist()
        good = torch.nonzero(~played.malicious).flatten().tolist()
        vectors = [played.end]
        if bad and len(good) > 1:
            vectors += [played.start + played.updates[i] for i in bad]
            vectors.append(played.start + (played.weights[:, None] * played.updates)[good].sum(dim=0))
        whole, *parts = accuracies(self.network, vectors, self.x, self.y)
        seen = {"accuracy": whole} | dict(self._global(played)) | dict(self._malicious(played, bad, good, parts))
        for name, value in seen.items():
            self.curves.setdefault(name, []).append(value)
        if played.verdict is not None:
            self._owned.append(played.malicious.numpy())
            self._flags.append(played.verdict.flags)
            self._scores.append(played.verdict.scores)

    def _global(self, played: Round) -> Iterator[tuple[str, float]]:
        wanted = self.targets.wanted
        confidence, hit = math.nan, math.nan
        if len(wanted):
            shares = probabilities(self.network, played.end, self.targets.x)
            confidence = float(shares.gather(1, wanted[:, None]).mean())
            hit = float(((shares.argmax(1) == wanted) & (shares.sum(1) > 0)).float().mean())
        yield "target_confidence", confidence
        yield "targets_hit", hit
        if self.shown is not None:
            yield from self._triggered(played.end, self.shown)

    def _triggered(self, vector: Tensor, shown: Tensor) -> Iterator[tuple[str, float]]:
        """How many rows with a trigger in them become the target class, and how many keep their own."""
        shares = probabilities(self.network, vector, shown)
        said, usable = shares.argmax(1), shares.sum(1) > 0
        true = torch.tensor(self.others.y, device=said.device)
        yield "asr", float(((said == self.targets.target) & usable).float().mean())
        yield "robust_accuracy", float(((said == true) & usable).float().mean())

    def _malicious(
        self, played: Round, bad: list[int], good: list[int], accuracies: list[float]
    ) -> Iterator[tuple[str, float]]:
        """What the paper measures of the malicious agents: accuracy of their model alone, gap, distances, norms.

        `accuracies` are those with each malicious update alone and, last, with the benign ones.
        """
        names = (
            "malicious_accuracy",
            "accuracy_gap",
            "range_statistic",
            "benign_range_statistic",
            "malicious_norm",
            "benign_norm",
            "malicious_distance_min",
            "malicious_distance_max",
            "benign_distance_min",
            "benign_distance_max",
            "malicious_selected",
        )
        if not accuracies:
            yield from ((name, math.nan) for name in names)
            return
        *alone, benign_accuracy = accuracies
        apart = distances(played.updates).numpy()
        between = apart[np.ix_(bad, good)]
        benign = apart[np.ix_(good, good)]
        among = benign[np.triu_indices(len(good), k=1)]
        # Each malicious agent is judged against the benign ones only, each benign one against the other benign ones.
        suspects = [range_statistic(apart[np.ix_([*good, i], [*good, i])], len(good)) for i in bad]
        norms = played.updates.norm(dim=1).cpu()
        values = (
            np.mean(alone),
            benign_accuracy - np.mean(alone),
            max(suspects),
            range_statistics(benign).max(),
            norms[bad].mean(),
            norms[good].mean(),
            between.min(),
            between.max(),
            among.min(),
            among.max(),
            selected(played.updates, played.aggregate)[bad].any(),
        )
        yield from ((name, float(value)) for name, value in zip(names, values, strict=True))

    def outcome(self, notes: tuple[str, ...]) -> Outcome:
        """The last round's numbers, means over rounds, and every curve."""
        last = {name: curve[-1] for name, curve in self.curves.items()}
        metrics = {
            "clean_accuracy": last["accuracy"],
            "chance_accuracy": float(torch.bincount(self.y).max()) / len(self.y),
            "test_rows": float(len(self.y)),
            "target_confidence": last["target_confidence"],
            "targets_hit": last["targets_hit"],
            "rounds": float(len(self.curves["accuracy"])),
            "rounds_hit": _mean(self.curves["targets_hit"]),
            "malicious_accuracy": last["malicious_accuracy"],
            "accuracy_gap": _mean(self.curves["accuracy_gap"]),
            "range_statistic": _mean(self.curves["range_statistic"]),
            "benign_range_statistic": _mean(self.curves["benign_range_statistic"]),
            "malicious_selected": _mean(self.curves["malicious_selected"]),
        }
        if "asr" in last:
            metrics |= {name: last[name] for name in ("asr", "robust_accuracy")}
            metrics["triggered_rows"] = float(len(self.others))
        if self.own_trigger is not None and self.end is not None:
            own = torch.tensor(shown(self.own_trigger, self.others.inputs), device=self.x.device)
            metrics |= {f"own_{name}": value for name, value in self._triggered(self.end, own)}
            notes = (*notes, "the attacker made a trigger of its own; `asr` is that of the scenario's trigger")
        if self._flags:
            owned = np.concatenate(self._owned)
            judged = quality(Verdict(np.concatenate(self._scores), np.concatenate(self._flags)), owned)
            metrics |= {"detection_auroc": judged.auroc, "detection_tpr": judged.tpr, "detection_fpr": judged.fpr}
        return Outcome(metrics, self.curves, (*notes, *self.notes))


def _mean(values: list[float]) -> float:
    """The mean of the values that are defined; nan if none is."""
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan
