"""Written-out gradients equal autograd's, and only networks whose every layer is known are trained by them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("numba", reason="written-out gradients are compiled by numba (extra fast)")

from antivenom.core.streams import Streams
from antivenom.fast.dense import dense_form, dense_loss_and_gradient, supports, train_dense
from antivenom.fast.descent import epoch, pack, unpack
from antivenom.models.architectures import MLP, CensusNet, SmallCNN
from antivenom.models.network import Network, build
from antivenom.models.training import Training, train

STREAMS = Streams(3)
NETWORKS = {
    "one layer": lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(6, classes)),
    "no biases": lambda shape, classes: nn.Sequential(
        nn.Flatten(), nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, classes, bias=False)
    ),
    "dropout first": lambda shape, classes: nn.Sequential(
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(6, 5), nn.Identity(), nn.ReLU(), nn.Linear(5, classes)
    ),
    "two in a row": lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Linear(5, classes)),
    "deep": MLP((9, 8, 7), dropout=0.4),
    "wider than a tile": MLP((33, 16, 20)),
    "Census": CensusNet(),
}
TRAININGS = [Training(epochs=3, batch_size=7), Training(2, 7, "sgd", 0.1, momentum=0.9), Training(2, 7, "sgd", 0.1)]


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    return torch.tensor(rng.standard_normal((40, 2, 3))), torch.tensor(rng.integers(0, 4, 40))


@pytest.mark.parametrize("training", TRAININGS, ids=lambda t: f"{t.optimizer}-{t.momentum}")
@pytest.mark.parametrize("name", NETWORKS)
def test_written_out_equals_autograd(name: str, training: Training) -> None:
    network = build(NETWORKS[name], (2, 3), 4, STREAMS)
    plan = dense_form(network)
    assert plan is not None
    x, y = rows()
    start = network.initial.double()
    before = x.clone()
    own = torch.tensor(np.random.default_rng(1).permutation(len(y))[:29])
    by_hand = train_dense(plan, start, x.flatten(1), y, own, training, STREAMS)
    by_autograd, _ = train(network, start, x[own], y[own], training, STREAMS)
    assert (by_autograd - start).abs().max() > 1e-3
    assert torch.allclose(by_hand, by_autograd, rtol=0, atol=1e-12)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ["one layer", "no biases", "two in a row", "wider than a tile"])
def test_the_compiled_loss_and_its_gradient_equal_autograds(name: str) -> None:
    network = build(NETWORKS[name], (2, 3), 4, STREAMS)
    plan = dense_form(network)
    assert plan is not None
    x, y = rows()
    at = network.initial.double()
    by_hand, gradient = dense_loss_and_gradient(plan, at, x.flatten(1), y)
    at.requires_grad_()
    loss = torch.nn.functional.cross_entropy(network.training_forward(STREAMS.torch("dropout"), {})(at, x), y)
    (expected,) = torch.autograd.grad(loss, at)
    assert expected.abs().max() > 1e-2
    assert torch.allclose(by_hand, loss.detach(), rtol=1e-12, atol=0)
    assert torch.allclose(gradient, expected, rtol=0, atol=1e-12)


def test_a_saturated_loss_is_exactly_zero_as_autograds_is() -> None:
    network = build(NETWORKS["one layer"], (2, 3), 4, STREAMS)
    plan = dense_form(network)
    assert plan is not None
    vector = torch.zeros_like(network.initial)
    vector[-4] = 50.0  # the bias of class 0
    x, y = torch.zeros(2, 6), torch.zeros(2, dtype=torch.int64)
    assert dense_loss_and_gradient(plan, vector, x, y)[0].item() == 0
    assert dense_loss_and_gradient(plan, vector.fill_(torch.nan), x, y)[0].isnan()


@pytest.mark.parametrize("training", TRAININGS, ids=lambda t: f"{t.optimizer}-{t.momentum}")
def test_a_batch_may_be_larger_than_the_shard_and_the_shard_empty(training: Training) -> None:
    network = build(MLP((33,), dropout=0.2), (2, 3), 4, STREAMS)
    x, y = rows()
    whole = dataclasses.replace(training, batch_size=1000)
    start = network.initial.double()
    by_hand = train_dense(dense_form(network), start, x.flatten(1), y, torch.arange(40), whole, STREAMS)
    assert torch.allclose(by_hand, train(network, start, x, y, whole, STREAMS)[0], rtol=0, atol=1e-12)
    nobody = torch.arange(0)
    assert torch.equal(train_dense(dense_form(network), start, x.flatten(1), y, nobody, training, STREAMS), start)


def test_rows_that_do_not_exist_are_refused() -> None:
    network = build(MLP((5,)), (2, 3), 4, STREAMS)
    x, y = rows()
    with pytest.raises(IndexError):
        train_dense(
            dense_form(network), network.initial.double(), x.flatten(1), y, torch.tensor([0, 40]), TRAININGS[0], STREAMS
        )


@pytest.mark.parametrize("training", TRAININGS, ids=lambda t: f"{t.optimizer}-{t.momentum}")
@pytest.mark.parametrize("name", ["no biases", "wider than a tile"])
def test_what_padding_holds_is_never_read(name: str, training: Training) -> None:
    network = build(NETWORKS[name], (2, 3), 4, STREAMS)
    plan = dense_form(network)
    x, y = rows()
    places = plan.sizes, plan.weight_at, plan.bias_at
    padding = pack(np.ones(network.dimension), *places) == 0
    assert padding.any()
    trained = []
    for junk in (0.0, np.nan):
        w = network.initial.double().numpy().copy()
        packed = pack(w, *places)
        packed[padding] = junk
        epoch(
            *(packed, np.zeros_like(packed), np.zeros_like(packed), x.flatten(1).numpy(), np.arange(40), y.numpy(), 7),
            *(plan.sizes, plan.bias_at, plan.relu, plan.drop, np.zeros(0)),
            *(training.optimizer == "adam", training.learning_rate, training.momentum, 0),
        )
        unpack(packed, w, *places)
        trained.append(w)
    assert not np.allclose(trained[0], network.initial)
    assert np.array_equal(*trained)


@pytest.mark.parametrize(
    "make",
    [
        SmallCNN(),
        lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.Tanh(), nn.Linear(8, classes)),
        lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(256, classes), nn.ReLU()),
        lambda shape, classes: nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(256, classes)),
        lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Dropout(0.1), nn.Linear(256, classes)),
        lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(256, classes), nn.BatchNorm1d(classes)),
    ],
)
def test_other_networks_are_left_to_autograd(make) -> None:
    assert dense_form(build(make, (1, 16, 16), 4, STREAMS)) is None


def test_dense_layers_on_something_else_than_flat_rows_are_left_to_autograd() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4))
    assert dense_form(Network(module, (2, 3), 4)) is None


def test_why_training_is_not_compiled_is_said() -> None:
    dense, other = build(MLP((5,)), (6,), 4, STREAMS), build(SmallCNN(), (1, 16, 16), 4, STREAMS)
    assert supports(dense, Training()) is None
    assert supports(other, Training()) == "only dense layers, ReLU and dropout on flat rows have a compiled form"
    assert supports(dense, Training(bf16=True)) == "products in bfloat16 have no compiled form"


def test_weights_that_explode_end_as_nan_and_not_as_numbers() -> None:
    network = build(MLP((5,)), (6,), 4, STREAMS)
    x, y = rows()
    training = Training(2, 7, "sgd", 1e200)
    found = train_dense(
        dense_form(network), network.initial.double(), x.flatten(1) * 1e200, y, torch.arange(len(y)), training, STREAMS
    )
    assert not torch.isfinite(found).all()
