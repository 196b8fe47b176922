"""The federated arrow: a federation with malicious agents, judged every round on rows that nobody in it saw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antivenom.attacks import NoAttack
from antivenom.data import Dataset, load, missing_classes
from antivenom.errors import DataError, NotApplicable, ScenarioError
from antivenom.federated.aggregators import Mean, selected
from antivenom.federated.chain import Chain
from antivenom.federated.clients import Shards, loop_note
from antivenom.federated.detectors import range_statistics
from antivenom.federated.distances import distances
from antivenom.federated.engine import Federation, Round
from antivenom.federated.judging import accuracy, probabilities
from antivenom.models.face import Architecture, TorchLearner, TorchModel
from antivenom.models.network import Network
from antivenom.models.reference import MLP, learner
from antivenom.models.training import train
from antivenom.protocols import Targets
from antivenom.registry import Kind, entry_of
from antivenom.rng import Streams
from antivenom.scenarios.outcome import Outcome
from antivenom.threat import Goal
from antivenom.verdict import Verdict, quality


@dataclass(frozen=True)
class Federated:
    """A federation in which the attacker wants chosen test inputs misclassified.

    The targets are drawn from the test rows and taken out of them; by default among those that an honest model of the
    attacker's own shard gets right, for an input that is misclassified anyway is no target. The server's validation
    rows come from the training rows. All of it depends on the seed alone, so trials with one seed are paired.

    Fields:
        data: name of the data set.
        model: a torch architecture.
        federation: the protocol.
        goal: targeted.
        num_targets: r; one target goes from `source` to `target`, several get random points and random wrong classes.
        source: true class of a single target; None is any.
        target: class wanted for a single target; None is a random wrong one.
        only_right: draw targets that an honest model, trained on the attacker's shard alone, classifies correctly.
        stop_accuracy: end after the first round with this test accuracy; None runs all rounds.
        train_rows: use only so many training rows; None is all.
        test_rows: judge on only so many test rows; None is all.
        validation_rows: the server's own, taken from the training rows before they are shared.
    """

    data: str = "digits"
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

    def __post_init__(self) -> None:
        if Goal(self.goal) is not Goal.TARGETED:
            raise ScenarioError("goal: targeted in a federation", f"{self.goal}", "other goals are not measured yet")
        if self.source is not None and self.source == self.target:
            raise ScenarioError(
                "a target that differs from the true class", f"{self.source} for both", "change target or source"
            )
        if self.num_targets < 1:
            raise ScenarioError("num_targets >= 1", f"{self.num_targets}", "ask for at least one target")

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        """Train and judge. `attack` is an agent or None; `defence` an aggregation rule, a client detector or None."""
        streams = Streams(seed)
        rule, detector = _server_side(defence)
        agent = _agent(attack)
        split = load(self.data, streams)
        train = _some(split.train, self.train_rows, streams, "train rows", self.validation_rows)
        validation, train = train[: self.validation_rows], train[self.validation_rows :]
        maker = learner(self.model, self.federation.training, device)
        if not isinstance(maker, TorchLearner):
            raise NotApplicable(
                "a torch model in a federation", type(self.model).__name__, "averaging needs parameters"
            )
        network = maker.network(train, streams)
        if network.buffers:
            raise NotApplicable(
                "a network without running statistics", ", ".join(network.buffers), "use GroupNorm, not BatchNorm"
            )
        shards = self.federation.shards(train, streams, device)
        targets, test = self._targets(split.test, network, shards, streams, device)
        judge = Judge(network, targets, test, device)
        notes = [missing_classes(train, [rows.cpu().numpy() for rows in shards.rows]), loop_note(network)]
        rounds = self.federation.rounds_of(
            network, shards, targets, streams, agent, rule, detector, validation if len(validation) else None
        )
        for played in rounds:
            judge.look_at(played)
            if self.stop_accuracy is not None and judge.curves["accuracy"][-1] >= self.stop_accuracy:
                break
        return judge.outcome(tuple(note for note in notes if note))

    def _targets(
        self, test: Dataset, network: Network, shards: Shards, streams: Streams, device: str
    ) -> tuple[Targets, Dataset]:
        """The targets, and the test rows without them."""
        right = np.ones(len(test), dtype=bool)
        if self.only_right:
            own = shards.of_agent(self.federation.num_agents - 1)
            vector, _ = train(network, network.initial, *own, self.federation.training, streams.child("own model"))
            right = TorchModel(network, vector, network.buffers).predict(test.x) == test.y
        rows, wanted = self._drawn(test, right, streams.numpy("targets"))
        chosen, rest = test[rows], test[np.setdiff1d(np.arange(len(test)), rows)]
        drawn = Targets(
            torch.tensor(chosen.x, device=device),
            torch.tensor(chosen.y, device=device),
            torch.tensor(wanted, device=device),
        )
        return drawn, _some(rest, self.test_rows, streams, "test rows")

    def _drawn(self, test: Dataset, right: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers (r,) of the targets and the classes (r,) wanted; `right` (n,) says which rows may be drawn."""
        c = test.num_classes
        for role, value in (("source", self.source), ("target", self.target)):
            if value is not None and not 0 <= value < c:
                raise ScenarioError(
                    f"{role} from 0 to {c - 1} for {self.data}", f"{value}", f"name one of its {c} classes"
                )
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
        wanted = (test.y[rows] + shift) % c if self.target is None else np.full(self.num_targets, self.target)
        return rows, wanted


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


def _agent(attack: Any) -> Any:
    """The agent, or None for no attack."""
    if attack is None or isinstance(attack, NoAttack):
        return None
    if entry_of(attack).kind is not Kind.AGENT:
        raise NotApplicable(
            "a malicious agent in a federation", f"a {entry_of(attack).kind}", "use it in another scenario"
        )
    return attack


class Judge:
    """Looks at every round with the truth in hand: the test rows, the targets, who is malicious."""

    def __init__(self, network: Network, targets: Targets, test: Dataset, device: str) -> None:
        self.network, self.targets = network, targets
        self.x, self.y = torch.tensor(test.x, device=device), torch.tensor(test.y, device=device)
        self.curves: dict[str, list[float]] = {}
        self.notes: list[str] = []
        self._flags: list[np.ndarray] = []
        self._owned: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []

    def look_at(self, played: Round) -> None:
        """Append one value to every curve."""
        self.notes += played.notes
        seen = dict(self._global(played)) | dict(self._malicious(played))
        for name, value in seen.items():
            self.curves.setdefault(name, []).append(value)
        if played.verdict is not None:
            self._owned.append(played.malicious.numpy())
            self._flags.append(played.verdict.flags)
            self._scores.append(played.verdict.scores)

    def _accuracy(self, vector: Tensor) -> float:
        return accuracy(self.network, vector, self.x, self.y)

    def _global(self, played: Round) -> Iterator[tuple[str, float]]:
        shares = probabilities(self.network, played.end, self.targets.x)
        wanted = self.targets.wanted
        yield "accuracy", self._accuracy(played.end)
        yield "target_confidence", float(shares.gather(1, wanted[:, None]).mean())
        yield "targets_hit", float(((shares.argmax(1) == wanted) & (shares.sum(1) > 0)).float().mean())

    def _malicious(self, played: Round) -> Iterator[tuple[str, float]]:
        """What the paper measures of the malicious agents: accuracy of their model alone, gap, distances, norms."""
        bad = torch.nonzero(played.malicious).flatten().tolist()
        good = torch.nonzero(~played.malicious).flatten().tolist()
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
        if not bad or len(good) < 2:
            yield from ((name, math.nan) for name in names)
            return
        weighted = (played.weights[:, None] * played.updates)[good].sum(dim=0)
        alone = float(np.mean([self._accuracy(played.start + played.updates[i]) for i in bad]))
        apart = distances(played.updates).cpu().numpy()
        between = apart[np.ix_(bad, good)]
        among = apart[np.ix_(good, good)][np.triu_indices(len(good), k=1)]
        # Each malicious agent is judged against the benign ones only, each benign one against the other benign ones.
        suspects = [range_statistics(played.updates[[*good, i]])[-1] for i in bad]
        norms = played.updates.norm(dim=1)
        values = (
            alone,
            self._accuracy(played.start + weighted) - alone,
            float(np.max(suspects)),
            float(range_statistics(played.updates[good]).max()),
            float(norms[bad].mean()),
            float(norms[good].mean()),
            between.min(),
            between.max(),
            among.min(),
            among.max(),
            float(selected(played.updates, played.aggregate)[bad].any()),
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
        if self._flags:
            owned = np.concatenate(self._owned)
            judged = quality(Verdict(np.concatenate(self._scores), np.concatenate(self._flags)), owned)
            metrics |= {"detection_auroc": judged.auroc, "detection_tpr": judged.tpr, "detection_fpr": judged.fpr}
        return Outcome(metrics, self.curves, (*notes, *self.notes))


def _mean(values: list[float]) -> float:
    """The mean of the values that are defined; nan if none is."""
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan
