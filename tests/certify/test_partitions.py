"""Deep partition and finite aggregation: parts and bases against loops, radii against brute force and a real attacker."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp

from antivenom.certify import DPA, FiniteAggregation
from antivenom.certify.aggregation import Ensemble, radius, shared_radius
from antivenom.certify.bases import Base, FittedBases, LinearBases, linear
from antivenom.certify.partitions import digests, parts
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import build
from antivenom.core.streams import Streams
from antivenom.data import Dataset, Split, load
from antivenom.models.estimators import RandomForest, Sklearn
from antivenom.models.features import HOG
from antivenom.models.training import Training
from antivenom.scenarios.central import Central
from antivenom.scenarios.pipeline import Pipeline


def context(architecture=RandomForest(n_estimators=5), seed: int = 2) -> DefenceContext:
    return Pipeline(architecture, Training(), "cpu", Streams(seed)).context()


def contents(data: Dataset, members: tuple[np.ndarray, ...]) -> list[list[bytes]]:
    """What each part holds, in its order there."""
    return [[data.dense[i].tobytes() + bytes([data.y[i]]) for i in rows] for rows in members]


def few(seed: int, n: int = 40, classes: int = 3) -> Dataset:
    rng = np.random.default_rng(seed)
    return Dataset(rng.integers(0, 4, (n, 2)), rng.integers(0, classes, n), tuple("abc"[:classes]))


# --- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels_only", [False, True])
@pytest.mark.parametrize("offsets", [(0,), (0, 3, 4)])
def test_parts_know_contents_and_not_places(labels_only: bool, offsets: tuple[int, ...]) -> None:
    data = few(0)  # 16 different rows at most, so many are twins
    members = parts(data, 7, offsets, labels_only)
    assert sorted(np.concatenate(members)) == sorted([*range(40)] * len(offsets))
    order = np.random.default_rng(1).permutation(40)
    shuffled = data[order]
    assert contents(shuffled, parts(shuffled, 7, offsets, labels_only)) == contents(data, members)
    home = [next(p for p, rows in enumerate(members) if i in rows) for i in range(40)]
    for i, j in itertools.combinations(range(40), 2):
        twins = np.array_equal(data.x[i], data.x[j]) and (labels_only or data.y[i] == data.y[j])
        assert not twins or home[i] == home[j]


def test_an_inserted_row_reaches_its_own_parts_alone() -> None:
    data = few(0)
    more = data.extend(np.array([[9.0, 9.0]]), np.array([1]))
    before, after = (contents(d, parts(d, 7, (0, 3), False)) for d in (data, more))
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 2


def test_labels_move_rows_only_where_they_may() -> None:
    data = few(0)
    flipped = Dataset(data.x, (data.y + 1) % 3, data.classes)
    assert np.array_equal(digests(data, False), digests(flipped, False))
    assert not (digests(data, True) == digests(flipped, True)).all(axis=1).any()
    sizes = [len(np.unique(data.x[rows], axis=0)) for rows in parts(data, 4, (0,), True)]
    assert max(sizes) - min(sizes) <= 1  # equally many different rows
    negative = Dataset(np.where(data.x == 0, -0.0, data.x), data.y, data.classes)
    assert np.array_equal(digests(data, True), digests(negative, True))


def test_sparse_rows_go_by_what_they_hold() -> None:
    data = few(0)
    table = sp.csr_array(data.dense)
    explicit = sp.csr_array((np.r_[table.data, 0], np.r_[table.indices, 0], np.r_[table.indptr[:-1], table.nnz + 1]))
    rows = [Dataset(x, data.y, data.classes) for x in (table, explicit)]
    assert explicit.nnz == table.nnz + 1
    assert np.array_equal(digests(rows[0], True), digests(rows[1], True))
    twins = (data.x[:, None] == data.x).all(axis=2) & (data.y[:, None] == data.y)
    assert np.array_equal(twins, (digests(rows[0], True)[:, None] == digests(rows[0], True)).all(axis=2))


# --- bases -----------------------------------------------------------------------------------------------------------


def bases(data: Dataset, members: tuple[np.ndarray, ...], base: Base, penalty: float = 0.1) -> LinearBases:
    return linear(members, data, base, penalty)


@pytest.mark.parametrize("features", [2, 30])  # through the Gram matrix of features, and of rows
def test_ridge_against_one_system_per_part(features: int) -> None:
    rng = np.random.default_rng(0)
    data = Dataset(rng.random((40, features)), rng.integers(0, 3, 40), tuple("abc"))
    members = parts(data, 5, (0,), False)
    found = bases(data, members, Base.RIDGE)
    for p, rows in enumerate(members):
        a = np.c_[data.x[rows].astype(float), np.ones(len(rows))]
        level = 0.1 * (a * a).sum(axis=1).mean()
        weights = np.linalg.inv(a.T @ a + level * np.eye(features + 1)) @ a.T @ np.eye(3)[data.y[rows]]
        here = np.isin([0, 1, 2], data.y[rows])
        assert found.weights[:, :, p] == pytest.approx(weights[:-1], abs=1e-5)
        assert found.offsets[here, p] == pytest.approx(weights[-1][here], abs=1e-5)
        assert np.isneginf(found.offsets[~here, p]).all()


def test_centroids_against_distances() -> None:
    data = few(3)
    members = parts(data, 4, (0,), False)
    answers = bases(data, members, Base.CENTROID).answers(data.dense)
    for p, rows in enumerate(members):
        held = np.unique(data.y[rows])
        means = np.stack([data.x[rows][data.y[rows] == c].mean(axis=0) for c in held])
        apart = ((data.x[:, None] - means) ** 2).sum(axis=2)
        clear = np.ptp(np.sort(apart, axis=1)[:, :2], axis=1) > 1e-5 if len(held) > 1 else np.ones(40, dtype=bool)
        assert np.array_equal(answers[clear, p], held[apart.argmin(axis=1)][clear])


@pytest.mark.parametrize("base", [Base.RIDGE, Base.CENTROID])
def test_parts_without_rows_or_with_one_class(base: Base) -> None:
    data = few(0)
    one = np.flatnonzero(data.y == 2)
    answers = bases(data, (np.zeros(0, dtype=int), one, one[:1]), base).answers(data.dense)
    assert (answers == [0, 2, 2]).all()
    alike = Dataset(np.ones((6, 3)), np.array([0, 0, 1, 1, 1, 1]), ("a", "b"))
    assert (bases(alike, (np.arange(6),), base).answers(alike.dense) == (1 if base is Base.RIDGE else 0)).all()


@pytest.mark.parametrize("base", [Base.RIDGE, Base.CENTROID])
@pytest.mark.parametrize("learner", [DPA(partitions=20), FiniteAggregation(partitions=10, spread=2)])
def test_untouched_bases_keep_every_bit(base: Base, learner: DPA | FiniteAggregation) -> None:
    """A last bit that moved could turn a vote, and no count of votes would know."""
    data = load("digits", Streams(0)).train[:600]
    plugin = type(learner)(**{**vars(learner), "base": base, "features": HOG()})
    before = plugin(data, context()).bases
    rng = np.random.default_rng(0)
    more = data[rng.permutation(600)[:-1]].extend(rng.random((3, 1, 8, 8)), np.array([1, 2, 3]))
    after = plugin(more[rng.permutation(602)], context()).bases
    assert isinstance(before, LinearBases)
    assert isinstance(after, LinearBases)
    moved = (before.weights != after.weights).any(axis=(0, 1)) | (before.offsets != after.offsets).any(axis=0)
    assert 1 <= moved.sum() <= 4 * getattr(learner, "spread", 1)


def test_the_users_own_model_on_each_part() -> None:
    data = load("breast-cancer", Streams(0)).train[:120]
    forest = DPA(partitions=6, base=Base.MODEL)(data, context())
    again = DPA(partitions=6, base=Base.MODEL)(data[::-1], context())
    assert np.array_equal(forest.votes(data.x), again.votes(data.x))
    assert (forest.predict(data.x) == data.y).mean() > 0.9
    table = Dataset(sp.csr_array(data.dense * (data.dense > 0.5)), data.y, data.classes)
    logistic = context(Sklearn("sklearn.linear_model.LogisticRegression"))
    words = DPA(partitions=60, base=Base.MODEL)(table, logistic)  # two rows a part, so many hold one class
    assert isinstance(words.bases, FittedBases)
    assert {0, 1} <= {model for model in words.bases.models if isinstance(model, int)}
    assert words.votes(table.x).sum(axis=1).tolist() == [60] * 120
    assert words.certified(table.x[:0]).shape == (0,)


# --- radii -----------------------------------------------------------------------------------------------------------


def test_the_radius_of_votes_is_the_theorem_and_is_tight() -> None:
    """All ways to move up to three of six votes."""
    for votes in (v for v in itertools.product(range(7), repeat=3) if sum(v) == 6):
        found = int(radius(np.array([votes]))[0])
        first, rest = np.argmax(votes), [c for c in range(3) if c != np.argmax(votes)]
        assert found == min((votes[first] - (votes[c] + (c < first))) // 2 for c in rest)
        for moved in range(4):
            stays = all(
                np.argmax(v) == first
                for v in itertools.product(range(7), repeat=3)
                if sum(v) == 6 and sum(abs(a - b) for a, b in zip(v, votes, strict=True)) <= 2 * moved
            )
            assert stays == (moved <= found)


@pytest.mark.parametrize("offsets", [(0,), (0, 1), (1, 4)])
def test_the_shared_radius_outlives_every_choice_of_parts(offsets: tuple[int, ...]) -> None:
    """Six bases, three classes: whatever the models say that hold a changed part."""
    rng = np.random.default_rng(0)
    answers = np.concatenate([rng.integers(0, 3, (10, 6)), rng.choice(3, (20, 6), p=[0.1, 0.8, 0.1])])
    radii = shared_radius(answers, offsets, 3)
    for row, held in zip(answers, radii, strict=True):
        winner = np.bincount(row, minlength=3).argmax()
        for buckets in itertools.combinations(range(6), int(held)):
            hit = sorted({(j + o) % 6 for j in buckets for o in offsets})
            for others in range(3):  # all of them to one class is the worst they can do
                turned = row.copy()
                turned[hit] = others
                assert np.bincount(turned, minlength=3).argmax() == winner
    if len(offsets) == 1:
        votes = np.stack([np.bincount(row, minlength=3) for row in answers])
        assert np.array_equal(radii, radius(votes))
    assert radii.max() >= 1


def test_a_part_that_voted_for_another_class_is_cheaper_to_lose() -> None:
    answers = np.array([[0, 0, 0, 0, 0, 0, 1, 1]])  # lead 4: two parts of (0, 0) cost 4 each, one of (1, 1) nothing
    assert shared_radius(answers, (0, 1), 2).tolist() == [1]
    assert shared_radius(answers, (0,), 2).tolist() == [2]


POOL = [((x, 1.0), c) for x in (0.0, 1.0, 5.0) for c in (0, 1)]


def changed(data: Dataset, changes: int) -> list[Dataset]:
    """Every data set at most so many insertions from a pool, and deletions, away."""
    found, reached = [data], [data]
    for _ in range(changes):
        new = []
        for d in reached:
            new += [d[np.arange(len(d)) != i] for i in range(len(d))]
            new += [d.extend(np.array([x]), np.array([y])) for x, y in POOL]
        reached = new
        found += new
    return found


@pytest.mark.parametrize("base", [Base.RIDGE, Base.CENTROID])
@pytest.mark.parametrize("learner", [DPA(partitions=5), FiniteAggregation(partitions=4, spread=2)])
def test_every_insertion_and_deletion_within_the_radius(base: Base, learner: DPA | FiniteAggregation) -> None:
    plugin = type(learner)(**{**vars(learner), "base": base})
    x = np.array([[0.1, 1], [0.2, 0], [0.3, 1], [0.2, 1], [0.9, 0], [4.8, 1], [5.1, 0], [5.2, 1]])
    data = Dataset(x, np.array([0, 0, 0, 0, 0, 1, 1, 1]), ("a", "b"))
    asked = np.random.default_rng(0).uniform(-1, 6, (40, 2)).astype(np.float32)
    model = plugin(data, context())
    answers, radii = model.predict(asked), model.certified(asked)
    assert {1, 2} & set(radii.tolist())
    for changes in (1, 2):
        sure = radii >= changes
        for other in changed(data, changes) if sure.any() else []:
            assert np.array_equal(plugin(other, context()).predict(asked[sure]), answers[sure])


@pytest.mark.parametrize("learner", [DPA(partitions=3, labels_only=True), FiniteAggregation(3, 2, labels_only=True)])
def test_every_flip_within_the_radius(learner: DPA | FiniteAggregation) -> None:
    rng = np.random.default_rng(1)
    data = Dataset(rng.random((8, 2)) + np.repeat([[0], [2]], 4, axis=0), np.repeat([0, 1], 4), ("a", "b"))
    asked = rng.uniform(0, 3, (40, 2)).astype(np.float32)
    model = learner(data, context())
    answers, radii = model.predict(asked), model.certified(asked)
    assert model.certificate.unit == "labels flipped"
    assert radii.max() >= 1
    for flips in range(1, int(radii.max()) + 1):
        for rows in itertools.combinations(range(8), flips):
            y = data.y.copy()
            y[list(rows)] = 1 - y[list(rows)]
            sure = radii >= flips
            got = learner(Dataset(data.x, y, data.classes), context()).predict(asked[sure])
            assert np.array_equal(got, answers[sure])


def attacked(data: Dataset, asked: np.ndarray, label: int, k: int, model: Ensemble, rows: int) -> Dataset:
    """So many copies of an image, each dimmed a little until its hash names a base that still votes for the winner."""
    votes = model.bases.answers(HOG()(asked[None]))[0]
    size = np.array([len(p) for p in parts(data, k, (0,), False)])
    own = np.flatnonzero(votes == model.predict(asked[None])[0])
    wanted = own[np.argsort(size[own])][:rows]  # the smallest parts first: one row turns them most easily
    images = asked * (1 - np.arange(1, 20 * k, dtype=np.float32)[:, None, None, None] * np.float32(1e-6))
    poison = Dataset(images, np.full(len(images), label), data.classes)
    homes = (digests(poison, True)[:, 0] % np.uint64(k)).astype(int)
    chosen = [int(np.flatnonzero(homes == home)[0]) for home in wanted if (homes == home).any()]
    return data.extend(images[chosen], np.full(len(chosen), label))


def certified_predictions_stand(split: Split, k: int, targets: int) -> float:
    """Attacks some certified predictions with exactly as many insertions, and deletions, as they promise to outlive."""
    learner, test = DPA(partitions=k, features=HOG()), split.test[:300]
    model = learner(split.train, context())
    votes, answers, radii = model.votes(test.x), model.predict(test.x), model.certified(test.x)
    turned = 0.0
    for i in np.argsort(radii, kind="stable")[:: max(1, len(radii) // targets)][:targets]:
        second = int(np.argsort(votes[i], kind="stable")[-2])
        poisoned = attacked(split.train, test.x[i], second, k, model, int(radii[i]))
        assert learner(poisoned, context()).predict(test.x[i : i + 1])[0] == answers[i]
        near = ((split.train.dense - test.x[i]) ** 2).sum(axis=(1, 2, 3)) + 1e9 * (split.train.y != answers[i])
        fewer = split.train[np.sort(np.argsort(near)[int(radii[i]) :])]
        assert learner(fewer, context()).predict(test.x[i : i + 1])[0] == answers[i]
        beyond = attacked(split.train, test.x[i], second, k, model, 3 * int(radii[i]) + 3)
        turned += float(learner(beyond, context()).predict(test.x[i : i + 1])[0] != answers[i])
    return turned / targets


def test_certified_predictions_stand_and_the_attack_is_a_real_one() -> None:
    assert certified_predictions_stand(load("digits", Streams(0)), k=60, targets=10) >= 0.5


def test_certified_predictions_stand_on_mnist(named_data: Callable[[str], Split]) -> None:
    split = named_data("mnist")
    assert certified_predictions_stand(Split(split.train[:2000], split.test), k=50, targets=3) >= 0.5


# --- as a defence ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plugin",
    [
        DPA(partitions=20, features=HOG(window=4, deskew=False)),
        FiniteAggregation(partitions=20, features=HOG(window=4, deskew=False)),
    ],
)
def test_they_learn_digits_and_the_judge_reports_what_they_prove(plugin: DPA | FiniteAggregation) -> None:
    scenario = Central(data="digits", goal="availability", clean_rows=0)
    found = scenario.run(None, plugin, seed=0).metrics
    assert found["clean_accuracy"] > 0.9
    assert found["certified_accuracy"] > 0.85
    assert found["certified_median"] >= 5


def test_fields_come_from_a_scenario_file() -> None:
    plugin = build({"name": "DPA", "partitions": 9, "features": "HOG", "base": "centroid"})
    assert plugin == DPA(partitions=9, features=HOG(), base=Base.CENTROID)
    with pytest.raises(PluginError, match="feature map"):
        build({"name": "DPA", "features": "MLP"})


def test_shares_of_votes_and_no_rows() -> None:
    data = load("breast-cancer", Streams(0)).train
    model = DPA(partitions=7)(data, context())
    assert model.predict_proba(data.x).sum(axis=1) == pytest.approx(1)
    assert np.array_equal(model.votes(data.x), model.predict_proba(data.x) * 7)
    assert model.predict_proba(data.x[:0]).shape == (0, 2)
    assert model.certificate.unit == "rows inserted or deleted"


def test_what_breaks_a_certificate_is_refused() -> None:
    from sklearn.decomposition import PCA

    says = "single rows for DPA.features, got PCA, which is fitted to rows: use HOG or None, because one inserted row"
    with pytest.raises(PluginError, match=says):
        DPA(features=PCA(5))  # type: ignore[arg-type]
    for make in (
        lambda: DPA(partitions=0),
        lambda: DPA(penalty=0.0),
        lambda: DPA(penalty=float("nan")),
        lambda: FiniteAggregation(spread=0),
        lambda: FiniteAggregation(partitions=0),
    ):
        with pytest.raises(PluginError):
            make()
    table = load("breast-cancer", Streams(0)).train
    with pytest.raises(DataError, match="dense rows"):
        DPA()(Dataset(sp.csr_array(table.dense), table.y, table.classes), context())
    with pytest.raises(DataError, match="rows with classes"):
        DPA()(load("diabetes", Streams(0)).train, context())
    with pytest.raises(DataError, match="drop HOG"):
        DPA(features=HOG())(table, context())
