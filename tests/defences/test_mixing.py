"""Mixtures of rows: their shares and losses by hand, and that they train the pipeline's network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from antivenom.core.errors import NotApplicable
from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.defences import CutMix, MixUp
from antivenom.defences.learners.mixing import mixed_loss
from antivenom.models.architectures import MLP
from antivenom.models.estimators import Sklearn
from antivenom.models.training import Training
from antivenom.scenarios.pipeline import Pipeline

TRAINING = Training(epochs=8, batch_size=32, learning_rate=0.01)
PIPELINE = Pipeline(MLP(hidden=(16,)), TRAINING, "cpu", Streams(0))
DIGITS = load("digits", Streams(0)).train[:300]


def test_a_weighted_mean_of_two_rows() -> None:
    weight = np.random.default_rng(4).beta(2.0, 2.0)
    found, share = MixUp(2.0).mix(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 4.0]]), np.random.default_rng(4))
    assert share == pytest.approx(weight)
    assert found[0].tolist() == pytest.approx([weight, 4 * (1 - weight)])


def test_the_share_of_an_image_is_that_of_its_remaining_pixels() -> None:
    rng, shares = np.random.default_rng(0), []
    for _ in range(200):
        found, share = CutMix().mix(torch.ones(2, 3, 8, 6), torch.zeros(2, 3, 8, 6), rng)
        assert share == pytest.approx(float(found.mean()))
        pasted = found[0, 0] == 0
        rows, columns = pasted.any(1).sum(), pasted.any(0).sum()
        assert pasted.sum() == rows * columns  # one rectangle
        assert (found == found[0, 0]).all()  # the same in all images and colours
        shares.append(share)
    assert 0.5 < np.mean(shares) < 0.8  # uniform shares have the mean 1/2, and rectangles at the border are cut off
    assert min(shares) < 0.2


def test_the_loss_of_a_mixture_has_both_labels() -> None:
    x, y = torch.eye(3), torch.tensor([0, 1, 2])
    loss = mixed_loss(lambda a, b, _: (0.25 * a + 0.75 * b, 0.25), PIPELINE.context())
    other = PIPELINE.context().streams.numpy("mixing").permutation(3)
    logits = 0.25 * x + 0.75 * x[other]
    expected = -(0.25 * logits.log_softmax(1)[range(3), y] + 0.75 * logits.log_softmax(1)[range(3), y[other]]).mean()
    assert loss(lambda rows: rows, x, y).item() == pytest.approx(expected.item())
    alone = mixed_loss(lambda a, b, _: (a, 1.0), PIPELINE.context())
    assert alone(lambda rows: rows, x, y).item() == pytest.approx(F.cross_entropy(x, y).item())


@pytest.mark.parametrize("learner", [MixUp(), CutMix()], ids=lambda learner: type(learner).__name__)
def test_mixtures_train_the_network_of_the_pipeline(learner: Any) -> None:
    model = learner(DIGITS, PIPELINE.context())
    assert (model.predict(DIGITS.x) == DIGITS.y).mean() > 0.8
    assert np.array_equal(learner(DIGITS, PIPELINE.context()).predict_proba(DIGITS.x), model.predict_proba(DIGITS.x))
    certain = PIPELINE.context().fit(DIGITS).predict_proba(DIGITS.x).max(1).mean()
    assert model.predict_proba(DIGITS.x).max(1).mean() < certain - 0.05  # mixtures have no certain label


def test_other_rows_and_models_are_refused() -> None:
    table = Dataset(np.random.default_rng(0).random((20, 4)), np.arange(20) % 2, ("a", "b"))
    with pytest.raises(NotApplicable, match="images for CutMix"):
        CutMix()(table, PIPELINE.context())
    estimator = Pipeline(Sklearn("sklearn.linear_model.LogisticRegression"), TRAINING, "cpu", Streams(0))
    with pytest.raises(NotApplicable, match="a torch model"):
        MixUp()(table, estimator.context())
