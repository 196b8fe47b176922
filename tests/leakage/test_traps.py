"""Units that latch one row of whoever fine-tunes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from antivenom.core.errors import ModelError, NotApplicable, PluginError
from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.leakage.disarm import cut_rare_units, firing_rates
from antivenom.leakage.layers import dense_inputs, open_path
from antivenom.leakage.recovery import reconstructed
from antivenom.leakage.traps import DataTraps
from antivenom.models.architectures import MLP
from antivenom.models.network import build
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchLearner, TorchModel

SGD = Training(epochs=3, batch_size=16, optimizer="sgd", learning_rate=0.1)
TRAPS = DataTraps(count=16, rate=4e-3)


@pytest.fixture(scope="module")
def parts():
    data = load("digits").train
    return data[:700], data[700:]


@pytest.fixture(scope="module")
def pretrained(parts):
    return {
        hidden: TorchLearner(MLP(hidden), Training(epochs=20)).fit(parts[0], Streams(0)) for hidden in ((64,), (64, 48))
    }


def tuned(model, data, training=SGD):
    return TorchLearner(MLP(), training).fit(data, Streams(1), start=model)


@pytest.mark.parametrize("hidden", [(64,), (64, 48)], ids=["one hidden layer", "two"])
def test_rows_are_read_out_of_the_fine_tuned_weights(hidden, parts, pretrained):
    public, private = parts
    planted = TRAPS.plant(pretrained[hidden], public.x, Streams(2))
    guesses = TRAPS.read(planted, tuned(planted, private))
    control = TRAPS.read(pretrained[hidden], tuned(pretrained[hidden], private))
    assert reconstructed(guesses, private.x).sum() >= 8
    assert reconstructed(guesses, public.x).sum() == 0
    assert reconstructed(control, private.x).sum() <= 1


def test_one_row_is_read_exactly_and_switches_its_trap_off(parts, pretrained):
    public, private = parts
    planted = DataTraps(count=1, rate=4e-3).plant(pretrained[64,], public.x, Streams(2))
    weights = planted.network.parameters(planted.vector)
    level = torch.tensor(private.flat) @ weights["1.weight"].T + weights["1.bias"]
    (unit, *_) = np.flatnonzero(weights["3.weight"].max(0).values == TRAPS.gain)
    level[torch.tensor(private.y) == weights["3.weight"][:, unit].argmax()] = -1  # the loss has nothing against those
    row = int(level[:, unit].argmax())
    one = private[[row]]
    latched = tuned(planted, one, Training(epochs=1, batch_size=1, optimizer="sgd", learning_rate=0.1))
    assert reconstructed(TRAPS.read(planted, latched), one.x, least=60).all()
    after = latched.network.parameters(latched.vector)
    assert level[row, unit] > 0
    assert (torch.tensor(private.flat) @ after["1.weight"][unit] + after["1.bias"][unit]).max() < 0


def test_traps_replace_the_units_that_matter_least(parts, pretrained):
    public, _ = parts
    planted = TRAPS.plant(pretrained[64,], public.x, Streams(2))
    before, after = (m.network.parameters(m.vector) for m in (pretrained[64,], planted))
    kept = (before["1.weight"] == after["1.weight"]).all(1)
    assert kept.sum() == 64 - 16
    worth = torch.tensor(pretrained[64,].features(public.x)).mean(0) * before["3.weight"].norm(dim=0)
    assert worth[~kept].max() <= worth[kept].min()


def test_without_bias_the_weights_keep_the_unit_quiet(parts, pretrained):
    public, private = parts
    planted = DataTraps(count=16, rate=4e-3, bias=False).plant(pretrained[64,], public.x, Streams(2))
    rates = np.sort(firing_rates(planted, private.x)[0])
    assert (rates[:16] < 0.05).all()
    assert (planted.network.parameters(planted.vector)["1.bias"] == 0).sum() == 16


def test_cutting_rare_units_leaves_nothing_to_read(parts, pretrained):
    public, private = parts
    planted = DataTraps(count=16, rate=2e-3).plant(pretrained[64,], public.x, Streams(2))
    safe = cut_rare_units(planted, private.x, least=0.02)
    assert reconstructed(TRAPS.read(safe, tuned(safe, private)), private.x).sum() <= 1
    assert (safe.predict(private.x) == private.y).mean() >= (planted.predict(private.x) == private.y).mean() - 0.02


def convolutions(*layers):
    def make(shape, classes):
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 4 * 4, 40), nn.ReLU(), nn.Linear(40, classes))

    return make


def test_a_path_through_convolutions_keeps_every_pixel(parts):
    _, private = parts
    make = convolutions(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    network = build(make, private.shape, 10, Streams(0))
    opened, path = open_path(network, network.initial)
    (entering, *_) = dense_inputs(TorchModel(network, opened), private.x)
    assert torch.equal(path.row(entering), torch.tensor(private.flat))
    assert sorted(set(path.pixels.tolist())) == list(range(64))
    assert not torch.equal(opened, network.initial)


def test_a_trap_behind_convolutions_latches_a_row(parts):
    public, private = parts
    make = convolutions(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    model = TorchLearner(make, Training(epochs=5)).fit(public, Streams(0))
    planted = DataTraps(count=1, rate=4e-3).plant(model, public.x, Streams(2))
    head = planted.network.parameters(planted.vector)["7.weight"]
    target, unit = divmod(int(head.argmax()), head.shape[1])
    level = dense_inputs(planted, private.x)[1][:, unit] * torch.tensor(private.y != target)
    assert level.max() > 0
    one = private[[int(level.argmax())]]
    latched = tuned(planted, one, Training(epochs=1, batch_size=1, optimizer="sgd", learning_rate=0.05))
    assert reconstructed(TRAPS.read(planted, latched), one.x, least=50).all()


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ((nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 5), nn.ReLU()), "keep every pixel"),
        ((nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 8, 3), nn.ReLU()), "at least 4 channels"),
        ((nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(3, 1)), "without pooling"),
    ],
    ids=["padding", "narrow", "pooling"],
)
def test_convolutions_that_traps_do_not_fit(layers, says, parts):
    network = build(convolutions(*layers), parts[0].shape, 10, Streams(0))
    with pytest.raises(NotApplicable, match=says):
        TRAPS.plant(TorchModel(network, network.initial), parts[0].x, Streams(0))


def test_firing_rates_by_hand():
    """ReLU(x - 0.5) and ReLU(-x) on x = 0, 0.4, 0.6, 1."""
    rows = np.array([[0.0], [0.4], [0.6], [1.0]], dtype=np.float32)
    model = TorchLearner(MLP((2,)), Training(epochs=0)).fit(Dataset(rows, [0, 1, 0, 1], ("a", "b")), Streams(0))
    model = model.with_vector(torch.tensor([1.0, -1.0, -0.5, 0.0, *[1.0] * 6]))
    assert firing_rates(model, rows)[0].tolist() == [0.5, 0]
    assert cut_rare_units(model, rows, 0.25).vector.tolist() == [1, 0, -0.5, 0, 1, 0, 1, 0, 1, 1]


def test_what_traps_do_not_fit(parts, pretrained):
    public, _ = parts
    with pytest.raises(ModelError, match="at least 65 units"):
        DataTraps(count=65).plant(pretrained[64,], public.x, Streams(0))
    with pytest.raises(PluginError, match=r"rate in \(0, 1\)"):
        DataTraps(rate=1.0)
    linear = TorchLearner(MLP(()), Training(epochs=1)).fit(public, Streams(0))
    with pytest.raises(NotApplicable, match="at least one of them hidden"):
        TRAPS.plant(linear, public.x, Streams(0))
