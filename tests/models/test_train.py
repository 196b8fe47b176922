"""Training one network: deterministic, and equal to the loop that anyone would write in plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from antivenom.core.errors import ScenarioError
from antivenom.core.registry import describe, fill
from antivenom.core.streams import Streams
from antivenom.models.architectures import MLP
from antivenom.models.network import Network, build
from antivenom.models.training import Training, cross_entropy, train
from antivenom.models.vector import flatten

STREAMS = Streams(11)
CASES = [
    Training(epochs=3, batch_size=7),
    Training(epochs=2, batch_size=7, shuffle=False),
    Training(epochs=3, batch_size=7, optimizer="sgd", learning_rate=0.1),
    Training(epochs=3, batch_size=7, optimizer="sgd", learning_rate=0.1, momentum=0.9),
    Training(epochs=1, batch_size=500),
]


def rows(n: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    return torch.tensor(np.eye(3, 4)[y] + 0.3 * rng.standard_normal((n, 4)), dtype=torch.float32), torch.tensor(y)


def network(dropout: float = 0.0) -> Network:
    return build(MLP(hidden=(6,), dropout=dropout), (4,), 3, STREAMS)


def by_hand(training: Training) -> torch.Tensor:
    """nn.Module, torch.optim, .backward(): as in a tutorial, but for the order of the rows."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(STREAMS.child("init").key)
        module = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    if training.optimizer == "adam":
        optimizer = torch.optim.Adam(module.parameters(), lr=training.learning_rate)
    else:
        optimizer = torch.optim.SGD(module.parameters(), lr=training.learning_rate, momentum=training.momentum)
    x, y = rows()
    rng = STREAMS.numpy("order")
    for _ in range(training.epochs):
        order = rng.permutation(len(y)) if training.shuffle else np.arange(len(y))
        for start in range(0, len(y), training.batch_size):
            batch = order[start : start + training.batch_size]
            optimizer.zero_grad()
            F.cross_entropy(module(x[batch]), y[batch]).backward()
            optimizer.step()
    return flatten(p.detach() for p in module.parameters())


@pytest.mark.parametrize("training", CASES, ids=repr)
def test_training_is_what_anyone_would_write(training):
    net = network()
    trained, _ = train(net, net.initial, *rows(), training, STREAMS)
    assert (trained - net.initial).abs().max() > 1e-3
    # Same arithmetic but for the fused optimiser: a few units in the last place of weights around 0.5, after 15 steps.
    assert torch.allclose(trained, by_hand(training), rtol=0, atol=2e-6)


@pytest.mark.usefixtures("global_randomness_unchanged")
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_stream_gives_one_result_and_another_stream_another(dropout):
    net = network(dropout)
    one, same, other = (
        train(net, net.initial, *rows(), CASES[0], streams)[0] for streams in (STREAMS, Streams(11), Streams(12))
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_nothing_that_goes_in_is_changed():
    net = network(0.5)
    x, y = rows()
    start, before = net.initial.clone(), (x.clone(), y.clone(), net.initial.clone())
    train(net, start, x, y, CASES[0], STREAMS)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
    assert torch.equal(start, before[2])
    assert torch.equal(net.initial, before[2])
    assert not start.requires_grad


def test_training_learns():
    net = network()
    trained, _ = train(net, net.initial, *rows(200), Training(epochs=20, learning_rate=0.02), STREAMS)
    x, y = rows(200)
    assert (net.logits(trained, x).argmax(1) == y).float().mean() > 0.95


def test_no_epochs_and_no_rows_change_nothing():
    net = network()
    assert torch.equal(train(net, net.initial, *rows(), Training(epochs=0), STREAMS)[0], net.initial)
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    assert torch.equal(train(net, net.initial, *nothing, CASES[0], STREAMS)[0], net.initial)


def test_products_in_bfloat16_give_nearly_the_same_weights_in_single_precision():
    net, exact, half = network(0.5), Training(epochs=2, batch_size=7), Training(epochs=2, batch_size=7, bf16=True)
    one, other = (train(net, net.initial, *rows(), training, STREAMS)[0] for training in (exact, half))
    assert other.dtype == torch.float32
    assert 1e-4 < (one - other).norm() / (one - net.initial).norm() < 0.1  # 8 bits of a factor are 0.4 %


def test_products_in_bfloat16_leave_the_loss_in_single_precision():
    kinds: set[torch.dtype] = set()

    def watching(forward, x, y):
        kinds.add(forward(x).dtype)
        return cross_entropy(forward, x, y)

    net = network()
    train(net, net.initial, *rows(), Training(epochs=1, bf16=True), STREAMS, watching)
    assert kinds == {torch.float32}


def test_a_record_says_bf16():
    assert describe(Training())["bf16"] is False
    assert describe(Training(bf16=True))["bf16"] is True
    assert fill(Training, describe(Training(bf16=True))) == Training(bf16=True)


def test_the_loss_can_be_replaced():
    """A corrupted loss that climbs: with plain SGD each step is the honest one with the opposite sign."""
    net, step = network(), Training(epochs=1, batch_size=30, optimizer="sgd", learning_rate=0.1)
    honest, _ = train(net, net.initial, *rows(), step, STREAMS)
    climbing, _ = train(
        net, net.initial, *rows(), step, STREAMS, loss=lambda forward, x, y: -cross_entropy(forward, x, y)
    )
    assert torch.allclose(climbing - net.initial, net.initial - honest, atol=1e-7)
    assert not torch.equal(climbing, net.initial)


def test_the_loss_sees_every_row_once_per_epoch():
    seen: list[torch.Tensor] = []

    def watching(forward, x, y):
        seen.append(x)
        return cross_entropy(forward, x, y)

    net = network()
    train(net, net.initial, *rows(), Training(epochs=2, batch_size=7), STREAMS, watching)
    assert [len(batch) for batch in seen] == [7, 7, 7, 7, 2] * 2
    for epoch in (seen[:5], seen[5:]):
        assert sorted(torch.cat(epoch).tolist()) == sorted(rows()[0].tolist())


def test_buffers_are_trained_apart_and_come_back():
    net = build(lambda shape, classes: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)), (4,), 3, STREAMS)
    _, buffers = train(net, net.initial, *rows(), Training(epochs=1, batch_size=10), STREAMS)
    assert buffers["0.num_batches_tracked"] == 3
    assert net.buffers["0.num_batches_tracked"] == 0
    _, more = train(net, net.initial, *rows(), Training(epochs=1, batch_size=10), STREAMS, buffers=buffers)
    assert more["0.num_batches_tracked"] == 6
    assert buffers["0.num_batches_tracked"] == 3


@pytest.mark.usefixtures("global_randomness_unchanged")
def test_layers_that_ask_the_global_generator_are_seeded_too(device):
    """Dropout2d is not seeded_dropout's: it draws from torch's generator, which is put back afterwards."""
    net = build(
        lambda shape, classes: nn.Sequential(nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(12, 3)), (3, 2, 2), 3, STREAMS
    ).to(device)
    x = torch.ones(20, 3, 2, 2, device=device)
    y = torch.zeros(20, dtype=torch.int64, device=device)
    one, same = (train(net, net.initial, x, y, CASES[0], STREAMS)[0] for _ in range(2))
    assert torch.equal(one, same)


@pytest.mark.parametrize("n", [0, 1, 6, 7, 8, 30])
def test_steps_are_counted_right(n):
    training = Training(epochs=3, batch_size=7)
    assert training.steps(n) == len(list(training.batches(n, np.random.default_rng(0))))


def test_the_order_is_new_each_epoch_or_never():
    def epochs(shuffle: bool) -> list[list[int]]:
        parts = list(Training(epochs=2, batch_size=4, shuffle=shuffle).batches(9, np.random.default_rng(0)))
        return [np.concatenate(parts[:3]).tolist(), np.concatenate(parts[3:]).tolist()]

    first, second = epochs(shuffle=True)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(9))
    assert epochs(shuffle=False) == [list(range(9))] * 2


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"optimizer": "Adam"}, "optimizer: adam, adamw, sgd, got 'Adam'"),
        ({"epochs": -1}, "epochs >= 0"),
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"learning_rate": 0.0}, "learning_rate > 0"),
        ({"learning_rate": float("nan")}, "learning_rate > 0"),
        ({"learning_rate": float("inf")}, "learning_rate > 0"),
        ({"momentum": 1.0}, "momentum from 0 to below 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields, says):
    with pytest.raises(ScenarioError, match=says):
        Training(**fields)


def test_a_penalty_on_the_weights_joins_the_loss_of_every_batch():
    """Of 3 |theta|^2 the gradient is 6 theta; one step of SGD is linear in it."""
    (x, y), net = rows(), network()
    step = Training(epochs=1, batch_size=30, optimizer="sgd", learning_rate=0.1)
    plain, _ = train(net, net.initial, x, y, step, STREAMS)
    pulled, _ = train(net, net.initial, x, y, step, STREAMS, penalty=lambda theta: 3 * (theta**2).sum())
    assert torch.allclose(pulled, plain - 0.1 * 6 * net.initial, atol=1e-6)
