"""Attacker, server and judge are kept apart: what an agent writes into, or asks for, gains it nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError, ThreatError
from antivenom.core.protocols import AgentView, Sent, Targets
from antivenom.core.streams import Streams
from antivenom.core.threat import Knowledge
from antivenom.core.wanted import AllToOne, Rows
from antivenom.data import Dataset, load
from antivenom.federated import Every, Federation, Round, Scaled, SignFlip, Sybils
from antivenom.models.architectures import MLP
from antivenom.models.network import Network, build
from antivenom.models.training import Training
from antivenom.triggers import Patch

STREAMS = Streams(5)
QUICK = Training(epochs=1, batch_size=32, learning_rate=5e-3)
FEDERATION = Federation(num_agents=4, num_malicious=2, rounds=3, training=QUICK)


@pytest.fixture(scope="module")
def rows() -> Dataset:
    return load("digits", STREAMS).train[:200]


@pytest.fixture(scope="module")
def network(rows: Dataset) -> Network:
    return build(MLP(hidden=(8,)), rows.shape, 10, STREAMS)


@pytest.fixture
def targets(rows: Dataset) -> Targets:
    return Targets(torch.tensor(rows.x[:1]), torch.tensor(rows.y[:1]), torch.tensor((rows.y[:1] + 1) % 10))


Play = Callable[..., list[Round]]


@pytest.fixture
def play(rows: Dataset, network: Network, targets: Targets) -> Play:
    def played(agent: Any, federation: Federation = FEDERATION, wants: Targets = targets) -> list[Round]:
        return list(federation.rounds_of(network, federation.shards(rows, STREAMS), wants, STREAMS, agent))

    return played


class Does:
    """An agent that does something with its view and sends an honest update."""

    def __init__(self, what: Callable[[AgentView], Any]) -> None:
        self.what = what

    def __call__(self, view: AgentView) -> Tensor:
        honest = view.all_honest()
        self.what(view)
        return honest


def zeroes_the_network(view: AgentView) -> None:
    assert view.network is not None
    for layer in view.network.module.children():
        layer.forward = lambda x: x * 0  # type: ignore[method-assign]
    view.network.initial.zero_()
    view.network.shapes.clear()


def zeroes_its_rows(view: AgentView) -> None:
    for x, y in view.shards:
        x.zero_()
        y.zero_()


def zeroes_the_past(view: AgentView) -> None:
    for past in view.past:
        past.start.zero_()
        past.updates.zero_()


@pytest.mark.parametrize("what", [zeroes_the_network, zeroes_its_rows, zeroes_the_past])
def test_what_an_agent_writes_into_reaches_nobody(
    what: Callable[[AgentView], None], play: Play, network: Network
) -> None:
    before = network.initial.clone()
    honest = play(Does(lambda view: None))
    with_writes = play(Does(what), dataclasses.replace(FEDERATION, rounds=1 if what is zeroes_the_network else 3))
    for one, other in zip(honest, with_writes, strict=False):
        assert torch.equal(one.end, other.end)
    assert torch.equal(network.initial, before)


@pytest.mark.parametrize(
    "what",
    [
        lambda view: view.start.zero_(),
        lambda view: view.start.numpy().fill(0),
        lambda view: view.start.data.mul_(2),
        lambda view: view.targets.x.zero_(),
    ],
)
def test_the_slip_of_writing_into_what_was_sent_is_named_and_reaches_nobody(
    what: Callable[[AgentView], None], play: Play, network: Network, targets: Targets
) -> None:
    before, wanted = network.initial.clone(), targets.x.clone()
    with pytest.raises(PluginError, match="Does to leave its inputs alone, got a change in the parameters or targets"):
        play(Does(what))
    assert torch.equal(network.initial, before)
    assert torch.equal(targets.x, wanted)


def test_writing_into_the_wanted_classes_changes_them_for_nobody(play: Play, targets: Targets) -> None:
    targets = dataclasses.replace(targets, wanted=Rows((0,), tuple(targets.labels.tolist())))
    before, seen = targets.labels.clone(), []

    def writes(view: AgentView) -> None:
        seen.append(view.targets.labels.clone())
        assert view.targets.wanted == targets.wanted
        object.__setattr__(view.targets.wanted, "labels", (9,))
        view.targets.labels.fill_(9)
        view.targets.y.fill_(9)

    play(Does(writes), wants=targets)
    assert torch.equal(targets.labels, before)
    assert targets.wanted.labels == tuple(before.tolist())  # type: ignore[union-attr]
    assert all(torch.equal(wanted, before) for wanted in seen)


def test_the_trigger_is_the_attackers_own_copy(play: Play, rows: Dataset) -> None:
    planted, empty = Patch(size=2), torch.zeros(0, *rows.shape)
    wants = Targets(empty, empty.new_zeros(0), empty.new_zeros(0), wanted=AllToOne(), trigger=planted)
    play(Does(lambda view: object.__setattr__(view.targets.trigger, "size", 5)), wants=wants)
    assert planted.size == 2


def test_without_omniscience_there_is_nothing_to_peek_at(play: Play) -> None:
    def asks(view: AgentView) -> None:
        assert view.benign is None
        with pytest.raises(ThreatError, match="grant knowledge: omniscient"):
            dataclasses.replace(view, knowledge=Knowledge.OMNISCIENT).benign_updates  # noqa: B018

    assert len(play(Does(asks))) == 3


def test_omniscient_agents_may_write_into_their_copy_of_the_benign_updates(play: Play) -> None:
    federation = dataclasses.replace(FEDERATION, knowledge=Knowledge.OMNISCIENT)
    honest = play(Does(lambda view: None))
    written = play(Does(lambda view: view.benign_updates.zero_()), federation)
    assert all(torch.equal(one.end, other.end) for one, other in zip(honest, written, strict=True))


def test_an_agent_that_fails_is_one_typed_line(play: Play) -> None:
    with pytest.raises(PluginError, match="expected Does to work, got ZeroDivisionError: division by zero"):
        play(Does(lambda view: 1 / 0))


def test_honest_updates_of_other_rows_need_no_network(play: Play) -> None:
    found = []

    def trains(view: AgentView) -> None:
        x, y = view.shards[0]
        found.append((view.honest(0), view.honest(0, (x, y)), view.honest(0, (x[:10], y[:10])), view.all_honest()[0]))

    play(Does(trains), dataclasses.replace(FEDERATION, rounds=1))
    same, given, other, first = found[0]
    assert torch.equal(same, given)
    torch.testing.assert_close(same, first)
    assert not torch.equal(same, other)


def test_an_agent_without_training_code_or_network_is_refused_where_it_needs_them(bare: Any) -> None:
    view = dataclasses.replace(bare([[1.0, 2.0]]), trainer=None, network=None)
    with pytest.raises(NotApplicable, match="an agent that needs no training code"):
        SignFlip()(view)
    with pytest.raises(NotApplicable, match="an agent that needs no network"):
        view.architecture  # noqa: B018


@dataclasses.dataclass(frozen=True)
class Counts:
    """An agent with memory and a trigger of its own: it sends how often it was chosen."""

    size: int = 3
    step_size: float = 1.0

    def step(self, view: AgentView, state: int | None) -> Sent:
        count = (state or 0) + 1
        sent = torch.full((len(view.shards), len(view.start)), self.step_size * count)
        trigger = None if view.targets.trigger is None else Patch(size=self.size)
        return Sent(sent, count, trigger)


@pytest.mark.parametrize(
    ("agent", "factors"),
    [(Counts(), (1, 2, 3)), (Scaled(Counts(), factor=2.0), (2, 4, 6)), (Sybils(Counts()), (1, 2, 3))],
    ids=repr,
)
def test_an_agent_is_given_back_what_it_remembers(agent: Any, factors: tuple[int, ...], play: Play) -> None:
    for r, factor in zip(play(agent), factors, strict=True):
        assert (r.updates[r.malicious] == factor).all()
        assert r.trigger is None


def test_memory_outlives_rounds_in_which_a_combinator_is_honest(play: Play) -> None:
    played = play(Every(Counts(), rounds=2))
    assert (played[0].updates[2:] == 1).all()
    assert not (played[1].updates[2:] == 1).all()
    assert (played[2].updates[2:] == 2).all()


def test_memory_counts_the_rounds_in_which_it_was_chosen(play: Play) -> None:
    federation = dataclasses.replace(FEDERATION, num_agents=6, agents_per_round=2, num_malicious=1, rounds=8)
    sent = [float(r.updates[r.malicious][0, 0]) for r in play(Counts(), federation) if r.malicious.any()]
    assert sent == [float(i) for i in range(1, len(sent) + 1)]
    assert 1 <= len(sent) < 8


def test_an_own_trigger_reaches_the_judge_with_a_backdoor_goal_only(play: Play, rows: Dataset) -> None:
    empty = torch.zeros(0, *rows.shape)
    wants = Targets(empty, empty.new_zeros(0), empty.new_zeros(0), wanted=AllToOne(), trigger=Patch(size=2))
    assert [r.trigger for r in play(Counts(), wants=wants)] == [Patch(size=3)] * 3

    class Shows(Counts):
        def step(self, view: AgentView, state: int | None) -> Sent:
            return dataclasses.replace(super().step(view, state), trigger=Patch())

    with pytest.raises(ThreatError, match="no trigger from Shows without a backdoor goal"):
        play(Shows())


def test_a_step_that_returns_a_tensor_is_named(play: Play) -> None:
    class Tensors(Counts):
        def step(self, view: AgentView, state: Any) -> Any:
            return view.all_honest()

    with pytest.raises(PluginError, match=r"a Sent from Tensors.step, got Tensor: return Sent\(updates, state\)"):
        play(Tensors())


def test_neither_side_can_derive_another_ones_randomness(play: Play) -> None:
    def tries(view: AgentView) -> None:
        for streams in (view.streams, view.lasting):
            assert not hasattr(streams, "seed")
            assert streams.path == ()

    honest, tried = play(Does(lambda view: None)), play(Does(tries))
    assert all(torch.equal(one.end, other.end) for one, other in zip(honest, tried, strict=True))


def test_an_agents_numbers_are_those_of_the_stream_below_its_round(play: Play) -> None:
    drawn = []
    play(Does(lambda view: drawn.append((view.streams.key, view.lasting.key))))
    expected = [STREAMS.child("round", number, "attack").key for number in (1, 2, 3)]
    assert drawn == [(key, STREAMS.child("direction").key) for key in expected]
