"""Sanitizers against written-out oracles: distances, subspaces, losses, gradients, votes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from antivenom.attacks import LabelFlipping
from antivenom.auditing.grid import label
from antivenom.auditing.plan import plan_of
from antivenom.core.errors import AntivenomError, DataError, NotApplicable, PluginError
from antivenom.core.protocols import AttackContext, DefenceContext
from antivenom.core.registry import build, describe
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import Dataset, load
from antivenom.defences import (
    RONI,
    SEVER,
    AllOf,
    KNNDistanceSanitizer,
    KNNSanitizer,
    LossSanitizer,
    Micromodels,
    ProvenanceGroups,
    SlabSanitizer,
    SphereSanitizer,
    SVDSanitizer,
)
from antivenom.defences.inputs import folds, radius, stratified
from antivenom.defences.sanitizers.losses import Gradients, losses
from antivenom.defences.sanitizers.subspace import singular_vectors
from antivenom.models.architectures import MLP
from antivenom.models.estimators import Sklearn
from antivenom.models.training import Training
from antivenom.scenarios.pipeline import Pipeline

LOGISTIC = Sklearn("sklearn.linear_model.LogisticRegression", (("max_iter", 1000),))
FIVE = (SphereSanitizer, SlabSanitizer, LossSanitizer, SVDSanitizer, KNNDistanceSanitizer)


def context(trusted: Dataset | None = None, model=LOGISTIC) -> DefenceContext:
    return Pipeline(model, Training(epochs=5, batch_size=20, learning_rate=0.01), "cpu", Streams(2)).context(trusted)


def sparse(data: Dataset) -> Dataset:
    return replace(data, x=sp.csr_array(data.x))


@pytest.mark.parametrize(("share", "limit"), [(0.0, 9), (0.1, 8), (0.25, 7), (0.3, 6), (1.0, -np.inf)])
def test_the_radius_is_what_at_most_that_share_exceeds(share: float, limit: float) -> None:
    scores = np.random.default_rng(0).permutation(10).astype(float)
    assert radius(scores, share) == limit


def test_a_stratified_order_begins_with_every_class_and_keeps_proportions() -> None:
    classes = np.repeat([0, 1, 2], [80, 18, 2])
    order = stratified(classes, np.random.default_rng(0))
    assert sorted(order) == list(range(100))
    assert set(classes[order[:3]]) == {0, 1, 2}
    assert 37 <= (classes[order[:50]] == 0).sum() <= 43


def test_folds_hold_every_row_out_once_and_keep_each_class_on_the_other_side(blobs: Dataset) -> None:
    few = blobs[np.array([0, 1, 2, 31, 32, 61, 62, 63, 64, 65, 66])]
    held = []
    for rest, out in folds(few, Streams(0)):
        assert not set(rest) & set(out)
        assert set(few.y[rest]) == {0, 1, 2}
        held += out.tolist()
    assert sorted(held) == list(range(11))


@pytest.mark.parametrize("form", [lambda d: d, sparse])
def test_sphere_and_slab_by_hand(form) -> None:
    x = np.array([[0, 0], [2, 0], [1, 3], [10, 0], [12, 0], [11, -6]])
    data = form(Dataset(x, np.array([0, 0, 0, 1, 1, 1]), ("a", "b")))
    # centroids (1, 1) and (11, -2); the line between them is (10, -3) / sqrt(109)
    sphere = SphereSanitizer(share=0.34)(data, context())
    assert sphere.scores == pytest.approx(np.sqrt([2, 2, 4, 5, 5, 16]))
    assert sphere.flags.tolist() == [False, False, True, False, False, True]
    slab = SlabSanitizer(share=0.34)(data, context())
    assert slab.scores == pytest.approx(np.abs([-7, 13, -6, -16, 4, 12]) / np.sqrt(109))
    assert slab.flags.tolist() == [False, True, False, True, False, False]


def test_slab_of_three_classes_looks_along_the_line_to_all_other_rows(blobs: Dataset) -> None:
    data = blobs[np.r_[0:30, 30:50, 60:90]]
    expected = []
    for row, c in zip(data.x.astype(float), data.y, strict=True):
        own, rest = data.x[data.y == c].mean(axis=0), data.x[data.y != c].astype(float).mean(axis=0)
        expected.append(abs((row - own) @ (own - rest)) / np.linalg.norm(own - rest))
    assert SlabSanitizer()(data, context()).scores == pytest.approx(expected, rel=1e-4)


def test_distance_to_the_kth_neighbour_against_a_loop(blobs: Dataset) -> None:
    apart = np.sqrt(((blobs.x[:, None] - blobs.x[None]) ** 2).sum(axis=2))
    expected = np.sort(apart, axis=1)[:, 3]  # itself first
    for data in (blobs, sparse(blobs)):
        assert KNNDistanceSanitizer(k=3)(data, context()).scores == pytest.approx(expected, abs=1e-3)
    oracle = KNNDistanceSanitizer(k=3, trusted=True)(blobs[:60], context(blobs[60:].extend(blobs.x[:4], [0, 0, 1, 1])))
    near = np.concatenate([np.arange(60, 90), np.arange(4)])
    assert oracle.scores == pytest.approx(np.sort(apart[:60][:, near], axis=1)[:, 2], abs=1e-3)


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
@pytest.mark.parametrize("form", [lambda x: x, sp.csr_array])
def test_leading_vectors_leave_less_than_the_residual_and_no_fewer_do(shape: tuple[int, int], form) -> None:
    x = np.random.default_rng(1).standard_normal(shape) * np.geomspace(1, 0.05, shape[1])
    x = x.astype(np.float32)
    vectors = singular_vectors(form(x), 0.1, 99, 0)
    energy = np.linalg.svd(x, compute_uv=False) ** 2
    k = next(k for k in range(1, 99) if energy[k:].sum() < 0.1 * energy.sum())
    assert vectors.shape == (shape[1], k)
    assert vectors.T @ vectors == pytest.approx(np.eye(k), abs=1e-5)
    left = ((x - x @ vectors @ vectors.T) ** 2).sum()
    assert left == pytest.approx(energy[k:].sum(), rel=1e-4)
    assert singular_vectors(form(x), 0.1, 1, 0).shape[1] == 1


def test_large_sparse_tables_take_the_randomised_way_to_the_same_residual(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    x = (rng.random((80, 5)) @ rng.random((5, 90)) + 0.01 * rng.random((80, 90))).astype(np.float32)
    exact = singular_vectors(x, 0.001, 20, 0)
    monkeypatch.setattr("antivenom.defences.sanitizers.subspace.EXACT", 10)
    quick = singular_vectors(sp.csr_array(x), 0.001, 20, 0)
    assert quick.shape == exact.shape
    assert quick @ (quick.T @ exact) == pytest.approx(exact, abs=1e-3)


def test_svd_finds_rows_off_the_plane_of_all_others() -> None:
    rng = np.random.default_rng(0)
    x = np.hstack([5 * rng.standard_normal((60, 2)), np.zeros((60, 3))])
    x[[7, 40], 3] = 2
    verdict = SVDSanitizer(share=0.04)(Dataset(x, np.repeat([0, 1], 30), ("a", "b")), context())
    assert np.flatnonzero(verdict.flags).tolist() == [7, 40]
    assert verdict.scores[[7, 40]] == pytest.approx([2, 2], abs=0.1)  # they tilt the plane a little


def test_losses_are_logarithmic_hinge_or_squared(blobs: Dataset) -> None:
    two = Dataset(blobs.x[:60], blobs.y[:60], ("a", "b"))
    model = context().fit(two)
    assert losses(model, two) == pytest.approx(-np.log(model.predict_proba(two.x)[np.arange(60), two.y]))
    for data in (two, blobs):
        svm = context(model=Sklearn("sklearn.svm.LinearSVC")).fit(data)
        margins = svm.estimator.decision_function(data.x)
        if data is two:
            expected = np.maximum(0, 1 - (2 * two.y - 1) * margins)
        else:
            lead = [f[c] - np.delete(f, c).max() for f, c in zip(margins, data.y, strict=True)]
            expected = np.maximum(0, 1 - np.array(lead))
        assert losses(svm, data) == pytest.approx(expected, abs=1e-6)
    numbers = Dataset(blobs.x, blobs.x[:, 0] + blobs.x[:, 1] ** 2, ())
    ridge = context(model=Sklearn("sklearn.linear_model.Ridge"))
    found = LossSanitizer(share=0.1)(numbers, ridge)
    assert found.scores == pytest.approx((ridge.fit(numbers).predict(numbers.x) - numbers.y) ** 2)
    assert found.flags.sum() == 9


@pytest.mark.parametrize("form", [lambda d: d, sparse])
def test_sever_knows_the_gradients_of_a_logistic_regression(blobs: Dataset, form) -> None:
    data = form(blobs)
    model = context().fit(data)
    found = Gradients.of(model, data)
    p = model.predict_proba(data.x)
    rows = np.hstack([blobs.x, np.ones((90, 1))])
    written = np.stack([np.outer(p[i] - np.eye(3)[data.y[i]], rows[i]).ravel() for i in range(90)])
    assert found.mean().ravel() == pytest.approx(written.mean(axis=0), abs=1e-6)
    centred = written - written.mean(axis=0)
    _, _, vectors = np.linalg.svd(centred)
    assert found.reach(None, np.random.default_rng(0)) == pytest.approx((centred @ vectors[0]) ** 2, rel=0.05, abs=1e-4)


def test_sever_takes_its_share_in_rounds_and_ranks_the_first_highest(blobs: Dataset) -> None:
    y = blobs.y.copy()
    y[[0, 1, 40, 41, 80, 81, 5, 50, 70]] = [1, 2, 0, 2, 0, 1, 1, 2, 0]
    data = Dataset(blobs.x, y, blobs.classes)
    verdict = SEVER(share=0.1)(data, context())
    assert verdict.flags.sum() == 9
    assert verdict.flags[y != blobs.y].sum() >= 7
    assert verdict.scores[verdict.flags].min() > verdict.scores[~verdict.flags].max()
    network = SEVER(share=0.1)(data, context(model=MLP(hidden=(16,))))
    assert network.flags.sum() == 9
    assert not SEVER(share=0.0)(data, context()).flags.any()


def test_knn_asks_trusted_neighbours_only(blobs: Dataset) -> None:
    y = np.ones(30, dtype=int)
    copies = Dataset(np.repeat(blobs.x[:1], 30, axis=0), y, blobs.classes)  # wrong, and among themselves
    assert not KNNSanitizer()(copies, context()).flags.any()
    assert KNNSanitizer(trusted=True)(copies, context(blobs)).flags.all()


def test_trusted_rows_are_a_sphere_that_poison_cannot_move(blobs: Dataset) -> None:
    clean, trusted = blobs[::2], blobs[1::2]
    poison = clean.extend(np.full((30, 5), 4.0, dtype=np.float32), np.zeros(30, dtype=int))
    mask = np.arange(len(poison)) >= len(clean)
    dragged = SphereSanitizer(share=0.1)(poison, context(trusted)).flags
    oracle = SphereSanitizer(share=0.1, trusted=True)(poison, context(trusted)).flags
    assert not dragged[mask].any()  # two thirds of the class: its centroid is theirs
    assert oracle[mask].all()
    assert oracle[~mask].mean() < 0.25


@pytest.mark.parametrize("cls", FIVE)
def test_without_trusted_rows_the_share_of_each_class_goes_and_more_share_takes_more(cls) -> None:
    data = load("breast-cancer", Streams(1)).train[:200]
    some, more = (cls(share=share)(data, context()).flags for share in (0.05, 0.2))
    assert (some <= more).all()
    for c in (0, 1):
        assert more[data.y == c].sum() == int(0.2 * (data.y == c).sum())


@pytest.mark.parametrize("cls", FIVE)
def test_with_trusted_rows_about_the_share_of_honest_rows_goes(cls) -> None:
    data = load("breast-cancer", Streams(1)).train
    flags = cls(share=0.1, trusted=True)(data[200:], context(data[:200])).flags
    assert 0.02 < flags.mean() < 0.25


@pytest.mark.parametrize("cls", FIVE)
def test_rows_that_are_all_alike_are_flagged_together_or_not_at_all(cls) -> None:
    for x in (np.full((40, 3), 0.3), np.zeros((40, 3))):
        data = Dataset(x, np.repeat([0, 1], 20), ("a", "b"))
        for same in (data, sparse(data)):
            assert not cls()(same, context()).flags.any()


@pytest.mark.parametrize("cls", [*FIVE, KNNSanitizer, SEVER, Micromodels, RONI])
def test_trusted_rows_that_are_not_there_are_asked_for(cls, blobs: Dataset) -> None:
    with pytest.raises(NotApplicable, match="trusted rows for " + cls.__name__):
        cls(trusted=True)(blobs, context())


@pytest.mark.parametrize("cls", FIVE)
def test_a_class_without_trusted_rows_is_an_error(cls, blobs: Dataset) -> None:
    with pytest.raises(DataError, match="two trusted rows of each class, got fewer of c"):
        cls(trusted=True)(blobs, context(blobs[:61]))


def test_what_one_class_or_a_regression_gets(blobs: Dataset) -> None:
    one = Dataset(blobs.x, np.zeros(90, dtype=int), ("a", "b"))
    assert SphereSanitizer()(one, context()).flags.sum() == 4
    with pytest.raises(DataError, match="rows of two classes for SlabSanitizer"):
        SlabSanitizer()(one, context())
    numbers = Dataset(blobs.x, blobs.x[:, 0], ())
    for cls in (SphereSanitizer, SlabSanitizer, RONI, Micromodels):
        with pytest.raises(DataError, match="rows with classes"):
            cls()(numbers, context())
    assert KNNDistanceSanitizer()(blobs[:1], context()).flags.tolist() == [False]


def test_all_of_flags_what_any_flags(blobs: Dataset) -> None:
    parts = (SphereSanitizer(), SlabSanitizer())
    both = AllOf(sanitizers=parts)(blobs, context())
    verdicts = [each(blobs, context()) for each in parts]
    assert np.array_equal(both.flags, verdicts[0].flags | verdicts[1].flags)
    ranks = np.maximum(*(np.argsort(np.argsort(v.scores)) + 1 for v in verdicts))
    assert both.scores == pytest.approx(ranks / 90)


def test_micromodels_vote_on_the_rows_of_other_slices_by_their_size(blobs: Dataset) -> None:
    order = np.random.default_rng(0).permutation(90)
    data = replace(blobs[order], groups=np.repeat([3, 5, 9], [20, 30, 40]))
    wrong = data.groups == 5
    y = np.where(wrong, (data.y + 1) % 3, data.y)
    verdict = Micromodels()(replace(data, y=y), context())
    against, votes = np.zeros(90), np.zeros(90)
    for g, size in ((3, 20), (5, 30), (9, 40)):
        part = replace(data, y=y)[data.groups == g]
        for i in range(90):
            if data.groups[i] != g:
                votes[i] += size
                against[i] += size * (context().fit(part).predict(data.x[i : i + 1])[0] != y[i])
    assert verdict.scores == pytest.approx(against / votes)
    assert verdict.flags[wrong].mean() > 0.9  # and the others have a majority of honest slices


def test_micromodels_cut_equal_parts_where_groups_are_unknown(blobs: Dataset) -> None:
    order = np.random.default_rng(0).permutation(90)
    data = blobs[order]
    cut = replace(data, groups=np.repeat([0, 1, 2], 30))
    known, unknown = Micromodels()(cut, context()), Micromodels(slices=3)(data, context())
    assert np.array_equal(known.scores, unknown.scores)
    with pytest.raises(DataError, match="two slices with two classes each"):
        Micromodels(slices=3)(blobs, context())


def test_provenance_finds_the_source_that_harms_and_only_that() -> None:
    data = load("breast-cancer", Streams(1)).train[:300]
    groups = np.random.default_rng(0).integers(0, 5, 300)
    y = np.where(groups == 2, 1 - data.y, data.y)
    for trusted, rows in ((False, None), (True, load("breast-cancer", Streams(1)).train[300:])):
        poisoned = replace(data, y=y, groups=groups)
        verdict = ProvenanceGroups(trusted=trusted)(poisoned, context(rows))
        assert np.array_equal(verdict.flags, groups == 2)
        assert not ProvenanceGroups(trusted=trusted)(replace(data, groups=groups), context(rows)).flags.any()
    with pytest.raises(NotApplicable, match="rows whose sources are known"):
        ProvenanceGroups()(data, context())


def test_provenance_of_a_single_source_says_nothing(blobs: Dataset) -> None:
    assert not ProvenanceGroups()(replace(blobs, groups=np.zeros(90, dtype=int)), context()).flags.any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: SphereSanitizer(share=1.5),
        lambda: SlabSanitizer(share=-0.1),
        lambda: LossSanitizer(share=2),
        lambda: SVDSanitizer(residual=0),
        lambda: SVDSanitizer(max_components=0),
        lambda: KNNDistanceSanitizer(k=0),
        lambda: SEVER(rounds=0),
        lambda: SEVER(share=-1),
        lambda: Micromodels(slices=1),
        lambda: Micromodels(threshold=0),
        lambda: RONI(repeats=0),
        lambda: RONI(min_drop=2),
        lambda: RONI(measure="answer"),
        lambda: ProvenanceGroups(deviations=-1),
        lambda: AllOf(sanitizers=()),
    ],
)
def test_fields_that_make_no_sense_are_one_line(make) -> None:
    with pytest.raises(PluginError) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("defence", "name", "detected"),
    [
        (SphereSanitizer(share=0.3), "digits", 0.7),
        (SlabSanitizer(share=0.3), "digits", 0.7),
        (LossSanitizer(share=0.2), "digits", 0.65),
        (LossSanitizer(share=0.2), "breast-cancer", 0.7),
        (SlabSanitizer(share=0.1, trusted=True), "breast-cancer", 0.7),
        (SEVER(share=0.2), "breast-cancer", 0.8),
        (Micromodels(), "breast-cancer", 0.8),
        (AllOf(sanitizers=(LossSanitizer(share=0.2), KNNSanitizer())), "breast-cancer", 0.9),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, (str, float)) else str(value),
)
def test_flipped_labels_of_real_data_are_found(defence, name: str, detected: float) -> None:
    train = load(name, Streams(0)).train
    threat = ThreatModel("data-manipulation", "availability")
    poison = LabelFlipping(0.2)(train[:300], AttackContext(Streams(0), threat))
    verdict = defence(poison.data, context(train[300:]))
    assert verdict.flags[poison.mask].mean() >= detected
    assert verdict.flags[~poison.mask].mean() <= 0.25


def test_every_sanitizer_error_is_ours(blobs: Dataset) -> None:
    empty = blobs[:0]
    for defence in (SlabSanitizer(), Micromodels(), RONI()):
        with pytest.raises(AntivenomError):
            defence(empty, context())


def test_several_sanitizers_stand_in_one_field_of_a_scenario_file() -> None:
    text = """
version: 1
scenarios:
  - kind: central
    goal: availability
    access: data-manipulation
    defences: [{name: AllOf, sanitizers: [KNNSanitizer, {name: SphereSanitizer, share: 0.2}]}]
"""
    cell = plan_of(text, "text").cells[-1]
    assert cell.defence == AllOf(sanitizers=(KNNSanitizer(), SphereSanitizer(share=0.2)))
    assert label(cell.defence) == "AllOf(KNNSanitizer + SphereSanitizer(share=0.2))"
    assert build(describe(cell.defence)) == cell.defence
    with pytest.raises(AntivenomError, match="did you mean 'KNNSanitizer'"):
        plan_of(text.replace("KNNSanitizer", "KNNSanitiser"), "text")
