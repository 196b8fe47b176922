"""Anti-backdoor learning: which rows are isolated, the losses by hand, and a patch on digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from antivenom.core.errors import DataError, NotApplicable
from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.defences import ABL
from antivenom.defences.learners.isolation import unlearning as unlearning_loss
from antivenom.models.architectures import MLP
from antivenom.models.estimators import Sklearn
from antivenom.models.network import build
from antivenom.models.training import Training
from antivenom.scenarios.pipeline import Pipeline
from antivenom.triggers import Patch

TRAINING = Training(epochs=15, batch_size=32, learning_rate=0.01)
PIPELINE = Pipeline(MLP(hidden=(32,)), TRAINING, "cpu", Streams(0))


def poisoned() -> tuple[Dataset, np.ndarray, Dataset]:
    """Digits of which one in ten has a patch and the class 0, the mask of these, and test rows."""
    split = load("digits", Streams(0))
    x, y = np.array(split.train.x[:900]), np.array(split.train.y[:900])
    bad = np.flatnonzero(y != 0)[:90]
    x[bad], y[bad] = Patch(3)(x[bad]), 0
    return Dataset(x, y, split.train.classes), np.isin(np.arange(900), bad), split.test


@pytest.mark.parametrize("unlearning", [0.0, 0.3], ids=["left out", "unlearnt"])
def test_a_patch_is_isolated(unlearning: float) -> None:
    data, bad, test = poisoned()
    others = test.y != 0
    defence, context = ABL(isolating=4, learning_rate=0.05, unlearning=unlearning), PIPELINE.context()
    network = build(MLP(hidden=(32,)), data.shape, 10, Streams(0))
    order = np.argsort(defence.losses(network, network.rows(data.x), torch.tensor(data.y), context))
    assert bad[order[:9]].mean() > 0.8
    plain, model = context.fit(data), defence(data, context)
    assert (plain.predict(Patch(3)(test.x[others])) == 0).mean() > 0.9
    assert (model.predict(Patch(3)(test.x[others])) == 0).mean() < 0.3
    assert (model.predict(test.x) == test.y).mean() > 0.85


def test_the_loss_climbs_below_the_floor() -> None:
    x, y = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    plain = F.cross_entropy(x, y)
    for floor, sign in ((float(plain) - 0.01, 1), (float(plain) + 0.01, -1)):
        assert torch.allclose(ABL(floor=floor).held_up(lambda rows: rows, x, y), sign * plain)


def test_unlearning_climbs_up_to_the_loss_of_a_guess() -> None:
    """Two isolated rows: one of the loss log 3, which is that of a guess, and one far above, which counts as much."""
    easy, labels = torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]), torch.tensor([0, 1])
    x, y = torch.eye(3), torch.tensor([0, 1, 2])
    loss = unlearning_loss(easy, labels, 0.5, PIPELINE.context())
    assert loss(lambda rows: rows, x, y).item() == pytest.approx(
        F.cross_entropy(x, y).item() - 0.5 * math.log(3), abs=1e-6
    )


def test_isolation_needs_a_network_and_rows() -> None:
    data, _, _ = poisoned()
    estimator = Pipeline(Sklearn("sklearn.linear_model.LogisticRegression"), TRAINING, "cpu", Streams(0))
    with pytest.raises(NotApplicable, match="a torch network for ABL"):
        ABL()(data, estimator.context())
    with pytest.raises(DataError, match="at least 2 rows"):
        ABL()(data[:1], PIPELINE.context())
