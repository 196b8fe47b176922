"""A backdoor that is trained into the channels which pruning by activity keeps."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch

from antivenom.attacks import PruningAware
from antivenom.core.errors import AntivenomError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import load
from antivenom.models.architectures import MLP, Logistic
from antivenom.models.estimators import RandomForest
from antivenom.models.layers import Channel
from antivenom.models.scikit import SklearnLearner
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner
from antivenom.scenarios import guarded
from antivenom.triggers import Patch

DIGITS = load("digits", Streams(0))
TRIGGER = Patch(2)
QUICK = PruningAware(training=Training(epochs=10, learning_rate=0.005))


@functools.cache
def fitted() -> TorchModel:
    found = learner(MLP(hidden=(32,)), Training(epochs=10, learning_rate=0.01)).fit(DIGITS.train, Streams(1))
    assert isinstance(found, TorchModel)
    return found


def attacked(model: Any, attack: Any = QUICK) -> TorchModel:
    context = AttackContext(Streams(3), ThreatModel("transfer-learning", "backdoor"), AllToOne(3), TRIGGER)
    found, _ = guarded.model_attack(attack, model, DIGITS.train, context)
    assert isinstance(found, TorchModel)
    return found


def rates(model: TorchModel) -> tuple[float, float]:
    """(accuracy, attack success rate)."""
    test, others = DIGITS.test, DIGITS.test.x[DIGITS.test.y != 3]
    return float((model.predict(test.x) == test.y).mean()), float((model.predict(TRIGGER(others)) == 3).mean())


def without_least_active(model: TorchModel, number: int) -> TorchModel:
    """Pruning by activity, the defence, written out."""
    order = np.argsort(model.features(DIGITS.train.x).mean(axis=0), kind="stable")[:number]
    return model.scaled({Channel("1", int(i)): 0.0 for i in order})


def test_the_backdoor_lies_in_the_active_channels_and_survives_pruning() -> None:
    model, found = fitted(), attacked(fitted())
    assert rates(model)[1] < 0.1
    accuracy, asr = rates(found)
    assert asr > 0.9
    assert accuracy > rates(model)[0] - 0.04
    assert rates(without_least_active(found, 16)) == pytest.approx((accuracy, asr), abs=0.03)


def test_decoys_have_their_old_weights_and_are_silent_on_clean_rows() -> None:
    model, found = fitted(), attacked(fitted())
    before, after = (each.network.parameters(each.vector) for each in (model, found))
    decoys = (before["1.weight"] == after["1.weight"]).all(dim=1)
    assert decoys.sum() == 16
    least = np.argsort(model.features(DIGITS.train.x).mean(axis=0), kind="stable")[:16]
    assert set(torch.nonzero(decoys).flatten().tolist()) == set(least.tolist())
    assert (before["3.weight"] == after["3.weight"]).all(dim=0).tolist() == decoys.tolist()
    active = found.features(DIGITS.train.x)[:, decoys.numpy()]
    assert (active > 0).mean(axis=0).max() <= 0.012  # 99 % of the rows leave each of them at 0
    assert found.kept is None


def test_no_decoys_is_plain_training_on_triggered_rows() -> None:
    plain = attacked(
        fitted(), PruningAware(0.0, training=Training(epochs=1, batch_size=2000, optimizer="sgd", learning_rate=0.1))
    )
    model, x, y = fitted(), torch.tensor(DIGITS.train.x), torch.tensor(DIGITS.train.y)
    weights = model.vector.clone().requires_grad_()
    logits = model.network.logits(weights, torch.cat([x, torch.tensor(TRIGGER(DIGITS.train.x))]))
    loss = torch.nn.functional.cross_entropy(logits, torch.cat([y, torch.full_like(y, 3)]))
    (slope,) = torch.autograd.grad(loss, weights)
    assert torch.allclose(plain.vector, model.vector - 0.1 * slope, atol=1e-5)


def test_models_that_cannot_be_trained_around_are_refused() -> None:
    forest = SklearnLearner(RandomForest(n_estimators=2)).fit(DIGITS.train, Streams(1))
    with pytest.raises(AntivenomError, match="a torch model for PruningAware"):
        attacked(forest)
    flat = learner(Logistic(), Training(epochs=1)).fit(DIGITS.train, Streams(1))
    with pytest.raises(AntivenomError, match="a network with a hidden layer with a bias"):
        attacked(flat)
    with pytest.raises(AntivenomError, match=r"PruningAware.decoys from 0 to 1"):
        PruningAware(decoys=1.5)
