"""Clients that send nothing usable cost themselves only, and count against the f of the rule."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from antivenom.core.errors import PluginError
from antivenom.core.protocols import ServerView, Targets
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset, load
from antivenom.federated import (
    ARC,
    CAF,
    CGE,
    CRFL,
    MDA,
    NNM,
    SLSGD,
    SMEA,
    Bulyan,
    CappedMean,
    Chain,
    DnC,
    Federation,
    Krum,
    LeaveOneOut,
    Meamed,
    Mean,
    Median,
    MultiKrum,
    NonFinite,
    NormBound,
    Server,
    TrimmedMean,
    without_unusable,
)
from antivenom.federated.faults import lowered, lowered_for
from antivenom.models.architectures import MLP
from antivenom.models.network import build
from antivenom.models.training import Training
from antivenom.scenarios.federated import Federated

NAN = math.nan
AT_THE_LEAST_N = [
    (Krum(f=1), 5),
    (MultiKrum(f=1), 5),
    (TrimmedMean(f=1), 3),
    (Meamed(f=1), 3),
    (MDA(f=1), 3),
    (SMEA(f=1), 3),
    (Bulyan(f=1), 7),
    (Chain((NNM(f=1),), TrimmedMean(f=1)), 3),
    (Chain((ARC(f=1),), Krum(f=1)), 5),
    (DnC(f=1), 3),
    (CAF(f=1), 3),
    (CGE(f=1), 3),
    (SLSGD(f=1, alpha=1.0), 3),
    (CappedMean(f=1), 2),
    (CRFL(rho=1e6, sigma=0.0, rule=Krum(f=1)), 5),
]


@pytest.mark.parametrize(("rule", "n"), AT_THE_LEAST_N, ids=lambda v: repr(v) if not isinstance(v, int) else f"n={v}")
def test_one_nan_at_the_least_n_does_not_switch_a_rule_off(rule: Any, n: int) -> None:
    updates = torch.full((n, 2), 3.0)
    updates[1, 0] = NAN
    decision = Server(rule, streams=Streams(1)).step(1, torch.zeros(2), updates, range(n))
    assert decision.failure is None
    assert decision.aggregate.tolist() == pytest.approx([3.0, 3.0])
    assert [(out.client, out.reason) for out in decision.left_out] == [(1, "sent NaN or infinity")]


def test_a_rejected_client_counts_against_f_by_hand() -> None:
    updates = torch.tensor([[0.0], [1.0], [2.0], [3.0], [100.0], [NAN]])
    decision = Server(TrimmedMean(f=2)).step(1, torch.zeros(1), updates, range(6))
    assert decision.aggregate.tolist() == [2.0]  # f = 1 of the five that are left: (1 + 2 + 3) / 3


def test_f_is_lowered_everywhere_and_never_below_zero() -> None:
    assert lowered(Chain((NNM(f=2),), CRFL(rule=Krum(f=3))), 2) == Chain((NNM(f=0),), CRFL(rule=Krum(f=1)))
    assert lowered(Krum(f=1), 5) == Krum(f=0)
    rule = Chain((NNM(f=1),), Median())
    assert lowered(rule, 0) is rule
    median = Median()
    assert lowered(median, 3) is median

    def plain(updates: Any, weights: Any = None, view: Any = None) -> Any:
        return updates[0]

    assert lowered(plain, 1) is plain


class Flags:
    """Flags the last clients."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, view: ServerView, state: None) -> tuple[Verdict, None]:
        flags = np.arange(len(view.agents)) >= len(view.agents) - self.number
        return Verdict(flags.astype(float), flags), None


def test_a_flagged_client_lowers_f_only_as_far_as_the_rule_requires() -> None:
    assert lowered_for(TrimmedMean(f=2), 5, 3) == TrimmedMean(f=2)
    assert lowered_for(TrimmedMean(f=2), 4, 3) == TrimmedMean(f=1)
    assert lowered_for(TrimmedMean(f=2), 4, 0) == TrimmedMean(f=2)
    updates = torch.tensor([[0.0], [1.0], [2.0], [3.0], [100.0], [7.0]])
    kept = Server(TrimmedMean(f=2), (Flags(1),)).step(1, torch.zeros(1), updates, range(6))
    assert kept.aggregate.tolist() == [2.0]  # five are left, enough for f = 2: their median
    forced = Server(TrimmedMean(f=2), (Flags(2),)).step(1, torch.zeros(1), updates, range(6))
    assert forced.aggregate.tolist() == [1.5]  # four are left, enough for f = 1: (1 + 2) / 2


@pytest.mark.parametrize("rule", [Mean(), Krum(), Median(), CRFL(), DnC()], ids=repr)
@pytest.mark.parametrize("detectors", [(), (NormBound(),), (LeaveOneOut(),)], ids=["none", "norm", "leave one out"])
def test_a_round_in_which_all_are_rejected_is_skipped(rule: Any, detectors: tuple[Any, ...]) -> None:
    server = Server(rule, streams=Streams(1))
    server.detectors = detectors
    server.state = type(server.state)(None, (None,) * len(detectors))
    decision = server.step(1, torch.zeros(2), torch.full((3, 2), NAN), range(3))
    assert decision.change.tolist() == decision.aggregate.tolist() == [0.0, 0.0]
    assert decision.failure == "no client sent a usable update"
    assert (decision.clients, decision.verdicts) == ((), ())
    assert len(decision.left_out) == 3
    nobody = server.step(2, torch.zeros(2), torch.zeros(0, 2), ())
    assert nobody.failure == "no client sent a usable update"


def test_a_round_in_which_all_are_flagged_is_skipped() -> None:
    decision = Server(Mean(), (Flags(3),)).step(1, torch.zeros(2), torch.ones(3, 2), range(3))
    assert decision.failure == "every client was flagged"
    assert decision.change.tolist() == [0.0, 0.0]


def test_ragged_and_empty_clients_cost_themselves_only() -> None:
    sent = [torch.tensor([1.0, 2.0]), [3.0, 4.0], [5.0], None, np.zeros((2, 2)), "poison", [], np.array([5.0, 9.0])]
    decision = Server(Mean()).step(1, torch.zeros(2), sent, range(8))
    assert decision.aggregate.tolist() == [3.0, 5.0]
    assert decision.clients == (0, 1, 7)
    assert {out.client: out.reason for out in decision.left_out} == {
        2: "sent shape (1,), not (2,)",
        3: "sent no update",
        4: "sent shape (2, 2), not (2,)",
        5: "sent a str that holds no vector of numbers",
        6: "sent no update",
    }
    with pytest.raises(PluginError, match="expected 3 updates, one per client, got 2"):
        Server(Mean()).step(1, torch.zeros(2), sent[:2], range(3))


@dataclasses.dataclass(frozen=True)
class OneWithoutRows:
    """A partition that gives the last agent nothing, and the others 20 rows each."""

    def __call__(self, data: Dataset, num_agents: int, rng: np.random.Generator) -> list[np.ndarray]:
        return [*np.arange(20 * (num_agents - 1)).reshape(-1, 20), np.zeros(0, dtype=np.int64)]


@pytest.mark.parametrize("rule", [Mean(), Krum(f=1), Median()], ids=repr)
def test_an_agent_without_rows_costs_itself_only(rule: Any) -> None:
    streams = Streams(2)
    rows = load("digits", streams).train[:80]
    network = build(MLP(hidden=()), rows.shape, 10, streams)
    x, y = torch.tensor(rows.x[:1]), torch.tensor(rows.y[:1])
    federation = Federation(5, rounds=1, partition=OneWithoutRows(), training=Training(epochs=1))
    shards = federation.shards(rows, streams)
    (played,) = federation.rounds_of(network, shards, Targets(x, y, y), streams, rule=rule)
    assert played.agents == (0, 1, 2, 3)
    assert played.notes == ("round 1: agent 4 sent no update and was left out",)
    assert played.weights.tolist() == [0.25] * 4
    by_hand = lowered(rule, 1)(played.updates, played.weights)
    torch.testing.assert_close(played.aggregate, by_hand)
    assert played.aggregate.norm() > 0


@pytest.mark.parametrize("defence", [None, Krum(f=1), NormBound(), LeaveOneOut()], ids=repr)
def test_a_scenario_whose_agents_all_send_nan_ends_with_the_first_model(defence: Any) -> None:
    federation = Federation(num_agents=5, num_malicious=5, rounds=2, training=Training(epochs=1))
    scenario = Federated(federation=federation, train_rows=200, test_rows=100, goal="availability")  # type: ignore[arg-type]
    outcome = scenario.run(NonFinite(), defence, seed=0)
    assert outcome.curves["accuracy"][0] == outcome.curves["accuracy"][1]
    assert len(outcome.notes) >= 10  # five agents in two rounds


@pytest.mark.parametrize(
    ("rule", "n"), AT_THE_LEAST_N[:4], ids=lambda v: repr(v) if not isinstance(v, int) else f"n={v}"
)
def test_outside_a_federation_unusable_rows_are_refused_or_left_out_by_choice(rule: Any, n: int) -> None:
    updates = torch.full((n, 2), 3.0)
    updates[1, 0] = NAN
    with pytest.raises(PluginError, match="NaN or infinity in row 1"):
        rule(updates)
    with pytest.warns(UserWarning, match=rf"{type(rule).__name__}: unusable rows \[1\] were left out"):
        assert without_unusable(rule)(updates).tolist() == [3.0, 3.0]


def test_without_unusable_by_hand() -> None:
    ragged = [[1.0, 1.0], [3.0, 5.0], [7.0], [math.inf, 0.0]]
    with pytest.warns(UserWarning, match=r"rows \[2, 3\]"):
        assert without_unusable(Mean())(ragged, [1, 3, 9, 9]).tolist() == [2.5, 4.0]
    clean = torch.tensor([[1.0, 1.0], [3.0, 5.0]])
    assert torch.equal(without_unusable(Mean())(clean), Mean()(clean))
    with pytest.raises(PluginError, match="a usable row for Mean"):
        without_unusable(Mean())([[NAN], [NAN]])
