"""The round engine: who takes part, what the server gets, and what it does with what hostile agents send."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from antivenom.core.errors import PluginError, ScenarioError, ThreatError
from antivenom.core.protocols import AgentView, ServerView, Shard, Targets
from antivenom.core.registry import local_training
from antivenom.core.streams import Streams
from antivenom.core.threat import Knowledge
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset, Dirichlet, load
from antivenom.federated import (
    FLANDERS,
    AccuracyCheck,
    CenteredClipping,
    Chain,
    DeepSight,
    FalseExamples,
    Federation,
    FLTrust,
    Krum,
    Mean,
    Median,
    MoNNA,
    Round,
    SignFlip,
    WeakDP,
)
from antivenom.federated.answers import accuracy
from antivenom.federated.clients import Client, Shards, one_by_one
from antivenom.models.architectures import MLP
from antivenom.models.network import Network, build
from antivenom.models.training import Training

STREAMS = Streams(5)
QUICK = Training(epochs=1, batch_size=32, learning_rate=5e-3)


@pytest.fixture(scope="module")
def rows() -> Dataset:
    return load("digits", STREAMS).train[:400]


@pytest.fixture(scope="module")
def network(rows: Dataset) -> Network:
    return build(MLP(hidden=(16,)), rows.shape, 10, STREAMS)


@pytest.fixture(scope="module")
def targets(rows: Dataset) -> Targets:
    return Targets(torch.tensor(rows.x[:1]), torch.tensor(rows.y[:1]), torch.tensor((rows.y[:1] + 1) % 10))


def play(federation: Federation, rows: Dataset, network: Network, targets: Targets, **options: Any) -> list[Round]:
    return list(federation.rounds_of(network, federation.shards(rows, STREAMS), targets, STREAMS, **options))


def test_a_round_is_federated_averaging(rows: Dataset, network: Network, targets: Targets) -> None:
    federation = Federation(num_agents=4, rounds=2, training=QUICK)
    played = play(federation, rows, network, targets)
    shards = federation.shards(rows, STREAMS)
    start, own = network.initial, STREAMS.child("round", 1)
    clients = [Client(network, start, *shards.of_agent(a), QUICK, own.child("agent", a)) for a in range(4)]
    by_hand = one_by_one(clients) - start
    torch.testing.assert_close(played[0].updates, by_hand, rtol=0, atol=1e-5)
    torch.testing.assert_close(played[0].end, network.initial + by_hand.sum(0) / 4, rtol=0, atol=1e-5)
    assert torch.equal(played[1].start, played[0].end)
    assert [r.number for r in played] == [1, 2]


@pytest.mark.parametrize(("weighting", "divisor"), [("uniform", 3), ("fixed", 8)])
def test_shares_are_among_the_chosen_unless_they_are_fixed(
    weighting: str, divisor: int, rows: Dataset, network: Network, targets: Targets
) -> None:
    federation = Federation(num_agents=8, agents_per_round=3, rounds=4, training=QUICK, weighting=weighting)  # type: ignore[arg-type]
    played = play(federation, rows, network, targets)
    for r in played:
        assert len(r.agents) == 3
        torch.testing.assert_close(r.aggregate, r.updates.sum(0) / divisor)
        assert r.weights.tolist() == pytest.approx([1 / divisor] * 3)
    assert len({r.agents for r in played}) > 1


def test_weights_by_examples_follow_ragged_shards(rows: Dataset, network: Network, targets: Targets) -> None:
    federation = Federation(num_agents=5, rounds=1, partition=Dirichlet(0.5), training=QUICK, weighting="examples")  # type: ignore[arg-type]
    sizes = np.array([len(s) for s in federation.shards(rows, STREAMS).rows])
    (played,) = play(federation, rows, network, targets)
    np.testing.assert_allclose(played.weights.numpy(), sizes / sizes.sum(), rtol=1e-6)
    assert len(set(sizes)) > 1


@dataclasses.dataclass(frozen=True)
class Sends:
    """An agent that sends a constant."""

    value: float
    kind: torch.dtype = torch.float32

    def __call__(self, view: AgentView) -> Tensor:
        return torch.full((len(view.shards), view.network.dimension), self.value, dtype=self.kind)


def test_the_last_agents_are_malicious_and_only_when_chosen(rows: Dataset, network: Network, targets: Targets) -> None:
    federation = Federation(num_agents=6, agents_per_round=3, num_malicious=2, rounds=12, training=QUICK)
    played = play(federation, rows, network, targets, agent=Sends(0.5))
    for r in played:
        assert r.malicious.tolist() == [a >= 4 for a in r.agents]
        assert torch.equal((r.updates == 0.5).all(1), r.malicious)
    assert {int(r.malicious.sum()) for r in played} >= {0, 1}


def test_changing_the_attack_leaves_the_benign_updates_paired(
    rows: Dataset, network: Network, targets: Targets
) -> None:
    federation = Federation(num_agents=4, rounds=1, training=QUICK)
    (clean,) = play(federation, rows, network, targets)
    (attacked,) = play(federation, rows, network, targets, agent=Sends(1.0))
    torch.testing.assert_close(clean.updates[:3], attacked.updates[:3], rtol=0, atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_agent_that_sends_nan_is_left_out_and_named(
    bad: float, rows: Dataset, network: Network, targets: Targets
) -> None:
    federation = Federation(num_agents=4, rounds=2, training=QUICK)
    for r in play(federation, rows, network, targets, agent=Sends(bad)):
        assert r.agents == (0, 1, 2)
        assert r.notes == (f"round {r.number}: agent 3 sent NaN or infinity and was left out",)
        assert torch.isfinite(r.end).all()


def test_updates_of_another_precision_are_taken_in_the_models(
    rows: Dataset, network: Network, targets: Targets
) -> None:
    federation = Federation(num_agents=4, rounds=2, training=QUICK)
    double, single = (
        play(federation, rows, network, targets, agent=Sends(0.01, kind)) for kind in (torch.float64, torch.float32)
    )
    assert torch.equal(double[-1].end, single[-1].end)
    huge = play(federation, rows, network, targets, agent=Sends(1e300, torch.float64))
    assert [len(r.notes) for r in huge] == [1, 1]


def test_claims_beyond_single_precision_leave_finite_weights(rows: Dataset, network: Network, targets: Targets) -> None:
    federation = Federation(num_agents=4, num_malicious=2, rounds=1, training=QUICK, weighting="examples")
    (only,) = play(federation, rows, network, targets, agent=FalseExamples(Sends(0.01), factor=1e37))
    assert only.weights.tolist() == pytest.approx([0, 0, 0.5, 0.5], abs=1e-6)
    assert only.end.isfinite().all()


def test_a_detector_that_is_left_too_few_agents_does_not_end_the_training(
    rows: Dataset, network: Network, targets: Targets
) -> None:
    federation = Federation(num_agents=3, num_malicious=2, rounds=3, training=QUICK)
    rounds = play(federation, rows, network, targets, agent=Sends(float("nan")), detector=FLANDERS(f=1, sample=20))
    assert all(torch.equal(r.end, r.start) for r in rounds)
    assert all("the global model stayed as it was" in r.notes[-1] for r in rounds)
    with pytest.raises(PluginError):
        play(federation, rows, network, targets, agent=Sends(0.0), detector=FLANDERS(f=3, sample=20))


def test_when_everybody_sends_nan_nothing_moves(rows: Dataset, network: Network, targets: Targets) -> None:
    federation = Federation(num_agents=3, num_malicious=3, rounds=2, training=QUICK)
    for r in play(federation, rows, network, targets, agent=Sends(float("nan"))):
        assert torch.equal(r.end, network.initial)
        assert len(r.notes) == 3


@dataclasses.dataclass(frozen=True)
class Peeks:
    """An agent that looks at the others' updates."""

    def __call__(self, view: AgentView) -> Tensor:
        return view.benign_updates.mean(0).expand(len(view.shards), -1)


def test_the_threat_model_decides_who_sees_the_benign_updates(
    rows: Dataset, network: Network, targets: Targets
) -> None:
    federation = Federation(num_agents=4, rounds=1, training=QUICK)
    with pytest.raises(ThreatError, match="grant knowledge: omniscient"):
        play(federation, rows, network, targets, agent=Peeks())
    omniscient = dataclasses.replace(federation, knowledge=Knowledge.OMNISCIENT)
    (r,) = play(omniscient, rows, network, targets, agent=Peeks())
    torch.testing.assert_close(r.updates[3], r.updates[:3].mean(0))


@dataclasses.dataclass(frozen=True)
class Returns:
    """An agent that returns something unusable."""

    what: Any

    def __call__(self, view: AgentView) -> Any:
        return self.what


@pytest.mark.parametrize(
    "what", [None, torch.zeros(3), torch.zeros(1, 7), np.zeros((1, 3)), torch.zeros(1, 1, dtype=torch.int64)]
)
def test_unusable_updates_are_one_line(what: Any, rows: Dataset, network: Network, targets: Targets) -> None:
    federation = Federation(num_agents=3, rounds=1, training=QUICK)
    with pytest.raises(PluginError, match=r"expected updates of shape \(1, \d+\) from Returns, got"):
        play(federation, rows, network, targets, agent=Returns(what))


@pytest.mark.parametrize("rule", [Mean(), Krum(f=1), Median()])
def test_the_server_adds_what_the_rule_says(rule: Any, rows: Dataset, network: Network, targets: Targets) -> None:
    federation = Federation(num_agents=6, rounds=1, training=QUICK)
    (r,) = play(federation, rows, network, targets, rule=rule, agent=Sends(0.1))
    torch.testing.assert_close(r.aggregate, rule(r.updates, r.weights))


def test_a_rule_is_given_back_what_it_remembers(rows: Dataset, network: Network, targets: Targets) -> None:
    rule, state = CenteredClipping(tau=0.1), None
    for r in play(Federation(num_agents=4, rounds=3, training=QUICK), rows, network, targets, rule=rule):
        expected, state = rule.step(r.updates, r.weights, None, state)
        torch.testing.assert_close(r.aggregate, expected)


def test_a_rule_s_randomness_is_new_each_round_and_repeats_with_the_seed(
    rows: Dataset, network: Network, targets: Targets
) -> None:
    federation, rule = Federation(num_agents=3, rounds=2, training=QUICK), Chain((WeakDP(noise=0.1),), Mean())
    first, again = (play(federation, rows, network, targets, rule=rule) for _ in range(2))
    noises = [r.aggregate - r.updates.mean(0) for r in first]
    assert not torch.allclose(*noises, atol=0.01)
    assert torch.equal(first[1].end, again[1].end)


class SeesAgents:
    """A rule that is no plugin, and checks that what it sees fits what it is given."""

    def __call__(self, updates: Tensor, weights: Tensor, view: ServerView) -> Tensor:
        assert torch.equal(view.updates, updates)
        assert len(view.agents) == len(view.weights) == len(updates)
        return weights @ updates


def test_the_rule_sees_only_the_agents_that_are_left(rows: Dataset, network: Network, targets: Targets) -> None:
    federation = Federation(num_agents=4, rounds=3, training=QUICK)
    played = play(federation, rows, network, targets, rule=SeesAgents(), detector=FlagsFrom())
    for r in played:
        torch.testing.assert_close(r.aggregate, r.updates[: r.number].sum(0) / r.number)


@pytest.mark.parametrize("rule", [FLTrust(), MoNNA(f=3), Chain(), DeepSight(samples=100)], ids=repr)
def test_rules_that_use_the_servers_means_keep_a_federation_learning(
    rule: Any, rows: Dataset, network: Network, targets: Targets
) -> None:
    federation = Federation(num_agents=10, num_malicious=1, rounds=25, training=QUICK)
    x, y = torch.tensor(rows.x), torch.tensor(rows.y)
    end = {}
    for name, used in (("rule", rule), ("mean", Mean())):
        played = play(federation, rows, network, targets, rule=used, agent=Sends(5.0), validation=rows[:100])
        end[name] = accuracy(network, played[-1].end, x, y)
    assert end["rule"] > 0.7
    assert end["mean"] < 0.3


def test_krum_with_too_few_agents_is_one_line(rows: Dataset, network: Network, targets: Targets) -> None:
    with pytest.raises(PluginError, match=r"n >= 2f \+ 3"):
        play(Federation(num_agents=4, rounds=1, training=QUICK), rows, network, targets, rule=Krum(f=1))


@dataclasses.dataclass(frozen=True)
class FlagsFrom:
    """A detector with memory: flags every agent whose number is at least the count of rounds it has seen."""

    def __call__(self, view: ServerView, state: int | None) -> tuple[Verdict, int]:
        seen = (state or 0) + 1
        flags = np.array([agent >= seen for agent in view.agents])
        return Verdict(flags.astype(float), flags), seen


def test_flagged_agents_are_left_out_and_the_detector_keeps_its_state(
    rows: Dataset, network: Network, targets: Targets
) -> None:
    federation = Federation(num_agents=3, rounds=3, training=QUICK)
    played = play(federation, rows, network, targets, detector=FlagsFrom())
    for r in played:
        torch.testing.assert_close(r.aggregate, r.updates[: r.number].sum(0) / r.number)


@dataclasses.dataclass(frozen=True)
class FlagsNobody:
    """A detector that suspects nobody."""

    def __call__(self, view: ServerView, state: None) -> tuple[Verdict, None]:
        return Verdict(np.zeros(len(view.agents)), np.zeros(len(view.agents), dtype=bool)), state


def test_updates_are_not_copied_when_nobody_is_flagged(rows: Dataset, network: Network, targets: Targets) -> None:
    given: list[Tensor] = []

    def rule(updates: Tensor, weights: Tensor, view: ServerView) -> Tensor:
        given.append(updates)
        return weights @ updates

    federation = Federation(num_agents=3, rounds=1, training=QUICK)
    (r,) = play(federation, rows, network, targets, rule=rule, detector=FlagsNobody())
    assert given[0].data_ptr() == r.updates.data_ptr()
    torch.testing.assert_close(r.aggregate, r.updates.sum(0) / 3)


def test_a_server_without_validation_rows_cannot_check_accuracy(
    rows: Dataset, network: Network, targets: Targets
) -> None:
    with pytest.raises(Exception, match="validation_rows"):
        play(Federation(num_agents=3, rounds=1, training=QUICK), rows, network, targets, detector=AccuracyCheck())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_malicious": 11}, "num_malicious from 0 to num_agents = 10"),
        ({"agents_per_round": 11}, "agents_per_round from 1 to num_agents = 10"),
        ({"agents_per_round": 0}, "agents_per_round"),
        ({"num_agents": 0}, "num_agents >= 1"),
        ({"rounds": 0}, "rounds >= 1"),
    ],
)
def test_impossible_federations_are_one_line(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        Federation(**fields)  # type: ignore[arg-type]


def test_more_agents_than_rows_is_one_line(rows: Dataset) -> None:
    with pytest.raises(Exception, match="at least 1 rows for each of 500 agents"):
        Federation(num_agents=500).shards(rows, STREAMS)


def test_shards_hold_their_rows_once(rows: Dataset) -> None:
    shards: Shards = Federation(num_agents=7).shards(rows, STREAMS)
    together = torch.cat(shards.rows)
    assert sorted(together.tolist()) == list(range(len(rows)))
    x, y = shards.of_agent(2)
    assert torch.equal(x, torch.tensor(rows.x)[shards.rows[2]])
    assert torch.equal(y, torch.tensor(rows.y)[shards.rows[2]])


@local_training(cite="none")
class TowardsOnes:
    """Moves every parameter a tenth of the way to 1, and spoils what it was sent. Or returns something else.

    Fields:
        returns: what is returned: parameters, too-few, or nothing.
    """

    returns: str = "parameters"

    def __call__(self, network: Network, start: Tensor, shard: Shard, round: int, streams: Streams) -> Any:
        end = start + 0.1 * round * (1 - start)
        start.zero_()
        return {"parameters": end, "too-few": end[:-1], "nothing": None}[self.returns]


def test_honest_agents_train_by_code_of_their_own(rows: Dataset, network: Network, targets: Targets) -> None:
    played = play(Federation(num_agents=4, rounds=2, local=TowardsOnes()), rows, network, targets)
    for number, one in enumerate(played, start=1):
        torch.testing.assert_close(one.updates, (0.1 * number * (1 - one.start)).expand(4, -1))


def test_malicious_agents_train_honestly_by_the_same_code(rows: Dataset, network: Network, targets: Targets) -> None:
    federation = Federation(num_agents=4, rounds=1, local=TowardsOnes())
    (one,) = play(federation, rows, network, targets, agent=SignFlip(scale=2.0))
    torch.testing.assert_close(one.updates[3], -2.0 * one.updates[0])


@pytest.mark.parametrize("returns", ["too-few", "nothing"])
def test_local_training_that_returns_something_else(
    returns: str, rows: Dataset, network: Network, targets: Targets
) -> None:
    federation = Federation(num_agents=4, rounds=1, local=TowardsOnes(returns))
    with pytest.raises(PluginError, match=rf"parameters of shape \({network.dimension},\) from TowardsOnes"):
        play(federation, rows, network, targets)
