"""The defences against written-out oracles and constructed cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.defences import ActivationClustering, FinePruning, FlagAll, FlagNone, KNNSanitizer
from antivenom.defences.repair.pruning import pruned
from antivenom.models.architectures import MLP
from antivenom.models.estimators import RandomForest
from antivenom.models.layers import Channel
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner
from antivenom.scenarios.pipeline import Pipeline

TRAINING = Training(epochs=20, batch_size=20, learning_rate=0.01)


def context(architecture=MLP(hidden=(16,))) -> DefenceContext:
    return Pipeline(architecture, TRAINING, "cpu", Streams(2)).context()


def fitted(data: Dataset, hidden: int = 16) -> TorchModel:
    model = learner(MLP(hidden=(hidden,)), TRAINING).fit(data, Streams(2))
    assert isinstance(model, TorchModel)
    return model


@pytest.mark.parametrize(("k", "agreement"), [(1, 0.5), (5, 0.5), (10, 0.7), (7, 1.0)])
def test_knn_against_a_written_out_loop(blobs: Dataset, k: int, agreement: float) -> None:
    rng = np.random.default_rng(1)
    y = blobs.y.copy()
    y[rng.choice(90, 15, replace=False)] = rng.integers(0, 3, 15)
    data = Dataset(blobs.x, y, blobs.classes)
    flags, scores = [], []
    for i in range(90):
        apart = ((data.x - data.x[i]) ** 2).sum(axis=1)
        apart[i] = np.inf
        labels = data.y[np.argsort(apart)[:k]]
        shares = {c: (labels == c).mean() for c in range(3)}
        against = max(share for c, share in shares.items() if c != data.y[i])
        scores.append(against)
        flags.append(against >= agreement and against > shares[int(data.y[i])])
    verdict = KNNSanitizer(k=k, agreement=agreement)(data, context())
    assert verdict.flags.tolist() == flags
    assert verdict.scores == pytest.approx(scores)


def test_knn_finds_flips_among_well_parted_classes_and_accuses_nobody_else(blobs: Dataset) -> None:
    y = blobs.y.copy()
    y[[0, 40, 80]] = [1, 2, 0]
    verdict = KNNSanitizer()(Dataset(blobs.x, y, blobs.classes), context())
    assert np.flatnonzero(verdict.flags).tolist() == [0, 40, 80]
    assert not KNNSanitizer()(blobs, context()).flags.any()


def test_knn_with_fewer_rows_than_neighbours(blobs: Dataset) -> None:
    assert not KNNSanitizer(k=10)(blobs[:1], context()).flags.any()
    assert len(KNNSanitizer(k=10)(blobs[np.array([0, 1, 31])], context())) == 3


@dataclass(frozen=True)
class Features:
    """A trained model that shows given activations."""

    x: np.ndarray

    def model(self, data: Dataset) -> TorchModel:
        real = fitted(data)
        object.__setattr__(real, "features", lambda rows: self.x)
        return real


def clustered(poisoned: int, distance: float) -> tuple[Dataset, np.ndarray]:
    """40 rows of class 0, the first `poisoned` of them at a distance in activation space, and 40 of class 1."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((80, 6))
    features[:poisoned] += distance
    data = load("digits", Streams(2)).train[:80]
    return Dataset(data.x, np.repeat([0, 1], 40), ("a", "b")), features


@pytest.mark.parametrize(
    ("poisoned", "distance", "found"),
    [(8, 20.0, range(8)), (20, 20.0, ()), (0, 0.0, ()), (14, 20.0, range(14)), (15, 20.0, ())],
)
def test_activation_clustering_flags_a_small_part_that_stands_apart(poisoned: int, distance: float, found) -> None:
    data, features = clustered(poisoned, distance)
    seen = context()
    shown = DefenceContext(seen.streams, lambda rows: Features(features).model(rows), seen.refit)
    verdict = ActivationClustering(max_share=0.35)(data, shown)  # 14 of 40
    assert np.flatnonzero(verdict.flags).tolist() == list(found)


def test_activation_clustering_on_rows_that_are_all_alike() -> None:
    data = Dataset(np.ones((20, 3)), np.repeat([0, 1], 10), ("a", "b"))
    assert not ActivationClustering()(data, context()).flags.any()
    tiny = Dataset(np.random.default_rng(0).random((5, 3)), np.array([0, 0, 0, 1, 1]), ("a", "b"))
    assert not ActivationClustering()(tiny, context()).flags.any()


def test_fine_pruning_cuts_the_least_active_units_as_far_as_accuracy_allows() -> None:
    data = load("digits", Streams(2)).train[:300]
    model = fitted(data)
    defence = FinePruning(max_drop=0.1, epochs=3)
    order = np.argsort(model.features(data.x).mean(axis=0), kind="stable")
    accuracy = (model.predict(data.x) == data.y).mean()
    expected = 0
    for cut in range(1, 17):
        weights = model.vector.clone()
        weight = model.network.parameters(weights)
        last = [name for name in weight if name.endswith("weight")][-1]
        weight[last][:, order[:cut]] = 0
        if (model.with_vector(weights).predict(data.x) == data.y).mean() < accuracy - 0.1 - 1e-9:
            break
        expected = cut
    assert 0 < expected < 16
    mended = defence(model, data, context())
    assert isinstance(mended, TorchModel)
    rows = mended.network.parameters(mended.vector)["1.weight"]
    assert torch.nonzero((rows == 0).all(dim=1)).flatten().tolist() == sorted(order[:expected].tolist())
    bias = mended.network.parameters(mended.vector)["1.bias"]
    assert torch.nonzero(bias == 0).flatten().tolist() == sorted(order[:expected].tolist())


def test_a_unit_that_is_cut_has_no_say() -> None:
    data = load("digits", Streams(2)).train[:50]
    model = fitted(data)
    cut = pruned(model, [Channel("1", 2), Channel("1", 5)])
    features = model.features(data.x)
    weight, bias = (model.network.parameters(model.vector)[name] for name in list(model.network.shapes)[-2:])
    features[:, [2, 5]] = 0
    logits = torch.tensor(features) @ weight.T + bias
    assert np.allclose(cut.predict_proba(data.x), torch.softmax(logits, dim=1).numpy(), atol=1e-5)


def test_the_ends_of_the_scale(blobs: Dataset) -> None:
    assert not FlagNone()(blobs, context()).flags.any()
    assert FlagAll()(blobs, context()).flags.all()


def test_what_they_cannot_serve_they_refuse(blobs: Dataset) -> None:
    with pytest.raises(NotApplicable, match="use KNNSanitizer"):
        ActivationClustering()(blobs, context(RandomForest(n_estimators=3)))
    forest = learner(RandomForest(n_estimators=3), TRAINING).fit(blobs, Streams(2))
    with pytest.raises(NotApplicable, match="a torch model for FinePruning"):
        FinePruning()(forest, blobs, context())
    for make in (
        lambda: KNNSanitizer(k=0),
        lambda: KNNSanitizer(agreement=0),
        lambda: ActivationClustering(components=0),
        lambda: ActivationClustering(max_share=0.6),
        lambda: FinePruning(max_drop=-1),
        lambda: FinePruning(epochs=-1),
    ):
        with pytest.raises(PluginError):
            make()
