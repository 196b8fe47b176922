"""Parts of defences against numbers worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from antivenom.core.errors import DataError
from antivenom.core.protocols import DefenceContext
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.defences import SEVER, STRIP, ActivationClustering, LinearProbe
from antivenom.defences.sanitize import context_of, default_model
from antivenom.defences.sanitizers.distances import to_points
from antivenom.defences.sanitizers.subspace import singular_vectors
from antivenom.defences.tables import _dataset
from antivenom.models.architectures import MLP
from antivenom.models.network import build
from antivenom.models.wrappers import SklearnModel, TorchModel


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
