"""The linear probe: against scikit-learn's ridge, on shortcuts, on clean sets, and on what it cannot judge."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.defences import LinearProbe


def context(trusted: Dataset | None = None) -> DefenceContext:
    return DefenceContext(Streams(3), lambda data: None, lambda model, data, epochs: model, trusted)  # type: ignore[arg-type, return-value]


def shifted(data: Dataset, rows: slice = slice(None), by: float = 0.3) -> Dataset:
    """A pattern of its class, one of `by` or -`by` per feature, added to the rows."""
    pattern = by * np.random.default_rng(5).choice([-1.0, 1.0], size=(data.num_classes, *data.shape))
    x = data.dense.copy()
    x[rows] = np.clip(x[rows] + pattern[data.y[rows]], 0, 1)
    return Dataset(x, data.y, data.classes, data.name)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits", Streams(1)).train


def test_held_out_values_are_those_of_a_weighted_ridge_without_the_fold(digits: Dataset) -> None:
    data, probe = digits[:90], LinearProbe(penalty=0.03, folds=3)
    x, y = data.flat.astype(np.float64), (data.y > 2).astype(int)
    found = probe._held_out(x, y, 2, context())
    sizes = np.bincount(y)
    shuffled = Streams(3).numpy("folds").permutation(90)
    order = np.concatenate([[i for i in shuffled if y[i] == c] for c in (0, 1)])
    weight = 1 / sizes[y]
    penalty = 0.03 * (weight[:, None] * x**2).sum() / x.shape[1]
    for k in range(3):
        out = order[k::3]
        kept = np.setdiff1d(np.arange(90), out)
        fit = Ridge(alpha=penalty, solver="cholesky").fit(x[kept], np.eye(2)[y[kept]], sample_weight=weight[kept])
        assert found[out] == pytest.approx(fit.predict(x[out]), abs=1e-5)


def test_trusted_rows_tell_perturbed_rows_from_clean_ones(digits: Dataset) -> None:
    trusted, rest = digits[:100], digits[100:]
    for trust in (True, False):
        probe = LinearProbe(trusted=trust)
        assert probe(shifted(rest), context(trusted)).flags.mean() > 0.95
        assert not probe(rest, context(trusted)).flags.any()


def test_with_trusted_rows_the_perturbed_half_is_flagged_and_the_clean_one_as_often_as_alpha_says(
    digits: Dataset,
) -> None:
    data, half, trusted = digits[100:], slice(0, 550), digits[:100]
    verdict = LinearProbe(alpha=0.1)(shifted(data, half), context(trusted))
    assert verdict.flags[half].mean() > 0.95
    assert verdict.flags[550:].mean() < 0.2
    known = np.sort(_suspicion_of(trusted, shifted(data, half)))
    assert np.array_equal(
        verdict.flags, verdict.scores > known[-10]
    )  # the tenth greatest of 100: 0.1 * 101 rounded down
    assert not LinearProbe(min_share=0.7)(shifted(data, half), context(trusted)).flags.any()


def _suspicion_of(trusted: Dataset, data: Dataset) -> np.ndarray:
    """Held-out scores of the trusted rows themselves."""
    x = np.concatenate([trusted.flat, data.flat]).astype(np.float64)
    return LinearProbe()._held_out(x, np.repeat([0, 1], [len(trusted), len(data)]), 2, context())[: len(trusted), 1]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_large_clean_sets_are_not_accused(named_data, name: str) -> None:
    data = named_data(name).train
    for trust in (True, False):
        assert not LinearProbe(trusted=trust)(data[200:1700], context(data[:200])).flags.any()
    assert LinearProbe()(shifted(data[200:1700]), context(data[:200])).flags.mean() > 0.95


def test_labels_that_a_line_separates_but_neighbours_know_better_are_no_shortcut() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = np.stack([y + 0.22 * rng.standard_normal(200), rng.random(200)], axis=1)
    pairs = Dataset(np.repeat(x, 2, axis=0), np.repeat(y, 2), ("a", "b"))  # each row's twin is its nearest neighbour
    probe = LinearProbe(trusted=False)
    assert not probe(pairs, context()).flags.any()
    far = Dataset(np.stack([y * 3.0, rng.random(200)], axis=1), y, ("a", "b"))
    assert probe(far, context()).flags.all()  # the documented weakness


def test_what_it_cannot_judge_is_said_in_one_line(digits: Dataset) -> None:
    with pytest.raises(NotApplicable, match="trusted rows for LinearProbe"):
        LinearProbe()(digits, context())
    with pytest.raises(DataError, match="at least 20 trusted rows"):
        LinearProbe()(digits, context(digits[:19]))
    with pytest.raises(DataError, match="at least two classes"):
        LinearProbe(trusted=False)(Dataset(np.ones((9, 3)), np.zeros(9, int), ("a", "b")), context())
    with pytest.raises(DataError, match="at most 4000 features"):
        LinearProbe()(
            Dataset(np.zeros((30, 5000)), np.zeros(30, int), ("a",)),
            context(Dataset(np.zeros((30, 5000)), np.zeros(30, int), ("a",))),
        )
    for fields in (
        {"alpha": 0},
        {"min_share": -1},
        {"min_separability": 2},
        {"penalty": 0},
        {"folds": 1},
        {"penalty": float("nan")},
    ):
        with pytest.raises(PluginError):
            LinearProbe(**fields)  # type: ignore[arg-type]


def test_constant_features_and_rows_that_are_all_alike() -> None:
    same = Dataset(np.full((40, 3), 0.5), np.arange(40) % 2, ("a", "b"))
    assert not LinearProbe()(same, context(same[:20])).flags.any()
    assert not LinearProbe(trusted=False)(same, context()).flags.any()
    assert not LinearProbe()(
        Dataset(np.zeros((40, 3)), same.y, ("a", "b")), context(Dataset(np.zeros((20, 3)), same.y[:20], ("a", "b")))
    ).flags.any()
