"""The federated arrow: a federation with malicious agents, judged every round on rows that nobody in it saw."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antivenom.attacks import NoAttack
from antivenom.core import protocols
from antivenom.core.errors import DataError, NotApplicable, ScenarioError, with_article
from antivenom.core.outcome import Chart, Curve, Outcome
from antivenom.core.progress import progress_file
from antivenom.core.protocols import Architecture, Known, Source, Trigger, Wanted
from antivenom.core.registry import Kind, entry_of, scenario
from antivenom.core.registry.entry import registered
from antivenom.core.streams import Streams
from antivenom.core.threat import HARMS, Access, Goal, Knowledge, Level, ThreatModel
from antivenom.core.wanted import AllToOne, FromTo
from antivenom.data import Dataset, Named, Split, missing_classes
from antivenom.data.fingerprints import of_rows
from antivenom.federated.aggregation import require_min_updates
from antivenom.federated.aggregators import Mean
from antivenom.federated.answers import accuracies
from antivenom.federated.chain import Chain
from antivenom.federated.checkpoints import Checkpoint
from antivenom.federated.clients import Client, Shards, loop_note, trained
from antivenom.federated.engine import Federation, Progress
from antivenom.models.architectures import MLP
from antivenom.models.network import Network
from antivenom.models.wrappers import TorchLearner, TorchModel, learner
from antivenom.scenarios.checks import about, check_aim, check_model, drawn_by
from antivenom.scenarios.fields import settle
from antivenom.scenarios.grants import Aim
from antivenom.scenarios.metrics import Judge
from antivenom.scenarios.rounds import RoundJudge
from antivenom.scenarios.targets import Targets, drawn_among, tail
from antivenom.scenarios.twins import twin
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

    Targets are drawn from the test rows and taken out of them. By default they are drawn among the rows that an honest
    model of the attacker's own shard classifies correctly, since an input that is misclassified anyway is no target. The
    server's validation rows come from the training rows. All of it depends on the seed alone, so trials with one seed are
    paired.

    Fields:
        data: where the rows come from: a source, the name of a data set, a Dataset, a Split, or (X, y).
        model: an architecture by name, a torch module, a function that makes one, or `module:name` of one of these.
        federation: the protocol.
        goal: availability, targeted or backdoor.
        wanted: the classes that the attacker wants (backdoor and targeted); a class number means AllToOne. None: for each
            target a random wrong class (targeted), class 0 (backdoor).
        num_targets: r, how many test rows are drawn as targets (targeted), unless `wanted` names them.
        only_right: draw targets that an honest model, trained on the attacker's shard alone, classifies correctly.
        stop_accuracy: end after the first round with this test accuracy; None runs all rounds.
        train_rows: use only so many training rows; None is all.
        test_rows: judge on only so many test rows; None is all.
        validation_rows: the server's own, taken from the training rows before they are shared.
        trigger: what is shown at test time (backdoor).
        warm_start: rounds of training before round 1, in which every agent is honest and the server averages without a
            defence. No curve and no metric shows them. The clean twin starts with them too. 0 starts from initial weights.
        edge_cases: training rows from the tail of the source class (furthest from its mean) that only the attacker holds;
            the targets are then the tail of the test rows (targeted, `wanted: FromTo`). 0: the attacker holds the
            targets themselves.
    """

    data: Source = Named("digits")
    model: Architecture = MLP()
    federation: Federation = Federation()
    goal: Goal = Goal.TARGETED
    wanted: Wanted | None = None
    num_targets: int = 1
    only_right: bool = True
    stop_accuracy: float | None = None
    train_rows: int | None = None
    test_rows: int | None = None
    validation_rows: int = 100
    trigger: Trigger = Patch()
    warm_start: int = 0
    edge_cases: int = 0

    def __post_init__(self) -> None:
        if self.goal not in HARMS:
            raise ScenarioError("goal: availability, targeted or backdoor", f"{self.goal}", "choose one")
        settle(self)
        has_tail = self.goal is Goal.TARGETED and isinstance(self.wanted, FromTo)
        if self.edge_cases < 0 or (self.edge_cases and not has_tail):
            raise ScenarioError(
                "edge_cases >= 0, with goal: targeted and wanted: FromTo", f"{self.edge_cases}", "name the tail's class"
            )
        if self.warm_start < 0:
            raise ScenarioError("warm_start >= 0", f"{self.warm_start}")
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

    def check_rows(self, split: Split) -> None:
        """Check that targets, trigger, numbers of rows and agents, and model suit the rows."""
        streams, test = Streams(0), split.test.encoded
        check_aim(test, Aim(self.threat, AllToOne() if self.wanted is None else self.wanted, self.trigger))
        with about("validation_rows" if self.train_rows is None else "train_rows"):
            train = _some(split.train.encoded, self.train_rows, streams, "train rows", self.validation_rows)
        with about("edge_cases"):
            train, _ = self._tail_of(train[self.validation_rows :])
        with about("federation"):
            self.federation.shards(train, streams)
        with about(drawn_by(self.wanted)):
            if self.goal is Goal.TARGETED:
                every = np.ones(len(test), dtype=bool)
                tail_of = train if self.edge_cases else None
                _, test = drawn_among(test, self.wanted, self.num_targets, streams, every, tail_of)
        with about("test_rows"):
            _some(test, self.test_rows, streams, "test rows")
        check_model(self.model, self.federation.training, train)

    def check_plugins(self, attack: object, defence: object) -> None:
        """Check that the agent wants this goal, and that there are as many clients as the defence needs."""
        with about("defence"):
            _server_side(defence, self.federation.clients_per_round)
        _agent(attack, self.goal)

    def run(self, attack: object, defence: object, seed: int, device: str = "cpu") -> Outcome:
        """Train and judge. `attack` is an agent or None; `defence` an aggregation rule, a client detector or None."""
        streams = Streams(seed)
        rule, detector = _server_side(defence, self.federation.clients_per_round)
        agent = _agent(attack, self.goal)
        split = self.data(streams)
        train = _some(split.train.encoded, self.train_rows, streams, "train rows", self.validation_rows)
        validation, train = train[: self.validation_rows], train[self.validation_rows :]
        train, edge = self._tail_of(train)
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
        targets, test = self._targets(split.test.encoded, train, network, shards, streams)
        del split  # of a large set, each trial in step would hold its own
        network = network.starting_at(self._start(network, shards, train, streams, device))
        aim = Aim(self.threat, AllToOne() if self.wanted is None else self.wanted, self.trigger, targets)
        judge = RoundJudge(network, Judge(test, aim), device)
        notes = [
            missing_classes(train, [rows.cpu().numpy() for rows in shards.rows]),
            None if self.federation.local else loop_note(network, self.federation.training, device),
        ]
        held = targets
        if targets is not None and self.edge_cases:
            held = Targets(edge, np.full(len(edge), targets.labels[0]))
        told, root = _sent(aim, held, test, device), validation if len(validation) else None
        kept = Checkpoint(progress_file(), device)
        since, done = kept.read(), None
        if since is not None:
            judge.memory, done = since["judge"], Progress.of(since["federation"])
        for played in self.federation.rounds_of(network, shards, told, streams, agent, rule, detector, root, done):
            judge.look_at(played)
            if self._is_over(judge.curves["accuracy"][-1]):
                break
            if kept.is_due:
                kept.write({"federation": played.progress.plain, "judge": judge.memory})
        is_twin = agent is None and detector is None and isinstance(rule, Mean)
        outcome = judge.outcome(
            lambda: self._twin(network, shards, train, judge, streams, judge.end if is_twin else None),
            tuple(note for note in notes if note),
        )
        return dataclasses.replace(outcome, metrics=outcome.metrics | self._counts(agent))

    def _tail_of(self, train: Dataset) -> tuple[Dataset, Dataset]:
        """The training rows without the edge cases, and those."""
        rows = tail(train, train, self.wanted)[: self.edge_cases]
        if len(rows) < self.edge_cases:
            raise DataError(f"{self.edge_cases} training rows of the source class", f"{len(rows)}", "ask for fewer")
        return train[np.setdiff1d(np.arange(len(train)), rows)], train[rows]

    def _targets(
        self, test: Dataset, clean: Dataset, network: Network, shards: Shards, streams: Streams
    ) -> tuple[Targets | None, Dataset]:
        """The inputs that are wanted misclassified, if that is the goal, and the test rows without them."""
        targets = None
        if self.goal is Goal.TARGETED:
            right = np.ones(len(test), dtype=bool)
            if self.only_right:
                own = shards.of_agent(self.federation.num_agents - 1)
                client = Client(network, network.initial, *own, self.federation.training, streams.child("own model"))
                right = TorchModel(network, trained([client])[0], network.buffers).predict(test.inputs) == test.y
            tail_of = clean if self.edge_cases else None
            targets, test = drawn_among(test, self.wanted, self.num_targets, streams, right, tail_of)
        return targets, _some(test, self.test_rows, streams, "test rows")

    def _start(self, network: Network, shards: Shards, train: Dataset, streams: Streams, device: str) -> Tensor:
        """(d,) the global parameters at the start of round 1: initial ones, or those after the rounds of the warm start."""

        def play() -> Tensor:
            before, own = dataclasses.replace(self.federation, rounds=self.warm_start), streams.child("warm start")
            nobody = shards.x[:0], shards.y[:0], shards.y[:0]
            vector = network.initial
            for played in before.rounds_of(network, shards, protocols.Targets(*nobody), own):
                vector = played.end
            return vector

        if self.warm_start == 0:
            return network.initial
        key = ("warm start", self.warm_start, self.federation, device, streams.key, of_rows(train))
        return twin(self.model, key, play)

    def _counts(self, agent: object) -> dict[str, float]:
        """How many agents are malicious, beside their share of all."""
        number = 0 if agent is None else self.federation.num_malicious
        return {"malicious_agents": float(number), "malicious_share": number / self.federation.num_agents}

    def _twin(
        self,
        network: Network,
        shards: Shards,
        train: Dataset,
        judge: RoundJudge,
        streams: Streams,
        end: Tensor | None,
    ) -> Tensor:
        """(d,) the global parameters of the same federation without attack and without defence; `end` if that was just run."""

        def play() -> Tensor:
            if end is not None:
                return end
            nothing = _sent(judge.judge.aim, None, judge.judge.test, judge.device)
            vector = network.initial
            for played in self.federation.rounds_of(network, shards, nothing, streams):
                vector = played.end
                if self.stop_accuracy is not None and self._is_over(*accuracies(network, [vector], judge.x, judge.y)):
                    break
            return vector

        rows = (of_rows(train), "" if self.stop_accuracy is None else of_rows(judge.judge.test))
        key = (self.federation, self.warm_start, self.stop_accuracy, judge.device, streams.key, *rows)
        return twin(self.model, key, play)

    def _is_over(self, accuracy: float) -> bool:
        return self.stop_accuracy is not None and accuracy >= self.stop_accuracy


def _sent(aim: Aim, held: Targets | None, rows: Dataset, device: str) -> protocols.Targets:
    """What the malicious agents are told: the targets that they hold, or the trigger and the classes wanted of it."""
    if held is None:
        backdoor = aim.threat.goal is Goal.BACKDOOR
        held, wanted = Targets(rows[:0], np.zeros(0, dtype=np.int64)), aim.wanted if backdoor else None
        trigger = aim.trigger if backdoor else None
    else:
        wanted, trigger = held.wanted, None
    x, y = (torch.tensor(part, device=device) for part in (held.rows.inputs, held.rows.y))
    return protocols.Targets(x, y, torch.tensor(held.labels, device=device), wanted, trigger)


def _some(data: Dataset, rows: int | None, streams: Streams, name: str, reserve: int = 0) -> Dataset:
    """A random part of the rows, plus `reserve` more before it; all, in random order, if `rows` is None."""
    order = streams.numpy(name).permutation(len(data))
    need = len(data) if rows is None else rows + reserve
    if data.groups is not None:  # agents with rows of their own keep them in their order
        order[reserve:need] = np.sort(order[reserve:need])
    if need > len(data) or need <= reserve:
        raise DataError(f"from 1 to {len(data) - reserve} {name}", f"{rows}", f"{data.name} has {len(data)} rows")
    return data[order[:need]]


def _server_side(defence: Any, clients: int) -> tuple[Any, Any]:
    """(rule, detector) for a defence against that many clients a round.

    Raises:
        NotApplicable: it is no defence of a federation.
        PluginError: it needs more clients, which is better known now than after the first round of training.
    """
    kind = None if defence is None else entry_of(defence).kind
    if kind not in (None, Kind.AGGREGATOR, Kind.REDUCER, Kind.CLIENT_DETECTOR):
        raise NotApplicable(
            "an aggregator or client detector in a federation", with_article(str(kind)), "use it in another scenario"
        )
    for part in (defence, *getattr(defence, "reducers", ())[:1]):
        require_min_updates(part, clients)
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
        raise NotApplicable("a malicious agent in a federation", with_article(entry.kind), "use it in another scenario")
    if goal not in entry.goals:
        wants = " or ".join(entry.goals)
        raise NotApplicable(f"an agent whose goal is {goal}", f"{entry.name}, whose goal is {wants}", "change `goal`")
    for part in (getattr(attack, known.name) for known in dataclasses.fields(attack)):
        inner = registered(type(part))
        if inner is not None and inner.kind is Kind.AGENT:
            _agent(part, goal)
    return attack
