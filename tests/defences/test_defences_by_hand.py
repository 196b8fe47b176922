"""Parts of defences against numbers worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.linear_model import LogisticRegression

from antivenom.core.errors import DataError
from antivenom.core.protocols import DefenceContext
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.defences import SEVER, STRIP, ActivationClustering, LinearProbe, Micromodels, NeuralCleanse
from antivenom.defences.acceptance.calibration import Statistics, judged
from antivenom.defences.inputs import stratified
from antivenom.defences.learners.trim import TrimmedRegressor
from antivenom.defences.sanitize import context_of, default_model
from antivenom.defences.sanitizers.distances import to_points
from antivenom.defences.sanitizers.subspace import singular_vectors
from antivenom.defences.tables import _dataset
from antivenom.models.architectures import MLP, Logistic
from antivenom.models.network import build
from antivenom.models.scikit import SklearnModel
from antivenom.models.wrappers import TorchModel
from antivenom.triggers import Recovered


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (5, 3), (3, 5)], ids=["square", "tall", "wide"])
@pytest.mark.parametrize(
    ("residual", "most", "k"),
    [(0.36, 9, 1), (0.35, 9, 2), (0.08, 9, 2), (0.07, 9, 3), (1e-9, 9, 3), (1e-9, 2, 2)],
)
def test_the_fewest_directions_that_leave_less_than_the_residual(
    form: Any, rows: int, columns: int, residual: float, most: int, k: int
) -> None:
    """Singular values 3, 2 and 1: one direction leaves 5/14 = .357 of the squares, two leave 1/14 = .071."""
    x = np.zeros((rows, columns))
    x[[0, 1, 2], [2, 0, 1]] = 1, 3, 2
    vectors = singular_vectors(form(x), residual, most, seed=0)
    assert np.abs(vectors) == pytest.approx(np.eye(columns)[:, [0, 1, 2]][:, :k], abs=1e-9)


def fitted(data: Dataset) -> SklearnModel:
    return SklearnModel(LogisticRegression().fit(data.flat, data.y), data.num_classes)


@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_sever_keeps_a_row_even_with_a_share_of_1(rounds: int) -> None:
    rng = np.random.default_rng(0)
    data = Dataset(rng.normal(size=(8, 2)), np.arange(8) % 2, ("a", "b"))
    context = DefenceContext(Streams(0), lambda _: fitted(data), fitted)  # type: ignore[arg-type]
    assert SEVER(share=1.0, rounds=rounds)(data, context).flags.sum() == 7


@pytest.mark.parametrize(("shares", "bits"), [((0.5, 0.5), 1.0), ((1.0, 0.0), 0.0), ((0.25, 0.75), 0.811278)])
@pytest.mark.parametrize("overlays", [1, 3])
def test_strip_averages_the_entropy_in_bits(shares: tuple[float, float], bits: float, overlays: int) -> None:
    model: Any = SimpleNamespace(predict_proba=lambda x: np.tile(shares, (len(x), 1)))
    found = STRIP()._entropy(model, np.zeros((4, 2)), np.ones((overlays, 2)))
    assert found == pytest.approx([bits] * 4, abs=1e-6)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_distances_to_the_point_of_the_class(form: Any) -> None:
    x = np.array([[0.3, 0.4], [1.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    data = Dataset(form(x), np.array([0, 1, 1, 0]), ("a", "b"))
    points = np.array([[0.0, 0.0], [1.0, 0.0]])
    assert to_points(data, points) == pytest.approx([0.5, 0.0, 1.0, 5.0], abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "where"),
    [
        (["a", None, "b", "a"], "line 3"),
        (["a", None, "b", None], "line 3"),
        (["a", "b", "b", None], "the trusted rows"),
    ],
    ids=["own", "both", "trusted"],
)
def test_a_missing_label_is_said_to_be_in_its_line_or_in_the_trusted_rows(labels: list[Any], where: str) -> None:
    cells = pd.DataFrame({"label": labels}, index=[2, 3, 4, 2])  # three rows of the file, then a trusted one
    with pytest.raises(DataError, match=f"none in {where}"):
        _dataset(np.zeros((4, 1)), cells, 3, SimpleNamespace(label="label"))  # type: ignore[arg-type]


@pytest.mark.parametrize(("clarity", "score"), [(-0.2, 0.0), (0.3, 0.3)])
def test_a_split_worse_than_none_makes_no_row_suspicious(
    monkeypatch: pytest.MonkeyPatch, clarity: float, score: float
) -> None:
    part = np.array([True] + [False] * 4)
    monkeypatch.setattr(ActivationClustering, "_split", lambda self, features, seed: (part, clarity))
    data = Dataset(np.random.default_rng(0).random((10, 3)), np.repeat([0, 1], 5), ("a", "b"))
    network = build(MLP(hidden=(4,)), (3,), 2, Streams(0))
    untrained = TorchModel(network, network.initial)
    found = ActivationClustering()(data, DefenceContext(Streams(0), lambda _: untrained, lambda *_: untrained))
    assert found.scores.tolist() == [score, 0, 0, 0, 0] * 2


def test_labels_that_are_all_separable_reach_a_limit_of_1() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    data = Dataset(rng.normal(size=(40, 2)) * 0.1 + 5 * y[:, None], y, ("a", "b"))
    assert LinearProbe(trusted=False, min_separability=1.0)(data, context_of(default_model(), Streams(0))).flags.all()


def test_the_model_of_last_resort_learns_sparse_rows() -> None:
    x = sp.csr_array(np.array([[0.0, 2.0], [3.0, 0.0]] * 10))
    y = np.arange(20) % 2
    assert (default_model().fit(x, y).predict(x) == y).all()


def test_the_index_of_classes_with_equal_triggers_is_zero() -> None:
    """The median of the logarithms is log 4 and their deviation 0, which counts as 1e-6. The last class is not reached."""
    sizes, reached = np.array([4.0, 4.0, 4.0, 1.0, 0.5]), np.array([True] * 4 + [False])
    found = judged(Statistics(-np.log(sizes), reached)).classes
    assert found is not None
    assert found.scores[[0, 1, 2, 4]].tolist() == [0.0] * 4
    assert found.scores[3] == pytest.approx(np.log(4) / 1e-6, rel=1e-5)
    assert found.flags.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("shape", [(2, 3, 3), (9,)], ids=["image", "row"])
def test_the_mask_of_an_image_is_the_same_in_all_channels(shape: tuple[int, ...]) -> None:
    network = build(Logistic(), shape, 3, Streams(0))
    x = np.random.default_rng(0).random((6, *shape), dtype=np.float32)
    data = Dataset(x, np.arange(6) % 3, ("a", "b", "c"))
    vector = torch.randn(network.dimension, generator=torch.Generator().manual_seed(0))
    for trigger in NeuralCleanse(steps=3).inverted(TorchModel(network, vector), data).triggers:
        assert isinstance(trigger, Recovered)
        assert trigger.mask.shape == shape
        assert np.ptp(trigger.mask) > 0
        assert len(shape) == 1 or np.array_equal(trigger.mask[0], trigger.mask[1])


@pytest.mark.parametrize("seed", range(10))
def test_a_stratified_order_begins_with_one_row_of_each_class(seed: int) -> None:
    classes = np.array([0] * 6 + [1] + [2] * 3)
    order = stratified(classes, np.random.default_rng(seed))
    assert sorted(classes[order[:3]]) == [0, 1, 2]
    assert sorted(order) == list(range(10))


@pytest.mark.parametrize(("threshold", "flagged"), [(1 / 3, [3, 5, 7]), (0.34, [])])
def test_a_row_is_flagged_whose_share_of_votes_reaches_the_threshold(threshold: float, flagged: list[int]) -> None:
    """Four slices of a row 0 and a row 1 each. The model of the first slice says 0, and the others say each row's label."""
    data = Dataset(np.arange(8.0)[:, None], np.arange(8) % 2, ("a", "b"))

    def fit(part: Dataset) -> Any:
        first = part.x[0, 0] == 0
        return SimpleNamespace(predict=lambda x: np.zeros(8) if first else data.y)

    found = Micromodels(slices=4, threshold=threshold)(data, DefenceContext(Streams(0), fit, None))  # type: ignore[arg-type]
    assert found.scores.tolist() == pytest.approx([0, 0, 0, 1 / 3, 0, 1 / 3, 0, 1 / 3])
    assert np.flatnonzero(found.flags).tolist() == flagged


def test_trim_reads_targets_that_are_written_as_text() -> None:
    x, y = np.arange(6.0)[:, None], [0.0, 1.0, 2.0, 3.0, 4.0, 50.0]
    plain = TrimmedRegressor(poisoned_rate=0.2).fit(x, y)
    written = TrimmedRegressor(poisoned_rate=0.2).fit(x, np.array([str(value) for value in y], dtype=object))
    assert written.predict([[9.0]]).tolist() == plain.predict([[9.0]]).tolist() == pytest.approx([9.0])
