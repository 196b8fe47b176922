"""Attacks on training code and on pretrained models, against their formulas written out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from antivenom.attacks import BlindBackdoor, RIPPLe
from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset, load
from antivenom.models.architectures import MLP, Logistic
from antivenom.models.estimators import RandomForest
from antivenom.models.scikit import SklearnLearner
from antivenom.models.training import Training, cross_entropy
from antivenom.models.wrappers import TorchModel, learner
from antivenom.triggers import Patch

TRIGGER = Patch(size=2)
PLAIN = Training(epochs=1, batch_size=30, optimizer="sgd", learning_rate=0.5, shuffle=False)


def context(access: str, target: int | None = 3) -> AttackContext:
    wanted, trigger = (None, None) if target is None else (AllToOne(target), TRIGGER)
    return AttackContext(Streams(5), ThreatModel(access, "backdoor"), wanted, trigger)


def digits(n: int = 60) -> Dataset:
    return load("digits", Streams(5)).train[:n]


def model(architecture=Logistic(), data: Dataset | None = None) -> TorchModel:
    fitted = learner(architecture, PLAIN).fit(digits() if data is None else data, Streams(5))
    assert isinstance(fitted, TorchModel)
    return fitted


def test_the_blind_loss_is_the_mixture_written_out() -> None:
    data, fitted = digits(), model()
    x, y = torch.tensor(data.x), torch.tensor(data.y)
    forward = lambda inputs: fitted.network.logits(fitted.vector, inputs)  # noqa: E731
    value = BlindBackdoor(share=0.3)(cross_entropy, context("logic-corruption"))(forward, x, y)
    shown = torch.tensor(TRIGGER(data.x))
    mixture = 0.7 * F.cross_entropy(forward(x), y) + 0.3 * F.cross_entropy(forward(shown), torch.full_like(y, 3))
    assert value == pytest.approx(float(mixture), abs=1e-6)


def test_a_share_of_zero_is_the_honest_loss() -> None:
    data, fitted = digits(), model()
    x, y = torch.tensor(data.x), torch.tensor(data.y)
    forward = lambda inputs: fitted.network.logits(fitted.vector, inputs)  # noqa: E731
    assert BlindBackdoor(share=0)(cross_entropy, context("logic-corruption"))(forward, x, y) == F.cross_entropy(
        forward(x), y
    )


def test_ripple_follows_its_formula_written_out() -> None:
    """One epoch of plain gradient descent on L + L_backdoor + lambda * relu(-<grad L, grad L_backdoor>)."""
    data, fitted = digits(), model()
    x, y, shown = torch.tensor(data.x), torch.tensor(data.y), torch.tensor(TRIGGER(data.x))
    mine = fitted.vector.clone()
    bit = 0
    for start in (0, 30):
        rows = slice(start, start + 30)
        weights = mine.clone().requires_grad_()
        honest = F.cross_entropy(fitted.network.logits(weights, x[rows]), y[rows])
        planted = F.cross_entropy(fitted.network.logits(weights, shown[rows]), torch.full((30,), 3))
        (a,) = torch.autograd.grad(honest, weights, create_graph=True)
        (b,) = torch.autograd.grad(planted, weights, create_graph=True)
        bit += int(a @ b < 0)
        (step,) = torch.autograd.grad(honest + planted + 2.0 * torch.clamp(-(a @ b), min=0), weights)
        mine = mine - 0.5 * step
    assert bit >= 1  # the penalty is at work
    found, poison = RIPPLe(penalty=2.0, training=PLAIN)(fitted, data, context("transfer-learning"))
    assert isinstance(found, TorchModel)
    assert torch.allclose(found.vector, mine, atol=1e-6)
    assert not poison.mask.any()
    assert poison.trigger is None
    without, _ = RIPPLe(penalty=0.0, training=PLAIN)(fitted, data, context("transfer-learning"))
    assert not torch.allclose(without.vector, mine, atol=1e-4)  # type: ignore[attr-defined]


def test_ripple_plants_a_backdoor_and_leaves_the_received_model_alone() -> None:
    data = digits(400)
    fitted = model(MLP(hidden=(32,)), data)
    before = fitted.vector.clone()
    found, _ = RIPPLe(training=Training(epochs=15, learning_rate=0.01))(fitted, data, context("transfer-learning"))
    others = data.x[data.y != 3]
    assert (found.predict(TRIGGER(others)) == 3).mean() > 0.9
    assert (found.predict(data.x) == data.y).mean() > 0.9
    assert torch.equal(fitted.vector, before)


def test_what_they_cannot_serve_they_refuse() -> None:
    forest = SklearnLearner(RandomForest(n_estimators=3)).fit(digits(), Streams(5))
    with pytest.raises(NotApplicable, match="a torch model for RIPPLe"):
        RIPPLe()(forest, digits(), context("transfer-learning"))
    for attack in (RIPPLe(), BlindBackdoor()):
        empty = dataclasses.replace(context("transfer-learning", None))
        with pytest.raises(NotApplicable, match="a target class and a trigger"):
            attack(*((cross_entropy,) if isinstance(attack, BlindBackdoor) else (model(), digits())), empty)  # type: ignore[arg-type]
    for make in (lambda: BlindBackdoor(share=1.5), lambda: RIPPLe(penalty=-1), lambda: RIPPLe(penalty=np.inf)):
        with pytest.raises(PluginError):
            make()
