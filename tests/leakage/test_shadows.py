"""Models trained together against one after another, and who trains on what."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from antivenom.core.errors import DataError, NotApplicable
from antivenom.core.streams import Streams
from antivenom.leakage.shadows import Shadows, _batches, beginnings, halves, train_together
from antivenom.models.architectures import MLP, FashionCNN, Logistic
from antivenom.models.schedules import half_cosine
from antivenom.models.training import Training


@given(st.integers(1, 6), st.integers(1, 20), st.integers(0, 99))
def test_every_row_in_half_of_the_models_and_every_model_on_half_of_the_rows(pairs: int, half: int, seed: int) -> None:
    members = halves(2 * pairs, 2 * half, np.random.default_rng(seed))
    assert (members.sum(axis=0) == pairs).all()
    assert (members.sum(axis=1) == half).all()
    assert (members[::2] ^ members[1::2]).all()


@pytest.mark.parametrize(("models", "rows"), [(3, 4), (4, 3), (0, 4)])
def test_odd_numbers_have_no_half(models: int, rows: int) -> None:
    with pytest.raises(DataError, match="even numbers"):
        halves(models, rows, np.random.default_rng(0))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("annealed", [True, False])
def test_together_is_one_after_another(optimizer: str, annealed: bool, blobs) -> None:
    training = Training(epochs=3, batch_size=8, optimizer=optimizer, learning_rate=0.05)
    x, y = torch.tensor(blobs.x), torch.tensor(blobs.y)
    network, start = beginnings(MLP(hidden=(6,)), (5,), 3, 4, Streams(0))
    rows = torch.stack([torch.randperm(90, generator=Streams(i).torch())[:20] for i in range(4)])
    found = train_together(network, start, x, y, rows, training, Streams(1).torch("order"), annealed)
    orders = list(_batches(rows, training, Streams(1).torch("order")))
    assert len(orders) == training.steps(20)
    for i in range(4):
        vector = start[i].clone().requires_grad_()
        descent = training.optimizer_for(vector)
        for step, batch in enumerate(orders):
            descent.param_groups[0]["lr"] = 0.05 * (half_cosine(step / len(orders)) if annealed else 1)
            loss = F.cross_entropy(network.logits(vector, x[batch[i]]), y[batch[i]])
            (vector.grad,) = torch.autograd.grad(loss, vector)
            descent.step()
        assert torch.allclose(found[i], vector, atol=1e-5), i
    assert torch.allclose(Shadows(network, found).logits(blobs.x, batch=7)[2], network.logits(found[2], x), atol=1e-4)


def test_each_model_sees_each_of_its_rows_once_an_epoch() -> None:
    rows = torch.arange(12).view(2, 6)
    seen = torch.cat(list(_batches(rows, Training(epochs=2, batch_size=4), Streams(0).torch())), dim=1)
    assert torch.equal(seen.view(2, 2, 6).sort(2).values, rows.unsqueeze(1).expand(2, 2, 6))


def test_models_begin_apart() -> None:
    start = beginnings(Logistic(), (5,), 3, 4, Streams(0))[1]
    assert len({tuple(vector.tolist()) for vector in start}) == 4


def test_a_layer_that_cannot_be_stacked_is_refused() -> None:
    from torch import nn

    def normalised(shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, classes))

    with pytest.raises(NotApplicable, match="BatchNorm1d"):
        beginnings(normalised, (5,), 3, 2, Streams(0))
    assert beginnings(FashionCNN(2, 4), (1, 12, 12), 3, 2, Streams(0))[1].shape[0] == 2
