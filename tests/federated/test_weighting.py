"""Weights of a mean: shares among the chosen and kept clients, or the fixed 1/K of Bhagoji et al."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from antivenom.core.errors import ScenarioError
from antivenom.core.protocols import ServerView, Targets
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.data import load
from antivenom.fast import kernels
from antivenom.federated import (
    RLR,
    WBC,
    Bucketing,
    CappedMean,
    Chain,
    ExplicitBoosting,
    Federation,
    Krum,
    Mean,
    Median,
    Server,
    ServerState,
    Weighting,
)
from antivenom.federated.answers import accuracy
from antivenom.federated.weighting import averaged, scaled, shares_of, total_of
from antivenom.models.architectures import MLP
from antivenom.models.network import build
from antivenom.models.training import Training

ROWS = torch.tensor([[1.0, -2.0], [3.0, 0.0], [2.0, 4.0]])
BY_HAND = [(5 * 1 + 2 * 3 + 9 * 2) / 16, (5 * -2 + 9 * 4) / 16]  # weights 5, 2, 9


@dataclasses.dataclass(frozen=True)
class FlagsLast:
    """Flags the last clients of a round."""

    number: int

    def __call__(self, view: ServerView, state: None) -> tuple[Verdict, None]:
        flags = np.arange(len(view.agents)) >= len(view.agents) - self.number
        return Verdict(flags.astype(float), flags), None


@pytest.mark.parametrize(
    "rule",
    [Mean(), CappedMean(share=1.0), RLR(threshold=0), WBC(), Chain((), Mean()), Chain((Bucketing(size=1),), Mean())],
    ids=repr,
)
@pytest.mark.parametrize("scale", [1.0, 1 / 16, 1e-3, 1e30], ids=str)
def test_a_weighted_mean_is_a_mean_whatever_its_weights_sum_to(rule: Any, scale: float) -> None:
    weights = [5 * scale, 2 * scale, 9 * scale]
    torch.testing.assert_close(rule(ROWS, weights), torch.tensor(BY_HAND))


def test_a_capped_mean_is_a_mean_of_the_capped_weights() -> None:
    # of weights 5, 2 and 9 the heaviest may hold half: a cap of 7, so 5, 2 and 7 of 14
    expected = [(5 * 1 + 2 * 3 + 7 * 2) / 14, (5 * -2 + 7 * 4) / 14]
    torch.testing.assert_close(CappedMean(f=1, share=0.5)(ROWS, [5, 2, 9]), torch.tensor(expected))


def test_weights_of_zero_move_nothing() -> None:
    assert Mean()(ROWS, [0, 0, 0]).tolist() == [0.0, 0.0]
    assert scaled(torch.zeros(0)).tolist() == []


def test_shares_by_hand() -> None:
    claims = torch.tensor([30.0, 10.0, 0.0])
    assert shares_of(claims, Weighting.UNIFORM).tolist() == pytest.approx([1 / 3] * 3)
    assert shares_of(claims, Weighting.EXAMPLES).tolist() == [0.75, 0.25, 0.0]
    assert shares_of(claims, Weighting.FIXED, 50).tolist() == pytest.approx([0.02] * 3)
    assert [total_of(3, each, 50) for each in Weighting] == [1.0, 1.0, 0.06]
    with pytest.raises(ScenarioError, match="num_agents >= 1 for fixed weights, got None"):
        Server(Mean(), weighting=Weighting.FIXED)


def test_a_view_with_fixed_shares_keeps_their_sum() -> None:
    weights = torch.full((3,), 0.02)
    view = ServerView(1, torch.zeros(2), ROWS, (0, 1, 2), weights, total=0.06)
    torch.testing.assert_close(averaged(ROWS, weights, view), ROWS.sum(dim=0) / 50)
    torch.testing.assert_close(averaged(ROWS, None, view), ROWS.sum(dim=0) / 50)
    torch.testing.assert_close(Krum(f=0)(ROWS, weights, view), ROWS[0])  # a selected update counts in full


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [(Weighting.UNIFORM, 1.0), (Weighting.EXAMPLES, 1.0), (Weighting.FIXED, 0.6)],
)
@pytest.mark.parametrize("rule", [Mean(), CappedMean(), RLR(threshold=1), WBC()], ids=repr)
def test_two_flagged_of_five_equal_updates_leave_the_mean_of_three(
    rule: Any, weighting: Weighting, expected: float
) -> None:
    server = Server(rule, (FlagsLast(2),), weighting=weighting, num_agents=5)
    decision = server.step(1, torch.zeros(2), torch.ones(5, 2), range(5), claims=[4, 1, 1, 1, 1])
    assert decision.aggregate.tolist() == pytest.approx([expected] * 2)


def test_full_participation_keeps_its_numbers_bit_by_bit() -> None:
    updates = torch.randn(11, 200, generator=Streams(1).torch("updates"))
    for weights in (torch.full((11,), 1 / 11), shares_of(torch.arange(1.0, 12.0), Weighting.EXAMPLES)):
        assert scaled(weights) is weights
        assert torch.equal(Mean()(updates, weights), kernels.combine(weights, updates))


def test_server_learning_rate_and_momentum_by_hand() -> None:
    server = Server(Mean(), learning_rate=0.5, momentum=0.9)
    steps = [server.step(i, torch.zeros(1), torch.tensor([[value]]), [0]) for i, value in ((1, 2.0), (2, 4.0))]
    assert [step.aggregate.item() for step in steps] == [2.0, 4.0]
    assert [step.change.item() for step in steps] == pytest.approx([0.5 * 2, 0.5 * (0.9 * 2 + 4)])
    saved = server.state
    assert saved.velocity is not None
    assert saved.velocity.item() == pytest.approx(5.8)
    again = Server(Mean(), learning_rate=0.5, momentum=0.9)
    again.state = ServerState(**vars(saved))
    assert again.step(3, torch.zeros(1), torch.tensor([[1.0]]), [0]).change.item() == pytest.approx(0.5 * 6.22)


def test_the_engine_takes_the_servers_learning_rate_and_momentum() -> None:
    rows = load("digits", Streams(2)).train[:160]
    network = build(MLP(hidden=()), rows.shape, 10, Streams(2))
    x, y = torch.tensor(rows.x[:1]), torch.tensor(rows.y[:1])
    federation = Federation(4, rounds=2, training=Training(epochs=1), server_learning_rate=0.25, server_momentum=0.5)
    played = federation.rounds_of(network, federation.shards(rows, Streams(2)), Targets(x, y, y), Streams(2))
    first, second = played
    for each in (first, second):
        torch.testing.assert_close(each.aggregate, each.updates.mean(dim=0))
    torch.testing.assert_close(first.end - first.start, 0.25 * first.aggregate, rtol=0, atol=1e-6)
    expected = 0.25 * (0.5 * first.aggregate + second.aggregate)
    torch.testing.assert_close(second.end - second.start, expected, rtol=0, atol=1e-6)
    assert torch.equal(second.start, first.end)


def test_a_skipped_round_leaves_the_velocity() -> None:
    server = Server(Mean(), momentum=0.5)
    server.step(1, torch.zeros(1), torch.tensor([[2.0]]), [0])
    assert server.step(2, torch.zeros(1), torch.tensor([[torch.nan]]), [0]).change.item() == 0.0
    assert server.step(3, torch.zeros(1), torch.tensor([[2.0]]), [0]).change.item() == 3.0


@pytest.mark.parametrize(
    "fields",
    [{"server_learning_rate": 0.0}, {"server_learning_rate": float("inf")}, {"server_momentum": 1.0}],
    ids=str,
)
def test_a_step_out_of_range_is_one_line(fields: dict[str, float]) -> None:
    with pytest.raises(ScenarioError, match="a server's learning rate > 0 and momentum from 0 to below 1"):
        Federation(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("weighting", "boost"), [("uniform", 4.0), ("fixed", 8.0)])
def test_the_attackers_boost_cancels_the_weight_of_the_round(weighting: str, boost: float) -> None:
    rows = load("digits", Streams(2)).train[:160]
    network = build(MLP(hidden=()), rows.shape, 10, Streams(2))
    federation = Federation(8, 4, 8, 1, training=Training(epochs=1), weighting=weighting)  # type: ignore[arg-type]
    seen: list[float] = []

    def agent(view: Any) -> torch.Tensor:
        seen.append(1 / view.weight)
        return view.all_honest()

    x, y = torch.tensor(rows.x[:1]), torch.tensor(rows.y[:1])
    list(federation.rounds_of(network, federation.shards(rows, Streams(2)), Targets(x, y, y), Streams(2), agent))
    assert seen == pytest.approx([boost])
    assert ExplicitBoosting().boost is None


def test_the_mean_of_ten_of_fifty_honest_agents_keeps_up_with_the_median() -> None:
    streams = Streams(3)
    rows = load("digits", streams).train
    network = build(MLP(hidden=(16,)), rows.shape, 10, streams)
    federation = Federation(50, 10, rounds=25, training=Training(epochs=3, batch_size=16, learning_rate=5e-3))
    shards = federation.shards(rows, streams)
    x, y = torch.tensor(rows.x), torch.tensor(rows.y)
    reached = {}
    for name, rule, weighting in (
        ("mean", Mean(), "uniform"),
        ("median", Median(), "uniform"),
        ("fixed", Mean(), "fixed"),
    ):
        changed = dataclasses.replace(federation, weighting=weighting)  # type: ignore[arg-type]
        *_, last = changed.rounds_of(network, shards, Targets(x[:1], y[:1], y[:1]), streams, rule=rule)
        reached[name] = accuracy(network, last.end, x, y)
    assert reached["mean"] >= reached["median"] - 0.01
    assert reached["mean"] > 0.7
    assert reached["fixed"] < reached["mean"] - 0.1  # a fifth of every step
