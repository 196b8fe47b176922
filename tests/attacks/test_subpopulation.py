"""Subpopulations: who belongs to one, what is added, and what the judge says of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from antivenom.attacks import SubpopulationAttack
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import Dataset, Poison, load
from antivenom.models.estimators import RandomForest, Sklearn
from antivenom.scenarios.central import Central
from antivenom.scenarios.grants import enforce

THREAT = ThreatModel("data-injection", "availability")  # type: ignore[arg-type]
LOGISTIC = Sklearn("sklearn.linear_model.LogisticRegression", (("max_iter", 1000),))


def context(rows: Dataset | None = None) -> AttackContext:
    return AttackContext(Streams(1), THREAT, rows=rows)


def table() -> Dataset:
    """Ten rows; the pairs in columns 0 and 2 are (0, 0) five times, (1, 0) three times and (1, 1) twice."""
    pairs = np.array([[0, 0]] * 5 + [[1, 0]] * 3 + [[1, 1]] * 2)
    x = np.column_stack([pairs[:, 0], np.arange(10), pairs[:, 1]])
    return Dataset(x, np.array([0, 0, 0, 0, 1, 1, 1, 0, 0, 0]), ("a", "b"))


@pytest.mark.parametrize(("rank", "members", "label"), [(0, range(5), 1), (1, range(5, 8), 0), (2, range(8, 10), 1)])
@pytest.mark.parametrize("sparse", [False, True])
def test_feature_match_by_hand(rank: int, members: range, label: int, sparse: bool) -> None:
    data = replace(table(), x=sp.csr_array(table().x)) if sparse else table()
    poison = SubpopulationAttack(alpha=2, features=(0, 2), rank=rank)(data, context())
    assert poison.subpopulation is not None
    assert np.flatnonzero(poison.subpopulation(data.x)).tolist() == [*members]
    added = poison.data[poison.mask]
    assert len(added) == 2 * len(members)
    assert set(added.y) == {label}
    numbers = (added.x.toarray() if sparse else added.x)[:, 1].astype(int)
    assert set(numbers) == {i for i in members if data.y[i] != label}  # a row that has the label already is no poison
    enforce(THREAT, data, poison)


def test_cluster_match_takes_clusters_in_order_of_size(blobs: Dataset) -> None:
    uneven = blobs[np.r_[0:10, 30:60, 60:80]]  # of classes 0, 1 and 2
    for rank, label in enumerate((1, 2, 0)):
        poison = SubpopulationAttack(alpha=0.5, clusters=3, rank=rank)(uneven, context())
        assert poison.subpopulation is not None
        assert np.array_equal(poison.subpopulation(uneven.x), uneven.y == label)
        assert np.array_equal(poison.subpopulation(blobs.x), blobs.y == label)
        assert poison.mask.sum() == (uneven.y == label).sum() // 2
        assert label not in poison.data.y[poison.mask]


def test_copies_come_from_the_attackers_own_rows_if_there_are_some(blobs: Dataset) -> None:
    own, data = blobs[::2], blobs[1::2]
    added = SubpopulationAttack(clusters=3)(data, context(own)).data.x[len(data) :]
    assert len(added) == 15
    assert all((row == own.x).all(axis=1).any() for row in added)
    with pytest.raises(DataError, match="rows of the subpopulation to copy"):
        SubpopulationAttack(clusters=3)(data, context(replace(own[:1], x=np.full((1, 5), 50.0))))


def test_images_and_a_sparse_table_have_clusters() -> None:
    images = load("digits", Streams(0)).train[:100]
    words = replace(images, x=sp.csr_array(images.dense.reshape(100, -1) > 0.5))
    for data in (images, words):
        poison = SubpopulationAttack(clusters=5)(data, context())
        assert poison.subpopulation is not None
        inside = poison.subpopulation(data.x)
        assert 20 <= inside.sum() == poison.mask.sum()


def test_the_judge_reports_the_subpopulation_which_suffers_more_than_the_rest() -> None:
    scenario = Central(
        data="digits", model=RandomForest(20), access="data-injection", goal="availability", clean_rows=0
    )  # type: ignore[arg-type]
    before, after = (scenario.run(SubpopulationAttack(alpha), None, 0).metrics for alpha in (0.0, 1.0))
    assert before["subpopulation_rows"] == after["subpopulation_rows"] > 20
    assert after["subpopulation_accuracy"] < before["subpopulation_accuracy"] - 0.3
    assert after["other_accuracy"] > before["other_accuracy"] - 0.05
    share = after["subpopulation_rows"] / after["test_rows"]
    mixed = share * after["subpopulation_accuracy"] + (1 - share) * after["other_accuracy"]
    assert after["clean_accuracy"] == pytest.approx(mixed)
    assert "subpopulation_accuracy" not in scenario.run(None, None, 0).metrics


def test_a_part_without_test_rows_is_not_a_number_and_nonsense_is_named(plugins: None) -> None:
    class Nobody:
        """Means nobody. Weakness: none. Fields: size: rows of the answer."""

        size: int = 171

        def __call__(self, data: Dataset, context: AttackContext) -> Poison:
            return replace(Poison.none(data), subpopulation=lambda x: np.zeros(self.size, dtype=bool))

    nobody = attack(access=("data-injection",), goal="availability", cite="none")(Nobody)
    scenario = Central(data="breast-cancer", model=LOGISTIC, goal="availability")  # type: ignore[arg-type]
    assert math.isnan(scenario.run(nobody(), None, 0).metrics["subpopulation_accuracy"])
    with pytest.raises(PluginError, match="a subpopulation: 171 bools"):
        scenario.run(nobody(size=3), None, 0)


@pytest.mark.parametrize("fields", [{"alpha": -1.0}, {"clusters": 0}, {"rank": -1}, {"features": (0, -1)}])
def test_fields_that_make_no_sense(fields: dict[str, object]) -> None:
    with pytest.raises(PluginError):
        SubpopulationAttack(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"clusters": 11}, "clusters from 1 to 10"),
        ({"clusters": 2, "rank": 2}, "a rank from 0 to 1"),
        ({"features": (0, 2), "rank": 3}, "a rank from 0 to 2"),
        ({"features": (3,)}, "features from 0 to 2"),
    ],
)
def test_subpopulations_that_are_not_there(fields: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SubpopulationAttack(**fields)(table(), context())  # type: ignore[arg-type]


def test_one_class_has_no_wrong_label(blobs: Dataset) -> None:
    with pytest.raises(DataError, match="at least two classes"):
        SubpopulationAttack()(Dataset(blobs.x, np.zeros(90, dtype=int), ("a",)), context())
