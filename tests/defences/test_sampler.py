"""The sampler in pipelines of one's own: scikit-learn's checks, imbalanced-learn's convention, types kept."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import ParameterGrid
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from antivenom.core.errors import AntivenomError, DataError, NotApplicable
from antivenom.defences import (
    KNNSanitizer,
    LossSanitizer,
    Micromodels,
    ProvenanceGroups,
    SlabSanitizer,
    SphereSanitizer,
)
from antivenom.defences.sampler import SanitizerSampler


@parametrize_with_checks([SanitizerSampler(), SanitizerSampler(SphereSanitizer(), LogisticRegression())])
def test_scikit_learns_own_checks(estimator, check) -> None:
    """All that scikit-learn finds for an estimator that only fits; those of predict and transform do not apply."""
    check(estimator)


def flipped(share: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y = load_breast_cancer(return_X_y=True)
    mask = np.random.default_rng(0).random(len(y)) < share
    return (x - x.mean(axis=0)) / x.std(axis=0), np.array(["malignant", "benign"])[np.where(mask, 1 - y, y)], mask


def test_the_convention() -> None:
    x, y, mask = flipped()
    sampler = SanitizerSampler(KNNSanitizer())
    kept, labels = sampler.fit_resample(x, y)
    rows = sampler.sample_indices_
    assert np.array_equal(kept, x[rows])
    assert np.array_equal(labels, y[rows])
    assert kept.dtype == x.dtype  # not the float32 that the sanitizer saw
    assert labels.dtype == y.dtype
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(sampler.verdict_.flags, ~np.isin(np.arange(len(y)), rows))
    assert sampler.verdict_.flags[mask].mean() > 0.9
    assert sampler.classes_.tolist() == ["benign", "malignant"]
    assert sampler.n_features_in_ == 30
    assert not hasattr(sampler, "transform")  # imbalanced-learn's pipelines refuse a step with both


def test_sparse_rows_and_lists_keep_their_type() -> None:
    x, y, _ = flipped()
    sampler = SanitizerSampler(SphereSanitizer(share=0.1))
    expected, _ = sampler.fit_resample(x, y)
    for form in (sp.csr_matrix, sp.csr_array, sp.csc_array):
        kept, _ = sampler.fit_resample(form(x), y)
        assert isinstance(kept, form)
        assert np.array_equal(kept.toarray(), expected)
    kept, labels = sampler.fit_resample(x.tolist(), y.tolist())
    assert isinstance(kept, list)
    assert isinstance(labels, list)
    assert kept == expected.tolist()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_keep_their_type_and_index(library: str) -> None:
    frames = pytest.importorskip(library)
    x, y, _ = flipped()
    table = frames.DataFrame({f"f{j}": x[:, j] for j in range(30)})
    sampler = SanitizerSampler(SphereSanitizer(share=0.1))
    kept, labels = sampler.fit_resample(table, frames.Series(y))
    assert type(kept) is frames.DataFrame
    assert type(labels) is frames.Series
    assert np.array_equal(kept.to_numpy(), x[sampler.sample_indices_])


def test_parameters_are_scikit_learns() -> None:
    sampler = SanitizerSampler(SphereSanitizer(share=0.2), LogisticRegression(C=3), random_state=4)
    twin = clone(sampler)
    assert twin.get_params()["sanitizer"] == SphereSanitizer(share=0.2)
    assert twin.get_params()["estimator__C"] == 3
    twin.set_params(estimator__C=5, sanitizer="SlabSanitizer")
    assert sampler.estimator.C == 3
    x, y, _ = flipped()
    removed = []
    for choice in ParameterGrid({"sanitizer": [SphereSanitizer(0.1), SphereSanitizer(0.3)]}):
        removed.append(len(y) - len(sampler.set_params(**choice).fit_resample(x, y)[1]))
    assert removed[0] < removed[1]
    assert len(twin.fit_resample(x, y)[1]) < len(y)
    assert len(SanitizerSampler(Micromodels(slices=3), random_state=None).fit_resample(x, y)[1]) < len(y)


def test_the_pipelines_own_estimator_is_the_model_that_is_asked() -> None:
    x, y, mask = flipped()
    for estimator in (None, LinearSVC(), LogisticRegression()):
        sampler = SanitizerSampler(LossSanitizer(share=0.1), estimator).fit(x, y)
        assert sampler.verdict_.flags[mask].mean() > 0.6
    if estimator is not None:
        assert not hasattr(estimator, "coef_")  # a copy was fitted


def test_a_regressor_makes_it_a_regression() -> None:
    x, y = load_diabetes(return_X_y=True)
    sampler = SanitizerSampler(LossSanitizer(share=0.1), Ridge(alpha=0.1))
    kept, numbers = sampler.fit_resample(x, y)
    assert len(kept) == len(numbers) == len(y) - 44
    assert numbers.dtype == y.dtype
    with pytest.raises(ValueError, match="Unknown label type"):
        SanitizerSampler().fit(x, y + 0.5)


def test_sources_and_trusted_rows_are_handed_on() -> None:
    x, y, _ = flipped(0)
    sources = np.random.default_rng(0).choice(["north", "south", "east", "west"], len(y))
    wrong = np.where(sources == "east", np.where(y == "benign", "malignant", "benign"), y)
    sampler = SanitizerSampler(ProvenanceGroups())
    sampler.fit_resample(x, wrong, groups=sources)
    assert set(sources[sampler.sample_indices_]) == {"north", "south", "west"}
    with pytest.raises(NotApplicable, match="sources are known"):
        sampler.fit_resample(x, wrong)
    oracle = SanitizerSampler(SlabSanitizer(share=0.1, trusted=True))
    with pytest.raises(NotApplicable, match="trusted rows for SlabSanitizer"):
        oracle.fit(x, y)
    flags = oracle.fit(x[:400], wrong[:400], trusted=(x[400:], y[400:])).verdict_.flags
    assert flags[sources[:400] == "east"].mean() > 0.8
    assert flags[sources[:400] != "east"].mean() < 0.25
    with pytest.raises(DataError, match="trusted rows of 30 columns, got 3"):
        oracle.fit(x[:400], y[:400], trusted=(x[400:, :3], y[400:]))
    with pytest.raises(DataError, match="trusted labels among benign, malignant"):
        oracle.fit(x[:400], y[:400], trusted=(x[400:], np.repeat("unclear", 169)))


def test_what_cannot_be_judged_is_said() -> None:
    x, y, _ = flipped()
    with pytest.raises(ValueError, match="NaN"):
        SanitizerSampler().fit(np.where(x > 2, np.nan, x), y)
    with pytest.raises(DataError, match="rows left to train on, got all 569 flagged"):
        SanitizerSampler("FlagAll").fit_resample(x, y)
    with pytest.raises(AntivenomError, match="did you mean"):
        SanitizerSampler("KNNSanitiser").fit(x, y)
