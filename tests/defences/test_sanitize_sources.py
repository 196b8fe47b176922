"""`antivenom.sanitize` on every form of rows, and SanitizerSampler on tables of numbers and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.tree import DecisionTreeClassifier

from antivenom import Dataset, Sanitized, Streams, load, sanitize
from antivenom.core.errors import AntivenomError, DataError, NotApplicable
from antivenom.core.protocols import Unsplit
from antivenom.core.registry import Kind, entries
from antivenom.data import ImageFolder, NpzFile, PythonSource, TableFile, TextFile, source_of
from antivenom.data.schema import Schema
from antivenom.defences import ActivationClustering, KNNSanitizer, LossSanitizer, SlabSanitizer
from antivenom.defences.sampler import SanitizerSampler
from antivenom.defences.sanitize import context_of, rows_of
from antivenom.models.architectures import MLP
from antivenom.models.training import Training

SAMPLES = Path(__file__).parent.parent / "data" / "samples"
rng = np.random.default_rng(0)
Y = np.arange(60) % 2
X = Y[:, None] + 0.1 * rng.standard_normal((60, 3))
WRONG = [7, 20]
FLIPPED = np.where(np.isin(np.arange(60), WRONG), 1 - Y, Y)
JOBS = np.array(["clerk", "nurse"])[Y]
FRAME = pd.DataFrame({"age": 30 + 20 * Y + rng.integers(0, 5, 60), "job": JOBS, "member": Y == 1})
NAMES = np.array(["no", "yes"])[FLIPPED]


def own_rows() -> tuple[np.ndarray, np.ndarray]:
    return X, FLIPPED


FORMS: dict[str, Any] = {
    "arrays": (X, FLIPPED),
    "sparse": (sp.csr_array(X), FLIPPED),
    "a frame": (FRAME, NAMES),
    "a Dataset": Dataset.from_arrays(X, FLIPPED),
    "a function": own_rows,
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_the_wrong_labels_are_the_suspects(data: Any) -> None:
    found = sanitize(data)
    assert sorted(found.suspects.tolist()) == WRONG
    assert isinstance(found, Sanitized)
    assert len(found.rows) == 60
    assert found.kept.y.tolist() == [label for i, label in enumerate(FLIPPED) if i not in WRONG]
    scores = found.verdict.scores[found.suspects]
    assert (np.diff(scores) <= 0).all()


def test_kept_rows_have_the_form_of_the_source() -> None:
    kept = sanitize((FRAME, NAMES)).kept
    assert list(kept.x.columns) == ["age", "job", "member"]
    assert kept.x["job"].tolist() == [job for i, job in enumerate(JOBS) if i not in WRONG]


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        (TableFile(str(SAMPLES / "people.csv"), "premium", ignore=("id",), decimal=",", encoding="latin-1"), None),
        (ImageFolder(str(SAMPLES / "pictures"), (4, 4)), None),
        (NpzFile(str(SAMPLES / "arrays.npz")), None),
        (TextFile(str(SAMPLES / "mails.jsonl")), None),
        (source_of((X, Y)), X),
        (PythonSource(f"{__name__}:own_rows"), X),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_row_of_a_source_is_judged_in_its_own_order(source: Any, rows: Any) -> None:
    assert isinstance(source, Unsplit)
    found, split = rows_of(source), source(Streams(0))
    assert len(found) == len(split.train) + len(split.test)
    if rows is not None:
        assert np.array_equal(found.x, rows.astype(np.float32))
    assert len(sanitize(source, KNNSanitizer(k=2)).verdict) == len(found)


def test_a_named_set_gives_its_training_rows() -> None:
    assert np.array_equal(rows_of("digits").x, load("digits").train.x)


def test_a_sanitizer_that_fits_a_model_gets_the_users() -> None:
    flips = sanitize((X, FLIPPED), LossSanitizer(share=2 / 60), model=DecisionTreeClassifier(max_depth=1), seed=3)
    assert sorted(flips.suspects.tolist()) == WRONG
    with pytest.raises(NotApplicable, match="a torch model for ActivationClustering"):
        sanitize((X, FLIPPED), ActivationClustering())
    network = sanitize((X, FLIPPED), ActivationClustering(), model=MLP(hidden=(8,)), training=Training(epochs=5))
    assert len(network.verdict) == 60


@pytest.mark.parametrize("labels", [Y, np.array(["no", "yes"])[Y]], ids=["numbers", "words"])
def test_trusted_rows_get_the_classes_and_columns_of_the_others(labels: Any) -> None:
    rows = X if labels is Y else FRAME
    trusted = rows[2:30], labels[2:30]
    found = sanitize((rows, labels), SlabSanitizer(share=0.1, trusted=True), trusted=trusted)
    expected = SlabSanitizer(share=0.1, trusted=True)(
        found.rows.encoded, context_of(None, Streams(0), found.rows[2:30].encoded)
    )
    assert np.allclose(found.verdict.scores, expected.scores, atol=1e-5)
    assert not np.allclose(
        found.verdict.scores, sanitize((rows, labels), SlabSanitizer(share=0.1)).verdict.scores, 1e-3
    )
    with pytest.raises(AntivenomError):
        sanitize((rows, labels), SlabSanitizer(share=0.1, trusted=True), trusted=(X[:, :2], np.full(60, 5)))


def test_token_rows_and_free_text_are_refused_by_name() -> None:
    tokens = Dataset(rng.integers(0, 9, (60, 4)), Y, ("a", "b"), schema=Schema.tokens([*"abcdefghi"], 4))
    with pytest.raises(NotApplicable, match="rows of numbers, got token rows"):
        sanitize(tokens, KNNSanitizer())
    with pytest.raises(NotApplicable, match="free text in column text"):
        sanitize(TextFile(str(SAMPLES / "mails.jsonl"), form="raw"), KNNSanitizer())


def test_every_sanitizer_is_a_verb_away() -> None:
    for entry in entries(Kind.SANITIZER):
        if entry.name in ("KNNSanitizer", "FlagNone", "SphereSanitizer"):
            assert len(sanitize((X, FLIPPED), entry.name).verdict) == 60


# --- the sampler -----------------------------------------------------------------------------------------------------


def test_a_sampler_keeps_the_rows_of_a_frame_with_words() -> None:
    sampler = SanitizerSampler()
    kept, labels = sampler.fit_resample(FRAME, NAMES)
    assert kept.equals(FRAME.drop(index=WRONG))
    assert labels.tolist() == NAMES[sampler.sample_indices_].tolist()
    assert sampler.n_features_in_ == 3
    clean = (FRAME[:20], np.array(["no", "yes"])[Y][:20])
    sampler = SanitizerSampler(SlabSanitizer(share=0.1, trusted=True))
    sampler.fit(FRAME, NAMES, trusted=clean)
    by_verb = sanitize((FRAME, NAMES), SlabSanitizer(share=0.1, trusted=True), trusted=clean)
    assert np.allclose(sampler.verdict_.scores, by_verb.verdict.scores, atol=1e-5)


def test_a_sampler_refuses_by_name_what_has_no_numbers() -> None:
    texts = pd.DataFrame({"text": [f"mail number {i}" for i in range(60)]})
    with pytest.raises(NotApplicable, match="free text in column text"):
        SanitizerSampler().fit(texts, Y)
    with pytest.raises(DataError, match="trusted rows in a DataFrame"):
        SanitizerSampler(SlabSanitizer(trusted=True)).fit(FRAME, NAMES, trusted=(X, Y))
    pilot = FRAME.assign(job="pilot")
    with pytest.raises(DataError, match="'pilot' in row 0"):
        SanitizerSampler(SlabSanitizer(trusted=True)).fit(FRAME, NAMES, trusted=(pilot, NAMES))
