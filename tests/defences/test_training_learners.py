"""Robust learners that tell poisoned images apart before or during training: D-BR, NAB and DBD."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.defences import DBD, DBR, NAB
from antivenom.defences.learners.decoupling import contrast, robust_head, symmetric, view, with_head
from antivenom.defences.learners.sensitivity import changes, turned
from antivenom.models.architectures import MLP, TinyCNN
from antivenom.models.estimators import Sklearn
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel
from antivenom.scenarios.pipeline import Pipeline
from antivenom.triggers import Patch

TRAINING = Training(epochs=12, batch_size=32, learning_rate=0.01)
PIPELINE = Pipeline(MLP(hidden=(32,)), TRAINING, "cpu", Streams(0))
CONVOLUTIONAL = Pipeline(TinyCNN(), TRAINING, "cpu", Streams(0))
ALL = (DBR, NAB, DBD)


def poisoned() -> tuple[Dataset, np.ndarray, Dataset, Dataset]:
    """Digits of which one in ten has a patch and the class 0, the mask of these, trusted rows, and test rows."""
    split = load("digits", Streams(0))
    x, y = np.array(split.train.x[:900]), np.array(split.train.y[:900])
    bad = np.flatnonzero(y != 0)[:90]
    x[bad], y[bad] = Patch(3)(x[bad]), 0
    return Dataset(x, y, split.train.classes), np.isin(np.arange(900), bad), split.train[900:1200], split.test


@pytest.mark.parametrize(
    ("learner", "least"),
    [(DBR(poisoned=0.08, clean=0.5), 0.88), (NAB(suspicious=0.1, isolating=4), 0.8)],
    ids=["DBR", "NAB"],
)
def test_the_backdoor_of_a_patch_is_removed(learner: Any, least: float) -> None:
    data, _, trusted, test = poisoned()
    context, others = CONVOLUTIONAL.context(trusted), test.y != 0
    plain, model = context.fit(data), learner(data, context)
    assert (plain.predict(Patch(3)(test.x[others])) == 0).mean() > 0.9
    assert (model.predict(Patch(3)(test.x[others])) == 0).mean() < 0.5
    assert (model.predict(test.x) == test.y).mean() > least
    assert np.array_equal(model.predict_proba(test.x).argmax(axis=1), model.predict(test.x))


def test_features_of_poisoned_images_change_most_when_they_are_turned() -> None:
    data, bad, trusted, _ = poisoned()
    model = CONVOLUTIONAL.context(trusted).fit(data)
    assert isinstance(model, TorchModel)
    assert roc_auc_score(bad, changes(model, data)) > 0.7


def test_turned_images_against_an_oracle() -> None:
    x = np.random.default_rng(0).random((3, 2, 8, 8)).astype(np.float32)
    assert np.allclose(turned(x, 0.0, 1.0), x, atol=1e-5)
    assert np.allclose(turned(x, 90.0, 1.0), np.rot90(x, axes=(2, 3)), atol=1e-5) or np.allclose(
        turned(x, -90.0, 1.0), np.rot90(x, axes=(2, 3)), atol=1e-5
    )
    smaller = turned(np.pad(np.ones((1, 1, 20, 20), dtype=np.float32), ((0, 0), (0, 0), (10, 10), (10, 10))), 30.0, 0.5)
    assert smaller.sum() == pytest.approx(100, rel=0.05)  # half of each side


def test_the_stamped_model_sees_the_patch_on_every_image() -> None:
    data, _, trusted, test = poisoned()
    model = NAB(isolating=1)(data, PIPELINE.context(trusted))
    stamp = Patch(2, float(data.dense.max()), "top-left")
    assert np.array_equal(model.predict_proba(stamp(test.x)), model.predict_proba(test.x))
    with pytest.raises(NotApplicable, match="trusted rows for NAB"):
        NAB()(data, PIPELINE.context())


# --- decoupling ------------------------------------------------------------------------------------------------------


def test_the_contrastive_loss_by_hand() -> None:
    """Two images with orthogonal outputs, equal in both views: each view has one like it and two unlike it."""
    outputs = 3 * torch.eye(2).repeat(2, 1)
    loss = contrast(0.5, torch.Generator().manual_seed(0))(
        lambda _: outputs, torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    )
    assert loss.item() == pytest.approx(math.log(math.exp(2) + 2) - 2, abs=1e-6)


def test_views_keep_the_shape_and_differ() -> None:
    x, generator = torch.rand(5, 3, 9, 8), torch.Generator().manual_seed(0)
    one, other = view(x, generator), view(x, generator)
    assert one.shape == x.shape
    assert not torch.equal(one, other)


def test_the_symmetric_loss_by_hand() -> None:
    logits, y = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([0])
    expected = 0.1 * math.log(4 / 3) + 0.25 * math.log(1e4)
    assert symmetric(logits, y).item() == pytest.approx(expected, abs=1e-5)


def test_the_robust_head_doubts_wrong_labels() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 100)
    features = torch.tensor(4 * np.eye(3, 5)[y] + rng.standard_normal((300, 5)), dtype=torch.float32)
    labels, wrong = y.copy(), np.arange(0, 300, 10)
    labels[wrong] = (y[wrong] + 1) % 3
    weight, bias, losses = robust_head(features, torch.tensor(labels), 3)
    assert roc_auc_score(np.isin(np.arange(300), wrong), losses) > 0.95
    assert (F.linear(features, weight, bias).argmax(1).numpy() == y).mean() > 0.95
    assert np.allclose(symmetric(F.linear(features, weight, bias), torch.tensor(labels)).numpy(), losses, atol=1e-3)


def test_a_head_is_replaced() -> None:
    data, _, _, test = poisoned()
    model = PIPELINE.context().fit(data[:50])
    assert isinstance(model, TorchModel)
    weight, bias = torch.randn(10, 32), torch.randn(10)
    expected = F.linear(torch.tensor(model.features(test.x)), weight, bias)
    assert torch.allclose(with_head(model, weight, bias).logits(test.x), expected, atol=1e-5)


def test_rows_with_wrong_labels_are_not_credible() -> None:
    """Features without labels give most mislabelled digits a high loss, and the tuned network is right about the others."""
    split = load("digits", Streams(0))
    data, bad = split.train[:900], np.arange(900) % 10 == 0
    y = np.where(bad, (data.y + 1) % 10, data.y)
    noisy = Dataset(data.x, y, data.classes)
    context = CONVOLUTIONAL.context()
    defence = DBD(contrastive=8, epochs=6)
    encoder, _ = defence.encoded(noisy, context)
    _, _, losses = robust_head(torch.tensor(encoder.features(noisy.x)), torch.tensor(y), 10)
    assert roc_auc_score(bad, losses) > 0.8
    model = defence(noisy, context)
    assert (model.predict(split.test.x) == split.test.y).mean() > 0.8


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", ALL, ids=lambda learner: learner.__name__)
def test_a_learner_of_images_needs_images_and_a_network(learner: Any) -> None:
    data, _, trusted, _ = poisoned()
    table = Dataset(data.dense.reshape(len(data), -1), data.y, data.classes)
    with pytest.raises(NotApplicable, match=f"images.* for {learner.__name__}"):
        learner()(table, PIPELINE.context(trusted))
    estimator = Pipeline(Sklearn("sklearn.linear_model.LogisticRegression"), TRAINING, "cpu", Streams(0))
    with pytest.raises(NotApplicable, match=f"a torch network for {learner.__name__}"):
        learner()(data, estimator.context(trusted))


@pytest.mark.parametrize(
    ("learner", "fields", "message"),
    [
        (DBR, {"clean": 0.0}, "clean and poisoned above 0"),
        (DBR, {"clean": 0.8, "poisoned": 0.3}, "together at most 1"),
        (DBR, {"warming": 0}, "warming and epochs >= 1"),
        (DBR, {"learning_rate": math.nan}, "learning_rate > 0"),
        (NAB, {"suspicious": 1.0}, "suspicious above 0 and below 1"),
        (NAB, {"size": 0}, "size and isolating >= 1"),
        (DBD, {"temperature": 0.0}, "temperature > 0"),
        (DBD, {"credible": 0.0}, "credible above 0"),
    ],
)
def test_fields_of_learners_are_checked(learner: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        learner(**fields)
