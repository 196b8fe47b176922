"""The server's half of a round, called as a deployment would call it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import Need, ServerView, Targets
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.data import load
from antivenom.federated import (
    CRFL,
    LASA,
    AccuracyCheck,
    CenteredClipping,
    Chain,
    DeepSight,
    Federation,
    FLDetector,
    FLTrust,
    FoolsGold,
    Krum,
    LeaveOneOut,
    Mean,
    Median,
    MoNNA,
    NormBound,
    RangeCheck,
    Server,
    SignFlip,
    WeakDP,
)
from antivenom.federated.clients import train_agents
from antivenom.federated.guarded import shares_memory
from antivenom.federated.needs import needs_of
from antivenom.federated.server import ServerState
from antivenom.federated.weighting import Weighting, by_claims
from antivenom.models.architectures import MLP
from antivenom.models.network import build
from antivenom.models.training import Training

STREAMS = Streams(5)
ZERO = torch.zeros(2)
ROWS = torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 0.0], [100.0, 0.0]])


def test_a_round_by_hand() -> None:
    decision = Server(Mean(), (NormBound(factor=3),)).step(1, ZERO, ROWS, (7, 3, 9, 4))
    assert decision.aggregate.tolist() == [3.0, 0.0]  # 100 is more than three times the median 4; (1 + 3 + 5) / 3
    assert decision.clients == (7, 3, 9, 4)
    assert [(out.client, out.reason) for out in decision.left_out] == [(4, "flagged by NormBound")]
    assert decision.verdicts[0].flags.tolist() == [False, False, False, True]
    assert decision.weights.tolist() == [0.25] * 4
    assert decision.failure is None


def test_claims_are_weights_and_unusable_ones_leave_their_client_out() -> None:
    server = Server(Mean())
    decision = server.step(1, ZERO, ROWS, (1, 2, 3, 4), claims=[30, 10, float("nan"), -1])
    assert decision.aggregate.tolist() == [1.5, 0.0]  # 3/4 of 1 and 1/4 of 3
    assert [(o.client, o.reason) for o in decision.left_out] == [
        (3, "claimed nan examples"),
        (4, "claimed -1 examples"),
    ]
    assert by_claims(torch.zeros(0)).tolist() == []
    assert by_claims(torch.tensor([1e308, 1e308], dtype=torch.float64)).tolist() == [0.5, 0.5]


def test_shares_of_flagged_clients_go_to_the_others_unless_they_are_fixed() -> None:
    ones, flagged = torch.ones(3, 2), (Flags(2),)
    for weighting, expected in ((Weighting.UNIFORM, 1.0), (Weighting.EXAMPLES, 1.0), (Weighting.FIXED, 0.2)):
        server = Server(Mean(), flagged, weighting=weighting, num_agents=10)
        decision = server.step(1, ZERO, ones, (0, 1, 2), claims=[5, 5, 1])
        assert decision.aggregate.tolist() == pytest.approx([expected] * 2)  # two of ten a_i = 1/10 with fixed shares


@dataclasses.dataclass(frozen=True)
class Flags:
    """Flags one client by its id, and counts its rounds."""

    client: int

    def __call__(self, view: ServerView, state: int | None) -> tuple[Verdict, int]:
        flags = np.array([agent == self.client for agent in view.agents])
        return Verdict(flags.astype(float), flags), (state or 0) + 1


def test_each_detector_sees_everybody_and_whom_any_of_them_flags_is_left_out() -> None:
    server = Server(Median(), (Flags(1), Flags(2)))
    decision = server.step(1, ZERO, ROWS, (1, 2, 3, 4))
    assert [len(verdict) for verdict in decision.verdicts] == [4, 4]
    assert decision.aggregate.tolist() == [52.5, 0.0]
    server.step(2, ZERO, ROWS, (1, 2, 3, 4))
    assert server.state.detectors == (2, 2)


def test_a_server_that_is_given_its_state_back_goes_on_where_it_was() -> None:
    def fresh() -> Server:
        return Server(CenteredClipping(tau=1.0), (FLDetector(start=1),), streams=STREAMS)

    rounds = [torch.randn(5, 3, generator=STREAMS.torch("updates", i)) for i in range(6)]
    whole, first = fresh(), fresh()
    ends = [whole.step(i + 1, torch.zeros(3) + i, rows, range(5)).aggregate for i, rows in enumerate(rounds)]
    for i in range(3):
        first.step(i + 1, torch.zeros(3) + i, rounds[i], range(5))
    second = fresh()
    second.state = first.state
    for i in range(3, 6):
        assert torch.equal(second.step(i + 1, torch.zeros(3) + i, rounds[i], range(5)).aggregate, ends[i])
    assert Server(CenteredClipping()).state == ServerState(None, ())


def test_the_engine_is_an_independent_loop_over_clients_and_this_server() -> None:
    rows = load("digits", STREAMS).train[:300]
    network = build(MLP(hidden=(8,)), rows.shape, 10, STREAMS)
    training = Training(epochs=1, batch_size=32, learning_rate=5e-3)
    federation = Federation(num_agents=5, rounds=3, training=training)
    shards = federation.shards(rows, STREAMS)
    x, y = torch.tensor(rows.x[:1]), torch.tensor(rows.y[:1])
    rule, detector = Chain((WeakDP(noise=0.01),), FoolsGold()), FLDetector(start=1)
    played = federation.rounds_of(network, shards, Targets(x, y, y), STREAMS, rule=rule, detector=detector)
    vector, memory, seen = network.initial.clone(), None, None
    for number, r in enumerate(played, start=1):
        own = STREAMS.child("round", number)
        updates = train_agents(network, vector, shards, range(5), training, own)
        view = ServerView(number, vector, updates, tuple(range(5)), torch.full((5,), 0.2), streams=own.child("server"))
        verdict, seen = detector(view, seen)
        kept = torch.as_tensor(~verdict.flags)
        agents = tuple(int(i) for i in torch.nonzero(kept))
        left = dataclasses.replace(view, updates=updates[kept], agents=agents, weights=view.weights[kept])
        aggregate, memory = rule.step(left.updates, left.weights, left, memory)
        vector = vector + aggregate
        assert torch.equal(r.end, vector)
    assert number == 3


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (LASA(), {Need.LAYERS}),
        (DeepSight(), {Need.LAYERS, Need.NETWORK}),
        (FLTrust(), {Need.NETWORK, Need.ROOT_ROWS}),
        (MoNNA(), {Need.NETWORK, Need.ROOT_ROWS}),
        (MoNNA(trusted=0), set()),
        (Krum(kernels_only=True), {Need.LAYERS}),
        (Krum(), set()),
        (FoolsGold(), {Need.IDS, Need.PAST}),
        (Chain(rule=FLTrust()), {Need.NETWORK, Need.ROOT_ROWS}),
        (CRFL(rule=CenteredClipping()), {Need.PAST}),
        (LeaveOneOut(rule=LASA()), {Need.LAYERS, Need.NETWORK, Need.ROOT_ROWS}),
        (RangeCheck(kernels_only=True), {Need.LAYERS}),
    ],
    ids=lambda v: " and ".join(sorted(v)) if isinstance(v, set) else repr(v),
)
def test_what_is_needed_counts_what_a_plugin_is_made_of(plugin: Any, words: set[Need]) -> None:
    assert needs_of(plugin) == words


@pytest.mark.parametrize(
    ("rule", "detectors", "message"),
    [
        (LASA(), (), "the layers of the model for LASA"),
        (DeepSight(), (), "the layers of the model for DeepSight"),
        (Chain(rule=LASA()), (), "the layers of the model for Chain"),
        (FLTrust(), (), "the network for FLTrust"),
        (Mean(), (AccuracyCheck(),), "the network for AccuracyCheck"),
    ],
)
def test_a_missing_need_is_one_line_before_the_first_round(rule: Any, detectors: Any, message: str) -> None:
    with pytest.raises(NotApplicable, match=f"expected {message}, got .*: give the server the network"):
        Server(rule, detectors)


def test_root_rows_are_asked_for_when_a_federation_starts() -> None:
    network = build(MLP(hidden=()), (3,), 2, STREAMS)
    with pytest.raises(NotApplicable, match="root rows of the server for FLTrust"):
        Server(FLTrust(), network=network)


@pytest.mark.parametrize("rule", [LASA(), DeepSight(samples=10)], ids=repr)
def test_updates_with_running_statistics_in_them_are_refused_and_are_no_single_layer(rule: Any) -> None:
    network = build(MLP(hidden=(3,)), (4,), 2, STREAMS)
    d = network.dimension + 6
    server = Server(rule, network=network)
    with pytest.raises(PluginError, match=f"updates of the {network.dimension} trained parameters"):
        server.step(1, torch.zeros(d), torch.randn(5, d, generator=STREAMS.torch("u")), range(5))


class Writes:
    """A rule that writes into what it sees, under the name of its field."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __call__(self, updates: Tensor, weights: Tensor, view: ServerView) -> Tensor:
        if self.how == "start":
            view.start.add_(1)
        elif self.how == "numpy":
            updates.numpy()[0] = 0
        elif self.how == "sorted":
            updates.numpy().sort(axis=0)
        elif self.how == "data":
            updates.data.mul_(2)
        elif self.how == "weights":
            weights.fill_(1)
        return updates.mean(dim=0)


@pytest.mark.parametrize("how", ["start", "numpy", "sorted", "data", "weights"])
def test_a_rule_that_writes_into_what_it_sees_is_named(how: str) -> None:
    start, rows = torch.ones(3), torch.randn(4, 3, generator=STREAMS.torch("u"))
    with pytest.raises(PluginError, match="Writes to leave its inputs alone"):
        Server(Writes(how)).step(1, start, rows, range(4))
    assert torch.equal(start, torch.ones(3))
    assert Server(Writes("")).step(1, start, rows, range(4)).failure is None


def fails(updates: Tensor, weights: Tensor, view: ServerView) -> Tensor:
    raise ZeroDivisionError("no idea")


def overflows(updates: Tensor, weights: Tensor, view: ServerView) -> Tensor:
    return updates.sum(dim=0) * torch.inf


def shapeless(updates: Tensor, weights: Tensor, view: ServerView) -> Tensor:
    return updates.sum()


def test_failures_of_a_rule_are_typed() -> None:
    with pytest.raises(PluginError, match="expected fails to work, got ZeroDivisionError: no idea"):
        Server(fails).step(1, ZERO, ROWS, range(4))
    with pytest.raises(PluginError, match=r"an aggregate of shape \(2,\) from shapeless, got \(\)"):
        Server(shapeless).step(1, ZERO, ROWS, range(4))
    decision = Server(overflows).step(1, ZERO, ROWS, range(4))
    assert decision.aggregate.tolist() == [0.0, 0.0]
    assert decision.failure == "overflows returned NaN or infinity"
    with pytest.raises(PluginError, match=r"updates of shape \(3, 2\)"):
        Server(Mean()).step(1, ZERO, ROWS, range(3))


def test_memory_never_is_the_aggregate() -> None:
    from antivenom.core.registry import Kind, entries
    from antivenom.federated.aggregation import has_memory

    made = [entry.cls() for entry in entries(Kind.AGGREGATOR) if entry.origin == "antivenom"]
    stateful = [rule for rule in made if has_memory(rule)]
    assert {type(rule).__name__ for rule in stateful} >= {"WBC", "CenteredClipping", "ClippedClustering", "FoolsGold"}
    for rule in [*stateful, Chain(rule=CenteredClipping())]:
        state = None
        for number in range(3):
            rows = torch.randn(6, 4, generator=STREAMS.torch("u", number))
            aggregate, state = rule.step(rows, torch.full((6,), 1 / 6), None, state)
            before = repr(state)
            aggregate.fill_(7.0)
            rows.fill_(7.0)
            assert repr(state) == before
            assert not shares_memory(state, aggregate)


def test_an_attack_in_the_engine_still_meets_the_rule() -> None:
    rows = load("digits", STREAMS).train[:200]
    network = build(MLP(hidden=()), rows.shape, 10, STREAMS)
    federation = Federation(num_agents=5, num_malicious=1, rounds=1, training=Training(epochs=1))
    x, y = torch.tensor(rows.x[:1]), torch.tensor(rows.y[:1])
    shards = federation.shards(rows, STREAMS)
    (played,) = federation.rounds_of(network, shards, Targets(x, y, y), STREAMS, SignFlip(scale=50), NormBounded())
    assert played.verdict is None


class NormBounded:
    """A plain callable as rule: the mean of updates of length at most 1."""

    def __call__(self, updates: Tensor, weights: Tensor, view: ServerView) -> Tensor:
        return (updates / updates.norm(dim=1, keepdim=True).clamp_min(1)).mean(dim=0)


def test_layers_may_be_known_without_the_network() -> None:
    network = build(MLP(hidden=(3,)), (4,), 2, STREAMS)
    rows = torch.randn(6, network.dimension, generator=STREAMS.torch("u"))
    for rule in (LASA(), Krum(kernels_only=True)):
        start = torch.zeros(network.dimension)
        known, whole = Server(rule, layout=network.layout), Server(rule, network=network)
        assert torch.equal(*(server.step(1, start, rows, range(6)).aggregate for server in (known, whole)))
    with pytest.raises(NotApplicable, match="the network for DeepSight"):
        Server(DeepSight(), layout=network.layout)
