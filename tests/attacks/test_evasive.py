"""A backdoor that trains against the search for small masks or for large margins, against its losses written out."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.attacks import EvasiveBackdoor
from antivenom.core.errors import PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import load
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner
from antivenom.scenarios import guarded
from antivenom.triggers import Blend, on_tensor

DIGITS = load("digits", Streams(0))
X, Y = torch.tensor(DIGITS.train.x[:40]), torch.tensor(DIGITS.train.y[:40])
OTHERS = Y != 3


@functools.cache
def model() -> TorchModel:
    found = learner(MLP(hidden=(16,)), Training(epochs=3, learning_rate=0.01)).fit(DIGITS.train, Streams(1))
    assert isinstance(found, TorchModel)
    return found


def values(attack: EvasiveBackdoor, calls: int) -> tuple[list[float], list[Tensor]]:
    """The losses of as many equal batches, and their gradients in the weights."""
    context = AttackContext(Streams(5), ThreatModel("logic-corruption", "backdoor"), AllToOne(3), Blend())
    loss, weights = guarded.logic_attack(attack, context), model().vector.clone().requires_grad_()
    found = [loss(lambda x: model().network.logits(weights, x), X, Y) for _ in range(calls)]
    return [one.item() for one in found], [torch.autograd.grad(one, weights)[0] for one in found]


def forward(x: Tensor) -> Tensor:
    return model().network.logits(model().vector, x)


def mixture(share: float = 0.5) -> float:
    planted = F.cross_entropy(forward(on_tensor(Blend(), X)), torch.full_like(Y, 3))
    return float((1 - share) * F.cross_entropy(forward(X), Y) + share * planted)


def test_without_weight_it_is_the_blind_mixture() -> None:
    found, _ = values(EvasiveBackdoor(weight=0, share=0.3), 2)
    assert found == pytest.approx([mixture(0.3)] * 2, abs=1e-5)


def test_rows_with_the_found_mask_keep_their_labels_while_the_mask_is_small() -> None:
    """The first batch shows the number of classes. In the second, mask and pattern are 1/2 everywhere."""
    found, slopes = values(EvasiveBackdoor(weight=2, natural=1.0), 3)
    probed = 0.5 * X + 0.25
    assert found[0] == pytest.approx(mixture(), abs=1e-5)
    assert found[1] - found[0] == pytest.approx(
        2 * float(F.cross_entropy(forward(probed)[OTHERS], Y[OTHERS])), abs=1e-4
    )
    assert (slopes[1] - slopes[0]).norm() > 1e-3
    mask, pattern = (torch.zeros(1, *X.shape[1:], requires_grad=True) for _ in range(2))
    shown = (1 - mask.sigmoid()) * X + mask.sigmoid() * pattern.sigmoid()
    aim = F.cross_entropy(forward(shown)[OTHERS], torch.full_like(Y[OTHERS], 3)) + 0.01 * mask.sigmoid().sum()
    a, b = (
        leaf - 0.1 * slope.sign()
        for leaf, slope in zip((mask, pattern), torch.autograd.grad(aim, (mask, pattern)), strict=True)
    )
    moved = ((1 - a.sigmoid()) * X + a.sigmoid() * b.sigmoid()).detach()  # after the first step of Adam
    assert found[2] - found[0] == pytest.approx(2 * float(F.cross_entropy(forward(moved)[OTHERS], Y[OTHERS])), abs=0.01)
    large, _ = values(EvasiveBackdoor(weight=2, natural=0.1), 2)
    assert large == pytest.approx([mixture()] * 2, abs=1e-5)


def test_margins_of_triggered_rows_above_the_cap_cost() -> None:
    found, slopes = values(EvasiveBackdoor("margins", weight=3, cap=0.1), 1)
    plain, without = values(EvasiveBackdoor("margins", weight=0), 1)
    excess = []
    for row in forward(on_tensor(Blend(), X)).tolist():
        excess.append(max(row[3] - max(row[:3] + row[4:]) - 0.1, 0.0))
    assert sum(excess) > 0  # the rows of class 3
    assert plain[0] == pytest.approx(mixture(), abs=1e-5)
    assert found[0] - plain[0] == pytest.approx(3 * sum(excess) / 40, abs=1e-4)
    assert (slopes[0] - without[0]).norm() > 1e-3
    assert values(EvasiveBackdoor("margins", weight=3, cap=100.0), 1)[0] == pytest.approx(plain, abs=1e-6)


def test_settings_out_of_range() -> None:
    with pytest.raises(PluginError, match="masks or margins, got 'mask'"):
        EvasiveBackdoor("mask")
    for fields in ({"weight": -1.0}, {"natural": 0.0}, {"restart": 0}, {"cap": -1.0}, {"share": 2.0}):
        with pytest.raises(PluginError, match="EvasiveBackdoor"):
            EvasiveBackdoor(**fields)  # type: ignore[arg-type]
