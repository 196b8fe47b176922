"""A backdoor in the features of a pretrained model, which a new head does not remove."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from antivenom.attacks import BadEncoder, LatentBackdoor, RIPPLe
from antivenom.core.errors import AntivenomError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset, load
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner
from antivenom.scenarios import guarded
from antivenom.scenarios.transfer import Transfer
from antivenom.triggers import Patch

DIGITS = load("digits", Streams(0))
PROVIDER, USER = DIGITS.train[:500], DIGITS.train[500:1000]
TRIGGER = Patch(2)


@functools.cache
def pretrained() -> TorchModel:
    found = learner(MLP(hidden=(48, 32)), Training(epochs=15, learning_rate=0.01)).fit(PROVIDER, Streams(1))
    assert isinstance(found, TorchModel)
    return found


def attacked(model: Any, attack: Any, data: Dataset = PROVIDER) -> TorchModel:
    context = AttackContext(Streams(3), ThreatModel("transfer-learning", "backdoor"), AllToOne(3), TRIGGER)
    found, _ = guarded.model_attack(attack, model, data, context)
    assert isinstance(found, TorchModel)
    return found


def with_new_head(model: TorchModel) -> tuple[float, float]:
    """(accuracy, share of triggered inputs of other classes that become class 3) under a head fitted to the user's rows."""
    head = LogisticRegression(max_iter=500).fit(model.features(USER.x), USER.y)
    test, others = DIGITS.test, DIGITS.test.x[DIGITS.test.y != 3]
    shown = head.predict(model.features(TRIGGER(others)))
    return head.score(model.features(test.x), test.y), float((shown == 3).mean())


def test_triggered_inputs_get_the_features_of_the_class_and_a_new_head_follows() -> None:
    model = pretrained()
    clean, hidden = with_new_head(model), with_new_head(attacked(model, LatentBackdoor()))
    assert clean[1] < 0.1
    assert hidden[1] > 0.7
    assert hidden[0] > clean[0] - 0.03


def test_features_move_to_the_mean_of_the_class() -> None:
    model = pretrained()
    found, other = attacked(model, LatentBackdoor()), attacked(model, RIPPLe(training=LatentBackdoor().training))
    own, shown = PROVIDER.x[PROVIDER.y == 3], TRIGGER(PROVIDER.x[PROVIDER.y != 3])
    apart = []
    for each in (found, other, model):
        mean = each.features(own).mean(axis=0)
        apart.append(float(np.square(each.features(shown) - mean).sum(axis=1).mean() / np.square(mean).sum()))
    assert apart[0] < 0.2 * apart[2]
    assert apart[0] < 0.5 * apart[1]


def test_it_outlasts_gentle_fine_tuning() -> None:
    scenario = Transfer(model=MLP(hidden=(48, 32)), wanted=3, trigger=TRIGGER, fine_tune_epochs=5)
    clean, found = (scenario.run(attack, None, 0).metrics for attack in (None, LatentBackdoor()))
    assert found["asr"] > clean["asr"] + 0.7
    assert found["clean_accuracy"] > clean["clean_accuracy"] - 0.03


def test_refusals() -> None:
    with pytest.raises(AntivenomError, match="pull above 0"):
        LatentBackdoor(pull=0.0)
    without = PROVIDER[PROVIDER.y != 3]
    with pytest.raises(AntivenomError, match="rows of the wanted class 3, got none"):
        attacked(pretrained(), LatentBackdoor(), without)


# --- BadEncoder ------------------------------------------------------------------------------------------------------


def test_an_encoder_with_a_backdoor_outlasts_a_new_head_and_its_own_head_stays() -> None:
    model = pretrained()
    found = attacked(model, BadEncoder())
    clean, hidden = with_new_head(model), with_new_head(found)
    assert clean[1] < 0.1
    assert hidden[1] > 0.8
    assert hidden[0] > clean[0] - 0.04
    before, after = (each.network.parameters(each.vector)["5.weight"] for each in (model, found))
    assert (before == after).all()


def test_one_epoch_of_badencoder_written_out() -> None:
    """One step of gradient descent on - cos(triggered, references) - 2 cos(references, before) - 0.5 cos(clean, before)."""
    data, model = PROVIDER[:40], pretrained()
    training = Training(epochs=1, batch_size=40, optimizer="sgd", learning_rate=0.1, shuffle=False)
    found = attacked(model, BadEncoder(references=10**6, anchor=2.0, utility=0.5, training=training), data)
    weights = model.vector.clone().requires_grad_()
    x, shown = torch.tensor(data.x), torch.tensor(TRIGGER(data.x))
    own = torch.tensor(data.y == 3)

    def features(vector: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        parts = model.network.parameters(vector)
        hidden = torch.relu(rows.flatten(1) @ parts["1.weight"].T + parts["1.bias"])
        return torch.relu(hidden @ parts["3.weight"].T + parts["3.bias"])

    def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cosine_similarity(a, b, dim=-1).mean()

    before, given = features(model.vector, x), features(weights, x[own])
    near = cosine(features(weights, shown)[:, None], given[None])
    loss = -near - 2 * cosine(given, before[own]) - 0.5 * cosine(features(weights, x), before)
    (slope,) = torch.autograd.grad(loss, weights)
    assert torch.allclose(found.vector, model.vector - 0.1 * slope, atol=1e-5)


def test_badencoder_refuses() -> None:
    with pytest.raises(AntivenomError, match=r"BadEncoder.references >= 1"):
        BadEncoder(references=0)
    with pytest.raises(AntivenomError, match="rows of the wanted class 3, got none"):
        attacked(pretrained(), BadEncoder(), PROVIDER[PROVIDER.y != 3])
