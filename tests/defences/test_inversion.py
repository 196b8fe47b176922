"""Trigger inversion on networks whose best triggers are known by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from antivenom.core.errors import DataError, ModelError, NotApplicable, PluginError
from antivenom.data import Dataset
from antivenom.defences import NeuralCleanse
from antivenom.defences.acceptance.calibration import compared
from antivenom.defences.inversion import Search, invert, negative_margin
from antivenom.defences.networks import network_of, rows_of
from antivenom.defences.spaces import Ball, FreeInput, MaskAndPattern
from antivenom.models.network import Network
from antivenom.models.wrappers import TorchModel

LOW, HIGH = torch.tensor(0.0), torch.tensor(1.0)


def model_of(module: nn.Module, shape: tuple[int, ...], classes: int) -> TorchModel:
    network = Network(module, shape, classes)
    return TorchModel(network, network.initial, network.buffers)


def linear(weight: Any, bias: Any) -> TorchModel:
    """The network x -> x W^T + b."""
    weight = torch.tensor(weight, dtype=torch.float32)
    module = nn.Linear(weight.shape[1], len(weight))
    with torch.no_grad():
        module.weight.copy_(weight)
        module.bias.copy_(torch.tensor(bias, dtype=torch.float32))
    return model_of(module, (weight.shape[1],), len(weight))


def convolutional(classes: int = 4) -> TorchModel:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, classes))
    with torch.no_grad():
        module[1].running_mean.uniform_(-0.2, 0.2)
    return model_of(module, (1, 8, 8), classes)


def pictures(m: int = 12) -> torch.Tensor:
    return torch.rand(m, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_smallest_mask_covers_the_one_input_that_decides() -> None:
    """Class 1 needs x_2 > 0.8 and class 2 needs nearly x_0 + x_1 + x_3 > 2.4; the rows are dark."""
    model = linear([[0, 0, 0, 0], [0, 0, 20, 0], [20, 20, 0, 20]], [0, -16, -48])
    x = 0.1 * torch.rand(16, 4, generator=torch.Generator().manual_seed(0))
    found = invert(model, x, [1, 2], MaskAndPattern(LOW, HIGH, 0.5), Search(300, penalty=0.1))
    masks = np.stack([trigger.mask for trigger in found.triggers])  # type: ignore[attr-defined]
    assert found.reached.all()
    assert (masks[0] > [-1, -1, 0.7, -1]).all()
    assert (masks[0] < [0.1, 0.1, 1, 0.1]).all()
    assert masks[1, 2] < 0.2
    assert 2 < masks[1].sum() < 3.2  # of the values 1 in x_0, x_1 and x_3, any share that sums to about 2.4
    assert np.allclose(found.sizes, masks.sum(axis=1), atol=1e-5)
    shown = found.triggers[0](x.numpy())
    assert (model.predict(shown) == 1).all()


def test_the_best_shared_perturbation_of_a_linear_model_is_along_its_weights() -> None:
    model = linear([[0, 0, 0], [3, 0, -4]], [0, -100])
    x = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))
    wide = Ball(0.5, torch.tensor(-9.0), torch.tensor(9.0))
    (delta,) = invert(model, x, [1], wide, Search(200, rate=0.05, penalty=0)).leaves
    assert torch.allclose(delta[0], torch.tensor([0.3, 0.0, -0.4]), atol=1e-2)
    wide = Ball(0.5, torch.tensor(-9.0), torch.tensor(9.0), norm=torch.inf)
    (delta,) = invert(model, x, [1], wide, Search(200, rate=0.05, penalty=0)).leaves
    assert torch.allclose(delta[0, [0, 2]], torch.tensor([0.5, -0.5]), atol=1e-2)


def test_free_inputs_reach_the_largest_margin_of_a_linear_model() -> None:
    """The margin of class 1 over class 0 is 3 x_0 - 4 x_2 + 1, at most 4 in the unit cube."""
    model = linear([[0, 0, 0], [3, 0, -4]], [0, 1])
    space = FreeInput(4, LOW, HIGH)
    found = invert(model, torch.zeros(1, 3), [0, 1], space, Search(300), objective=negative_margin)
    assert np.allclose(-found.losses, [3, 4], atol=0.2)


def test_classes_in_one_batch_are_found_as_if_each_were_alone() -> None:
    model, x = convolutional(), pictures()
    space, search = MaskAndPattern(LOW, HIGH, 0.5), Search(40, penalty=0.01)
    together = invert(model, x, range(4), space, search)
    for c in range(4):
        alone = invert(model, x, [c], space, search)
        assert together.sizes[c] == pytest.approx(alone.sizes[0], rel=1e-3)
        assert together.rates[c] == alone.rates[0]
        assert torch.allclose(together.leaves[0][c], alone.leaves[0][0], atol=1e-2)


def test_a_finished_class_leaves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Class 0 is what the network predicts anyway, so that its search ends early. Class 1 never ends: it is out of reach."""
    model, sizes = linear([[0, 0], [0, 0]], [5, -5]), []
    own = Network.logits

    def counted(self: Network, vector: Any, x: Any, buffers: Any = None) -> Any:
        sizes.append(len(x))
        return own(self, vector, x, buffers)

    monkeypatch.setattr(Network, "logits", counted)
    search = Search(600, patience=1, penalty=0.1)
    found = invert(model, torch.rand(7, 2), [0, 1, 0], Ball(0.5, LOW, HIGH), search)
    assert sizes[0] == 21
    assert found.reached.tolist() == [True, False, True]
    stuck = linear([[0, 0], [8, 0]], [5, -8])  # class 1 needs x_0 > 13 / 8, class 0 only the mask to be small
    sizes.clear()
    found = invert(stuck, torch.ones(7, 2), [1, 1, 0], MaskAndPattern(LOW, torch.tensor(2.0), 0.5), search)
    assert found.steps[0] < 600
    assert sizes[-1] < 21


def test_a_row_does_not_count_for_its_own_class() -> None:
    """Half of the rows are of class 1 and predicted so. The others cannot be turned, and the rate is 0, not one half."""
    model = linear([[100, 0], [-100, 0]], [0, 0])
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]] * 5)
    y = torch.tensor([0, 1] * 5)
    space = Ball(0.01, torch.tensor(-2.0), torch.tensor(2.0))
    assert invert(model, x, [1], space, Search(5)).rates[0] == 0.5
    assert invert(model, x, [1], space, Search(5), y=y).rates[0] == 0


def test_a_class_that_no_mask_reaches_is_reported_and_not_judged() -> None:
    """Neural Cleanse once divided by it or gave it the norm NaN."""
    model = linear(np.eye(4) * 9, [0, 0, 0, -1e4])
    rng = np.random.default_rng(0)
    clean = Dataset(rng.random((20, 4)), np.arange(20) % 4, tuple("abcd"))
    verdict = compared(NeuralCleanse(steps=80), model, clean, ())
    assert verdict.classes is not None
    assert np.isfinite(verdict.classes.scores).all()
    assert verdict.classes.scores[3] == 0
    assert not verdict.classes.flags[3]
    assert "not reached, and not judged: classes 3" in verdict.notes
    assert "uncalibrated" in verdict.notes[0]


def test_inversion_leaves_the_statistics_of_batch_norm_alone() -> None:
    model = convolutional()
    before = {name: b.clone() for name, b in model.buffers.items()}
    invert(model, pictures(), range(4), MaskAndPattern(LOW, HIGH, 0.5), Search(3))
    assert all(torch.equal(before[name], b) for name, b in model.buffers.items())


def test_what_inversion_cannot_take_is_one_line() -> None:
    model, defence = convolutional(), NeuralCleanse()
    rows = Dataset(pictures(8).numpy(), np.arange(8) % 4, tuple("abcd"))
    mistakes = [
        (lambda: network_of(object(), defence), NotApplicable, "a torch model for NeuralCleanse, got object"),  # type: ignore[arg-type]
        (lambda: rows_of(model, rows, defence, 9), DataError, "at least 9 clean rows for NeuralCleanse, got 8"),
        (
            lambda: rows_of(model, Dataset(rows.x, rows.y % 3, tuple("abc")), defence),
            ModelError,
            "a head with 3 outputs",
        ),
        (lambda: rows_of(model, Dataset(rows.x[:, :, 1:], rows.y, tuple("abcd")), defence), ModelError, "(1, 8, 8)"),
        (lambda: Search(success=0), PluginError, "success above 0"),
    ]
    for call, error, says in mistakes:
        with pytest.raises(error) as caught:
            call()
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    words = model_of(nn.Sequential(nn.Embedding(9, 2), nn.Flatten(), nn.Linear(6, 4)), (3,), 4)
    with pytest.raises(NotApplicable, match="rows of numbers for NeuralCleanse, got one on tokens"):
        compared(defence, words, Dataset(np.ones((4, 3)), np.arange(4), tuple("abcd")), ())
    model.network.module.train()
    with pytest.raises(ModelError, match="evaluation mode for NeuralCleanse, got one in training mode"):
        compared(defence, model, rows, ())
