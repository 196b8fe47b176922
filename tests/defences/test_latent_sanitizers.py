"""Sanitizers on activations: formulas by hand and against oracles, and poison that is planted in digits."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import nn

from antivenom.attacks import BadNets
from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import AttackContext, DefenceContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.verdict import Verdict, quality
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset, Poison, load
from antivenom.defences import (
    SPECTRE,
    Beatrix,
    CognitiveDistillation,
    ConfusionTraining,
    DeepKNN,
    ReferenceDistance,
    SCAn,
    SpectralSignatures,
)
from antivenom.defences.sanitizers.gram import deviations, gram
from antivenom.defences.sanitizers.mixtures import excess, split, whitening
from antivenom.defences.sanitizers.spectral import entropy_scores, highest, signature, whitened
from antivenom.models.architectures import MLP, Logistic
from antivenom.models.estimators import RandomForest
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel
from antivenom.scenarios.pipeline import Pipeline
from antivenom.triggers import Patch

TRIGGER = Patch(size=2)
ALL = (SpectralSignatures, SPECTRE, SCAn, Beatrix, ReferenceDistance, DeepKNN, ConfusionTraining, CognitiveDistillation)


def rows_as_activations(data: Dataset, trusted: Dataset | None = None) -> DefenceContext:
    """A context whose model has the rows themselves as activations of its last layer."""
    made = Pipeline(MLP(hidden=(4,)), Training(epochs=1), "cpu", Streams(0)).context(trusted)
    real = made.fit(data[np.unique(data.y, return_index=True)[1]])
    object.__setattr__(real, "features", lambda x, layer=-1: np.asarray(x).reshape(len(x), -1))
    return replace(made, fit=lambda _: real)


def groups(apart: float, poisoned: int = 12, classes: int = 6, seed: int = 0) -> Dataset:
    """50 rows of each class around its own mean in eight dimensions; the first rows of class 0 lie apart, off all means."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), 50)
    x = 6 * np.eye(classes, 8)[y] + rng.standard_normal((len(y), 8))
    x[:poisoned, 7] += apart
    return Dataset(x.astype(np.float32), y, tuple("abcdef"[:classes]))


# --- formulas ----------------------------------------------------------------------------------------------------------


def test_the_signature_is_the_squared_projection_on_the_top_singular_vector_of_the_centred_rows() -> None:
    seen = np.random.default_rng(0).standard_normal((20, 5)) + 30  # far from zero, where centring decides
    centred = seen - seen.mean(axis=0)
    direction = np.linalg.svd(centred)[2][0]
    expected = (centred @ direction) ** 2
    assert signature(seen) == pytest.approx(expected / expected.mean())
    assert signature(np.full((4, 3), 7.0)).tolist() == [0] * 4


def test_without_centring_the_signature_would_flag_the_wrong_rows() -> None:
    """A fault of a peer: the projection of uncentred activations follows the class's mean, not the poison."""
    seen = np.random.default_rng(1).standard_normal((40, 3)) * 0.1 + [50, 0, 0]
    seen[:4, 1] += 3
    uncentred = (seen @ np.linalg.svd(seen, full_matrices=False)[2][0]) ** 2
    assert set(np.argsort(-signature(seen))[:4]) == {0, 1, 2, 3}
    assert set(np.argsort(-uncentred)[:4]) != {0, 1, 2, 3}


def test_no_more_rows_are_flagged_than_the_budget_and_one_is_kept() -> None:
    scores = np.array([0.5, 3.0, 0.0, 2.0])
    assert highest(scores, 2.9).tolist() == [1, 3]
    assert highest(scores, 100).tolist() == [1, 3, 0]  # the row with the score 0 stays
    assert highest(np.array([1.0, 2.0]), 100).tolist() == [1]
    assert highest(scores, 0.99).tolist() == []


def test_whitening_gives_the_honest_part_unit_covariance_in_spite_of_poison() -> None:
    rng = np.random.default_rng(0)
    mix = np.array([[3.0, 1.0], [0.0, 0.5]])
    low = rng.standard_normal((1000, 2)) @ mix
    low[:200] = rng.standard_normal((200, 2)) * 0.1 + [40, -40]
    found = whitened(low, 0.3, 10)
    assert np.cov(found[200:], rowvar=False) == pytest.approx(np.eye(2), abs=0.35)  # with the poison it would be .1
    assert found[200:].mean(axis=0) == pytest.approx(np.zeros(2), abs=0.2)
    assert np.linalg.norm(found[:200], axis=1).min() > 10


def test_quantum_entropy_scores_are_those_of_the_formula() -> None:
    h = np.random.default_rng(0).standard_normal((30, 4)) * [1, 1, 1, 3]
    second = h.T @ h / 30
    top = np.linalg.eigvalsh(second)[-1]
    q = expm(4 * (second - np.eye(4)) / (top - 1))
    assert entropy_scores(h, 4.0) == pytest.approx(np.einsum("ij,jk,ik->i", h, q, h) / np.trace(q))
    assert entropy_scores(h, 0.0) == pytest.approx((h**2).sum(axis=1) / 4)
    low = h / 10  # no direction has more variance than an honest class
    assert entropy_scores(low, 4.0) == pytest.approx((low**2).sum(axis=1) / 4)


def test_gram_entries_by_hand() -> None:
    seen = np.array([[[1.0, 2.0], [3.0, 0.0]]])  # one row, two channels, two places
    assert gram(seen, [1]) == pytest.approx(np.array([[5, 3, 9]]))  # 1 + 4, 3 + 0, 9
    assert gram(seen * [-1, 1], [1, 3]) == pytest.approx(np.array([[5, 3, 9, 65 ** (1 / 3), 3, 9]]))
    turned = seen * [[[-1], [1]]]
    assert gram(turned, [1, 2, 3])[0, [1, 4, 7]].tolist() == pytest.approx([-3, 3, -3])  # odd powers keep the sign
    assert gram(seen, [1, 2])[:, 3:] == pytest.approx(np.array([[math.sqrt(17), 3, 9]]))  # (1 + 16)^(1/2)
    assert gram(seen[:, :, :1], [1, 2, 3]) == pytest.approx(np.array([[1, 3, 9]]))  # one place: orders do not differ


def test_deviations_by_hand() -> None:
    known = np.array([[1.0, 10.0], [2.0, 10.0], [3.0, 10.0]])  # median 2, deviation 1: from -8 to 12; and exactly 10
    asked = np.array([[12.0, 10.0], [18.0, 10.0], [-14.0, 15.0]])
    assert deviations(known, asked).tolist() == pytest.approx([0, 0.5, 0.75 + 0.5])  # 6 / 12, 6 / 8 and 5 / 10


def test_the_covariance_within_classes_is_found_from_few_rows_each() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(100), 4)
    within, between = np.diag([4.0, 0.25]), np.diag([1.0, 9.0])
    rows = rng.multivariate_normal([0, 0], between, 100)[y] + rng.multivariate_normal([0, 0], within, 400)
    made = np.linalg.inv(whitening(rows, y))
    assert np.diag(made @ made) == pytest.approx([4.0, 0.25], rel=0.2)


def test_the_statistic_of_a_split_by_hand() -> None:
    rows = np.array([[0.0, 0], [0, 1], [10, 0], [10, 1]])
    statistic, found = split(rows, 0)
    assert statistic == pytest.approx(25)  # 25.25 around one mean, 0.25 around two
    assert found[0] == found[1] != found[2] == found[3]
    assert split(np.ones((5, 2)), 0)[0] == 0
    given = np.array([1.0, 2.0, 3.0, 100.0, 0.0])
    found = excess(given, np.arange(4))  # median 2.5, deviations 1.5, .5, .5, 97.5: their median is 1
    assert found.tolist() == pytest.approx([0, 0, 0.5 / 1.4826, 97.5 / 1.4826, 0])


# --- groups in the space of activations --------------------------------------------------------------------------------


def test_spectral_signatures_flag_half_as_many_again_in_each_class() -> None:
    data = groups(apart=20.0)
    verdict = SpectralSignatures(share=0.04)(data, rows_as_activations(data))  # 12 of 300, so 18 in each class
    assert np.bincount(data.y[verdict.flags]).tolist() == [18] * 6
    assert verdict.flags[:12].all()
    assert set(np.argsort(-verdict.scores[:50])[:12]) == set(range(12))


def test_spectre_flags_rows_of_one_class() -> None:
    data = groups(apart=20.0)
    verdict = SPECTRE(share=0.04)(data, rows_as_activations(data))
    assert np.bincount(data.y[verdict.flags], minlength=6).tolist() == [18, 0, 0, 0, 0, 0]
    assert verdict.flags[:12].all()


def test_spectre_on_rows_that_are_all_alike() -> None:
    data = Dataset(np.ones((12, 3), dtype=np.float32), np.repeat([0, 1], 6), ("a", "b"))
    assert not SPECTRE()(data, rows_as_activations(data)).flags.any()
    assert not SpectralSignatures()(data, rows_as_activations(data)).flags.any()


@pytest.mark.parametrize("apart", [0.0, 20.0])
def test_scan_flags_the_group_that_is_far_from_the_trusted_rows(apart: float) -> None:
    data, trusted = groups(apart), groups(0.0, seed=1)
    verdict = SCAn()(data, rows_as_activations(data, trusted))
    assert np.flatnonzero(verdict.flags).tolist() == (list(range(12)) if apart else [])


def test_scan_finds_poison_that_is_the_larger_part_of_its_class() -> None:
    data, trusted = groups(20.0, poisoned=35), groups(0.0, seed=1)
    verdict = SCAn()(data, rows_as_activations(data, trusted))
    assert np.flatnonzero(verdict.flags).tolist() == list(range(35))


def test_distance_to_trusted_rows_of_the_class() -> None:
    data, trusted = groups(apart=20.0), groups(0.0, seed=1)
    verdict = ReferenceDistance(share=0.05, k=1)(data, rows_as_activations(data, trusted))
    own = trusted.x[trusted.y == data.y[3]]
    assert verdict.scores[3] == pytest.approx(np.linalg.norm(own - data.x[3], axis=1).min(), rel=1e-5)
    assert verdict.flags[:12].all()
    assert verdict.flags[12:].mean() < 0.12


def test_deep_neighbours_outvote_a_label_that_does_not_belong() -> None:
    data = groups(apart=0.0)
    y = data.y.copy()
    y[[0, 60]] = [3, 4]
    verdict = DeepKNN(k=20)(Dataset(data.x, y, data.classes), rows_as_activations(data))
    assert np.flatnonzero(verdict.flags).tolist() == [0, 60]
    assert verdict.scores[[0, 60]] == pytest.approx([1, 1], abs=0.1)
    assert verdict.scores[100] == 0


# --- poison in digits --------------------------------------------------------------------------------------------------


def small(shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Two convolutions for images of 8 x 8 pixels."""
    return nn.Sequential(
        *(nn.Conv2d(shape[0], 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(12 * 3 * 3, num_classes)),
    )


@pytest.fixture(scope="module")
def planted() -> tuple[Poison, DefenceContext]:
    """Digits with 4 % of triggered copies labelled 0, a context with 300 trusted rows."""
    split = load("digits", Streams(0))
    rows, trusted = split.train[:800], split.train[800:1100]
    threat = ThreatModel("data-injection", "backdoor")
    poison = BadNets(poisoned_rate=0.04)(rows, AttackContext(Streams(1), threat, wanted=AllToOne(0), trigger=TRIGGER))
    training = Training(epochs=15, batch_size=32, learning_rate=3e-3)
    made = Pipeline(small, training, "cpu", Streams(2)).context(trusted)
    model = made.fit(poison.data)
    return poison, replace(made, fit=lambda _: model)


@pytest.mark.parametrize(
    ("defence", "tpr", "fpr"),
    [
        (SCAn(), 0.9, 0.05),
        (Beatrix(orders=(1, 2, 4)), 0.9, 0.2),
        (ReferenceDistance(), 0.9, 0.15),
        (ConfusionTraining(rounds=2, epochs=2), 0.9, 0.2),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, float) else str(value),
)
def test_planted_rows_are_found(planted: tuple[Poison, DefenceContext], defence, tpr: float, fpr: float) -> None:
    poison, made = planted
    verdict = defence(poison.data, made)
    assert isinstance(verdict, Verdict)
    found = quality(verdict, poison.mask)
    assert found.tpr >= tpr
    assert found.fpr <= fpr


def test_the_mask_of_a_triggered_image_is_small() -> None:
    """Weights by hand: a checkerboard fills the image and makes class 1; four bright pixels in a corner make class 0."""
    board = np.indices((8, 8)).sum(axis=0) % 2
    weight = np.stack([np.zeros((8, 8)), board - 0.5])  # a constant image leaves both logits at 0
    weight[:, :2, :2] = 0
    weight[0, :2, :2] = 10
    made = Pipeline(Logistic(), Training(epochs=1), "cpu", Streams(0))
    x = np.repeat(board[None, None], 30, axis=0).astype(np.float32)
    x[:, :, :2, :2] = 0
    x[:5] = 0.5
    x[:5, :, :2, :2] = 1
    data = Dataset(x, np.repeat([0, 1], [5, 25]), ("corner", "board"))
    model = made.context().fit(data)
    assert isinstance(model, TorchModel)
    vector = torch.tensor(np.concatenate([weight.ravel(), [0, 0]]), dtype=torch.float32)
    seen = replace(made.context(data[5:15]), fit=lambda _: model.with_vector(vector))
    verdict = CognitiveDistillation(steps=60, size=0.05, smoothness=0.1)(data, seen)
    assert verdict.flags[:5].all()
    assert verdict.flags[5:].sum() <= 2  # the threshold is a quantile of ten rows
    assert -verdict.scores[:5].max() > 3 / 64  # the four pixels are needed, and not many more
    assert -verdict.scores[:5].min() < 0.3 < 0.5 < -verdict.scores[5:].max()


# --- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ALL, ids=lambda made: made.__name__)
def test_a_model_without_activations_is_refused(make, blobs: Dataset) -> None:
    made = Pipeline(RandomForest(n_estimators=3), Training(), "cpu", Streams(0)).context(blobs)
    data = Dataset(blobs.x[:, :4].reshape(90, 1, 2, 2), blobs.y, blobs.classes)
    with pytest.raises(NotApplicable, match=f"a torch model for {make.__name__}"):
        make()(data, made)


@pytest.mark.parametrize(
    "make", [made for made in ALL if made is not CognitiveDistillation], ids=lambda made: made.__name__
)
def test_a_regression_is_refused(make, blobs: Dataset) -> None:
    data = Dataset(blobs.x, np.linspace(0, 1, 90), ())
    with pytest.raises(NotApplicable, match=f"rows with classes for {make.__name__}, got a regression"):
        make()(data, Pipeline(MLP(hidden=(4,)), Training(epochs=1), "cpu", Streams(0)).context(data))


@pytest.mark.parametrize("make", [SCAn, Beatrix, ReferenceDistance, ConfusionTraining, CognitiveDistillation])
def test_without_trusted_rows_it_says_so(make, blobs: Dataset) -> None:
    made = Pipeline(MLP(hidden=(4,)), Training(epochs=1), "cpu", Streams(0)).context()
    with pytest.raises(NotApplicable, match=f"trusted rows for {make.__name__}"):
        make()(blobs, made)


@pytest.mark.parametrize("make", [SCAn, Beatrix, ReferenceDistance])
def test_a_class_without_trusted_rows_is_named(make, blobs: Dataset) -> None:
    with pytest.raises(DataError, match="two trusted rows of each class, got fewer of c"):
        make()(blobs, rows_as_activations(blobs, blobs[blobs.y < 2]))


def test_what_they_cannot_serve_they_refuse_in_one_line(blobs: Dataset) -> None:
    made = Pipeline(MLP(hidden=(4,)), Training(epochs=1), "cpu", Streams(0)).context(blobs)
    with pytest.raises(NotApplicable, match="images for CognitiveDistillation"):
        CognitiveDistillation()(blobs, made)
    with pytest.raises(NotApplicable, match=r"the name of an executed layer in Beatrix\.layer, got 'conv9'"):
        Beatrix(layer="conv9")(blobs, made)
    few = Pipeline(MLP(hidden=(4,)), Training(epochs=1), "cpu", Streams(0)).context(blobs[np.array([0, 40, 80])])
    with pytest.raises(DataError, match="more than 3 trusted rows for ConfusionTraining, got 3"):
        ConfusionTraining()(blobs, few)
    for wrong in ({"dimensions": ()}, {"dimensions": (0,)}):
        with pytest.raises(PluginError):
            SPECTRE(**wrong)
    for orders in ((), (0,)):
        with pytest.raises(PluginError):
            Beatrix(orders=orders)
