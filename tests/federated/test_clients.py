"""Agents trained together equal agents trained one after another, for every reference model that can be stacked."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from antivenom.core.registry import Kind, entries
from antivenom.core.registry import build as plugin
from antivenom.core.streams import Streams
from antivenom.data import IID, Dataset, Dirichlet
from antivenom.fast import dense
from antivenom.federated import batched
from antivenom.federated.batched import together
from antivenom.federated.clients import Client, Shards, loop_note, one_by_one, side_by_side, train_agents, trained
from antivenom.models.architectures import MLP, FashionCNN, SmallCNN
from antivenom.models.network import Network, build
from antivenom.models.stacked import unsupported
from antivenom.models.training import Training, train
from antivenom.models.wrappers import TorchLearner, learner

STREAMS = Streams(5)
SHAPE = (1, 16, 16)  # the smallest images that every reference network takes
RAGGED = Dirichlet(0.3)
TOKENS = ("TinyTransformer",)  # takes no images
QUICK = {"FashionCNN": {"channels": 4, "dense": 8}}
TRAININGS = [
    Training(epochs=2, batch_size=8),
    Training(epochs=1, batch_size=8, shuffle=False),
    Training(epochs=2, batch_size=8, optimizer="sgd", learning_rate=0.1, momentum=0.9),
]
# Measured over this whole list with six seeds on a CPU: at most 4e-15 in double and 4e-6 in single precision, while the
# updates reach 0.006 to 1. Adam divides a gradient by its size, so that rounding of one near zero is enlarged.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-5}


def networks() -> list[Any]:
    """Every torch architecture of our own without running statistics, which cannot be stacked, and an MLP with dropout."""
    ours = [entry for entry in entries(Kind.ARCHITECTURE) if entry.cls.__module__.startswith("antivenom.models.")]
    known = [entry for entry in ours if entry.name not in TOKENS]
    named = [plugin({"name": entry.name} | QUICK.get(entry.name, {})) for entry in known]
    torches = [made for made in named if isinstance(learner(made, Training()), TorchLearner)]
    return [made for made in torches if not build(made, SHAPE, 4, STREAMS).buffers] + [MLP((12, 8), dropout=0.3)]


@cache
def data() -> Dataset:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 96)
    return Dataset(rng.standard_normal((96, *SHAPE)) + 0.3 * y[:, None, None, None], y, tuple("abcd"))


def shards(partition: Any = IID(), device: str = "cpu", dtype: torch.dtype = torch.float64) -> Shards:
    whole = Shards.of(data(), partition(data(), 5, STREAMS.numpy("shards")), device)
    return Shards(whole.x.to(dtype), whole.y, whole.rows)


def updates(
    how: Any, network: Network, start: torch.Tensor, own: Shards, agents: Any, training: Training
) -> torch.Tensor:
    """What the agents send, trained in that way."""
    clients = [Client(network, start, own.x, own.y, training, STREAMS.child("agent", a), own.rows[a]) for a in agents]
    return how(clients) - start


def both(network: Network, own: Shards, agents: list[int], training: Training) -> tuple[torch.Tensor, torch.Tensor]:
    start = network.initial.to(own.x)
    stacked, alone = (updates(how, network, start, own, agents, training) for how in (together, one_by_one))
    assert stacked.shape == alone.shape == (len(agents), network.dimension)
    return stacked, alone


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("partition", [IID(), RAGGED], ids=repr)
@pytest.mark.parametrize("training", TRAININGS, ids=lambda t: f"{t.optimizer}-shuffle-{t.shuffle}")
@pytest.mark.parametrize("architecture", networks(), ids=repr)
def test_together_equals_one_by_one(architecture, training, partition, dtype, device):
    if device == "cuda" and dtype == torch.float32:
        pytest.skip("single precision on CUDA rounds convolutions to TF32; double is compared")
    network = build(architecture, SHAPE, 4, STREAMS).to(device)
    assert unsupported(network) == []
    stacked, alone = both(network, shards(partition, device, dtype), [0, 1, 2, 3, 4], training)
    assert alone.abs().amax(dim=1).min() > 1e-4
    assert torch.allclose(stacked, alone, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("architecture", networks(), ids=repr)
def test_side_by_side_equals_one_by_one(architecture, threads):
    network, own = build(architecture, SHAPE, 4, STREAMS), shards(RAGGED)
    start, before = network.initial.double(), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        beside = train_agents(network, start, own, [4, 0, 2], TRAININGS[0], STREAMS)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    alone = updates(one_by_one, network, start, own, [4, 0, 2], TRAININGS[0])
    assert torch.allclose(beside, alone, rtol=0, atol=TOLERANCE[torch.float64])


@pytest.mark.parametrize("architecture", networks(), ids=repr)
def test_every_way_to_train_heeds_bf16(architecture, device):
    network = build(architecture, SHAPE, 4, STREAMS).to(device)
    own, start = shards(RAGGED, device, torch.float32), network.initial
    exact, half = (Training(epochs=1, batch_size=8, bf16=on) for on in (False, True))
    plain = updates(one_by_one, network, start, own, [0, 1, 2], exact)
    alone = updates(one_by_one, network, start, own, [0, 1, 2], half)
    # Measured: 0.02 to 0.24 from the exact updates, relative to their length, and nothing between the ways on a CPU.
    assert 1e-3 < (alone - plain).norm() / plain.norm() < 0.5
    for how in (together, trained):
        other = updates(how, network, start, own, [0, 1, 2], half)
        assert (other - alone).norm() < 0.5 * (alone - plain).norm()


def test_the_papers_network_at_full_size():
    network = build(FashionCNN(), (1, 28, 28), 10, STREAMS)
    x = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    own = Shards(x, torch.tensor([0, 9, 3, 4]), (torch.tensor([0, 1]), torch.tensor([2, 3])))
    assert network.dimension == 3_382_346
    stacked, alone = both(network, own, [0, 1], Training(epochs=1, batch_size=2, optimizer="sgd", learning_rate=0.1))
    assert torch.allclose(stacked, alone, rtol=0, atol=TOLERANCE[torch.float32])


def test_the_shards_above_are_ragged():
    sizes = [len(rows) for rows in shards(RAGGED).rows]
    assert max(sizes) > 2 * min(sizes)
    assert len({-(-size // 8) for size in sizes}) > 2  # agents leave the stack at different steps


@settings(max_examples=20, deadline=None)
@given(agents=st.permutations(range(5)), k=st.integers(1, 5))
def test_an_agents_update_does_not_depend_on_who_else_trains(agents, k):
    """Any subset in any order: the same rows as with everybody."""
    network = build(MLP((6,), dropout=0.5), SHAPE, 4, STREAMS)
    own, start = shards(RAGGED), network.initial.double()
    everybody = updates(together, network, start, own, range(5), TRAININGS[0])
    some = updates(together, network, start, own, agents[:k], TRAININGS[0])
    assert torch.allclose(some, everybody[agents[:k]], rtol=0, atol=TOLERANCE[torch.float64])


@pytest.mark.parametrize("architecture", networks(), ids=repr)
def test_clients_of_different_federations_are_stacked(architecture, device):
    """Each with its own start, its own rows, its own randomness, and weights that its network began with."""
    clients = []
    for seed, partition in ((1, IID()), (2, RAGGED)):
        streams = Streams(seed)
        network, own = build(architecture, SHAPE, 4, streams).to(device), shards(partition, device)
        start = network.initial.double()
        for agent, rows in enumerate(own.rows):
            clients.append(Client(network, start, own.x, own.y, TRAININGS[0], streams.child(agent), rows))
        clients.append(Client(network, start, *own.of_agent(2), TRAININGS[0], streams.child("alone")))
    assert len({client.alike for client in clients}) == 1
    assert torch.allclose(together(clients), one_by_one(clients), rtol=0, atol=TOLERANCE[torch.float64])


def test_a_stack_that_does_not_fit_is_cut(monkeypatch):
    network = build(MLP((6,), dropout=0.5), SHAPE, 4, STREAMS)
    own, start = shards(RAGGED), network.initial.double()
    whole = updates(together, network, start, own, range(5), TRAININGS[0])
    stacks = []
    stack = batched._stacked
    monkeypatch.setattr(batched, "_stacked", lambda clients: stacks.append(len(clients)) or stack(clients))
    monkeypatch.setattr(batched, "ROOM", 60_000)
    assert torch.allclose(updates(together, network, start, own, range(5), TRAININGS[0]), whole, rtol=0, atol=1e-12)
    assert sum(stacks) == 5
    assert max(stacks) < 5
    monkeypatch.setattr(batched, "ROOM", 1)  # there is always room for one
    assert torch.allclose(updates(together, network, start, own, [0, 1], TRAININGS[0]), whole[:2], rtol=0, atol=1e-12)


def test_clients_that_are_not_alike_say_so():
    network, own = build(MLP((6,)), SHAPE, 4, STREAMS), shards()
    one = Client(network, network.initial, own.x, own.y, TRAININGS[0], STREAMS)
    others = [
        {"network": build(MLP((7,)), SHAPE, 4, STREAMS)},
        {"network": build(MLP((6,), dropout=0.5), SHAPE, 4, STREAMS)},
        {"start": network.initial.double()},
        {"x": own.x.float()},
        {"training": TRAININGS[1]},
    ]
    assert all(dataclasses.replace(one, **other).alike != one.alike for other in others)
    assert (
        dataclasses.replace(one, network=build(MLP((6,)), SHAPE, 4, Streams(9)), streams=Streams(9)).alike == one.alike
    )


def test_agents_differ_from_each_other():
    network = build(MLP((6,)), SHAPE, 4, STREAMS)
    sent, _ = both(network, shards(), [0, 1, 2, 3, 4], TRAININGS[0])
    assert (torch.cdist(sent, sent) + 9 * torch.eye(5)).min() > 1e-3


def test_one_by_one_is_training_on_the_shard():
    """The oracle itself against `train`, by hand, for one agent."""
    network = build(MLP((6,), dropout=0.5), SHAPE, 4, STREAMS)
    own, start = shards(), network.initial.double()
    rows = own.rows[3]
    trained, _ = train(network, start, own.x[rows], own.y[rows], TRAININGS[0], STREAMS.child("agent", 3))
    assert torch.equal(updates(one_by_one, network, start, own, [3], TRAININGS[0])[0], trained - start)


def test_nobody():
    network = build(MLP((6,)), SHAPE, 4, STREAMS)
    nobody = train_agents(network, network.initial, shards(), [], TRAININGS[0], STREAMS)
    assert nobody.shape == (0, network.dimension)


@pytest.mark.parametrize("how", [together, one_by_one, side_by_side])
def test_nothing(how):
    """An agent without rows; no epochs; more room in a batch than there are rows."""
    network = build(MLP((6,)), SHAPE, 4, STREAMS)
    whole, start = shards(), network.initial.double()
    own = Shards(whole.x, whole.y, (whole.rows[0], torch.zeros(0, dtype=torch.int64), whole.rows[2]))
    sent = updates(how, network, start, own, [0, 1, 2], TRAININGS[0])
    assert (sent.abs().amax(dim=1) > 0).tolist() == [True, False, True]
    assert updates(how, network, start, own, [1], TRAININGS[0]).abs().max() == 0
    assert updates(how, network, start, own, [0, 2], Training(epochs=0)).abs().max() == 0
    whole_batch = updates(how, network, start, own, [0, 2], Training(epochs=1, batch_size=10**9))
    assert whole_batch.abs().amax(dim=1).min() > 0


@pytest.mark.usefixtures("global_randomness_unchanged")
@pytest.mark.parametrize("how", [together, one_by_one, side_by_side])
def test_a_round_is_deterministic_and_changes_nothing_that_goes_in(how):
    network = build(MLP((6,), dropout=0.5), SHAPE, 4, STREAMS)
    own, start = shards(), network.initial.double()
    x, before = own.x.clone(), start.clone()
    one, same = (updates(how, network, start, own, [0, 1], TRAININGS[0]) for _ in range(2))
    other = train_agents(network, start, own, [0, 1], TRAININGS[0], STREAMS.child("another round"))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(own.x, x)
    assert torch.equal(start, before)
    assert not one.requires_grad


# --- what cannot be stacked ------------------------------------------------------------------------------------------


def normalised(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, classes))


class TwoRoads(nn.Module):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.flat, self.left, self.right = nn.Flatten(), nn.Linear(256, classes), nn.Linear(256, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(self.flat(x)) * torch.sigmoid(self.right(self.flat(x)))


@pytest.mark.parametrize(("make", "layer"), [(normalised, "BatchNorm1d"), (TwoRoads, "TwoRoads")])
def test_other_networks_are_trained_one_after_another_and_that_is_said(make, layer):
    network = build(make, SHAPE, 4, STREAMS)
    own, start = shards(dtype=torch.float32), network.initial
    training = Training(epochs=1, batch_size=10)
    sent = train_agents(network, start, own, [0, 2], training, STREAMS)
    assert torch.equal(sent, updates(one_by_one, network, start, own, [0, 2], training))
    assert sent.abs().amax(dim=1).min() > 1e-4
    assert loop_note(network, training, "cpu") == (
        f"agents were trained one after another: no vectorised form of {layer}"
    )


def test_nothing_is_said_of_a_network_that_is_trained_in_its_fastest_form(monkeypatch):
    monkeypatch.setattr(dense, "available", lambda: True)
    for architecture in (MLP(), SmallCNN()):
        assert loop_note(build(architecture, SHAPE, 4, STREAMS), Training(), "cpu") is None


def test_training_that_is_slow_because_numba_is_absent_says_so(monkeypatch):
    monkeypatch.setattr(dense, "available", lambda: False)
    network, half = build(MLP(), SHAPE, 4, STREAMS), Training(bf16=True)
    assert loop_note(network, Training(), "cpu") == (
        "agents were trained without compiled code, which is slower: "
        "numba and llvmlite cannot be imported (pip install 'antivenom[fast]')"
    )
    assert loop_note(network, Training(), "cuda") is None
    for other, training in ((network, half), (build(SmallCNN(), SHAPE, 4, STREAMS), Training())):
        assert loop_note(other, training, "cpu") is None  # these have no compiled form in any case


def test_shards_hold_the_rows_they_name():
    own = Shards.of(data(), [np.array([5, 1]), [7], np.zeros(0, dtype=int)])
    x, y = own.of_agent(0)
    assert np.array_equal(x.numpy(), data().x[[5, 1]])
    assert y.tolist() == data().y[[5, 1]].tolist()
    assert [own.size(agent) for agent in range(3)] == [2, 1, 0]
    assert own.of_agent(2)[0].shape == (0, *SHAPE)
