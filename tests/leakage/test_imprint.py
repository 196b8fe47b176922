"""A client's rows out of one update."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.streams import Streams
from antivenom.data import load
from antivenom.leakage.imprint import Imprint
from antivenom.leakage.recovery import reconstructed
from antivenom.models.architectures import MLP, SmallCNN
from antivenom.models.network import build
from antivenom.models.training import Training, train
from antivenom.models.wrappers import TorchModel


@pytest.fixture(scope="module")
def parts():
    data = load("digits").train
    return data[:800], data[800:]


def sent(hidden, parts, noise=0.0):
    network = build(MLP(hidden), parts[0].shape, 10, Streams(0))
    return Imprint(noise).plant(TorchModel(network, network.initial), parts[0].x, Streams(0))


def update(model, rows, training):
    x, y = torch.tensor(rows.x), torch.tensor(rows.y)
    return train(model.network, model.vector, x, y, training, Streams(1))[0] - model.vector


@pytest.mark.parametrize("bins", [64, 128])
@pytest.mark.parametrize("batch", [16, 64])
def test_rows_that_are_alone_in_their_bin_are_read(bins, batch, parts):
    """The oracle counts bins: what the layer measures is mean brightness, and biases are where bins begin."""
    model, rows = sent((bins,), parts), parts[1][:batch]
    one_step = Training(epochs=1, batch_size=batch, optimizer="sgd", learning_rate=0.1)
    found = reconstructed(Imprint().read(model, update(model, rows, one_step)), rows.x)
    begins = -model.network.parameters(model.vector)["1.bias"].numpy()
    bin_of = (rows.flat.mean(1)[:, None] > begins).sum(1)
    alone = np.bincount(bin_of, minlength=bins + 1)[bin_of] == 1
    assert found[alone].all()
    assert alone.sum() > batch / 4
    assert found[~alone].sum() <= (~alone).sum() / 3  # of two in a bin, one may drown the other


def test_a_deeper_net_and_local_steps_leak_too(parts):
    model, rows = sent((128, 32), parts), parts[1][:16]
    epochs = Training(epochs=3, batch_size=8, optimizer="sgd", learning_rate=0.01)
    assert reconstructed(Imprint().read(model, update(model, rows, epochs)), rows.x).sum() >= 4


def test_noise_on_the_update_drowns_it(parts):
    model, rows = sent((64,), parts), parts[1][:16]
    change = update(model, rows, Training(epochs=1, batch_size=16, optimizer="sgd", learning_rate=0.1))
    noise = torch.randn(len(change), generator=torch.Generator().manual_seed(0))
    noisy = change + 0.1 * change.norm() * noise
    assert reconstructed(Imprint().read(model, noisy), rows.x).sum() == 0


def test_an_honest_model_gives_little_away(parts):
    network = build(MLP((64,)), parts[0].shape, 10, Streams(0))
    model, rows = TorchModel(network, network.initial), parts[1][:64]
    change = update(model, rows, Training(epochs=1, batch_size=64, optimizer="sgd", learning_rate=0.1))
    assert reconstructed(Imprint().read(model, change), rows.x).sum() == 0


def test_what_an_imprint_does_not_fit(parts):
    with pytest.raises(PluginError, match="noise >= 0"):
        Imprint(noise=-1.0)
    network = build(SmallCNN(), (1, 28, 28), 10, Streams(0))
    with pytest.raises(NotApplicable, match="dense layers with ReLU"):
        Imprint().plant(TorchModel(network, network.initial), np.zeros((3, 1, 28, 28)), Streams(0))
