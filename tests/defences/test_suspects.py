"""`suspects` on the tables that earlier filters failed on, the label-noise model, and confident learning by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from antivenom import suspects
from antivenom.cli import run
from antivenom.core.errors import AntivenomError, PluginError
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences import ConfidentLearning, LabelNoiseModel
from antivenom.defences.crossfit import canonical, folds_of, keys_of
from antivenom.defences.features import features_of
from antivenom.defences.labels import JudgedLabels
from antivenom.defences.noise import _objective, _parts, label_noise
from antivenom.defences.sanitizers.confident import confident_joint, margins, noise_counts, pruned
from antivenom.defences.suspects import _warning, implausible

LINEAR = LogisticRegression()
rng = np.random.default_rng(0)
HAM = [
    "the",
    "meeting",
    "lunch",
    "home",
    "tomorrow",
    "dinner",
    "friend",
    "thanks",
    "call",
    "later",
    "love",
    "today",
    "work",
]
SPAM = [
    "free",
    "prize",
    "winner",
    "claim",
    "cash",
    "urgent",
    "offer",
    "txt",
    "award",
    "guaranteed",
    "mobile",
    "reply",
    "now",
]


def messages(ham: int, spam: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Short messages, each of eight words, two of them of the other kind."""
    labels = np.array(["ham"] * ham + ["spam"] * spam)
    texts = [
        " ".join([*rng.choice(SPAM if label == "spam" else HAM, 6), *rng.choice(HAM if label == "spam" else SPAM, 2)])
        for label in labels
    ]
    return pd.DataFrame({"text": texts}), labels


# --- the tables on which earlier filters failed ------------------------------------------------------------------------


def test_the_rarer_class_of_messages_is_not_flagged_and_wrong_labels_are() -> None:
    texts, labels = messages(520, 80)
    clean = suspects((texts, labels))
    assert clean.flagged <= 6
    assert clean.warning == ""
    assert "free text" in clean.notes[0]
    wrong = rng.choice(600, 40, replace=False)
    flipped = labels.copy()
    flipped[wrong] = np.where(labels[wrong] == "ham", "spam", "ham")
    found = suspects((texts, flipped))
    hits = np.isin(found.indices, wrong)
    assert hits.sum() >= 30
    assert (~hits).sum() <= 6  # 1 % of 560 honest rows
    assert found.exit_code == 1
    first = found.sample[0]
    assert first.suggested != first.label
    assert first.cells["text"] == texts["text"][first.row]


def test_a_class_of_one_in_a_hundred_is_never_flagged_whole() -> None:
    x = rng.standard_normal((600, 3))
    y = (x[:, 0] > 0).astype(int)
    x[:12] += 5
    y[:12] = 2  # a rare class that can be learnt
    assert suspects((x, y), LINEAR).flagged <= 6
    y[:12] = 0
    y[100:112] = 2  # and one that cannot
    found = suspects((x, y), LINEAR)
    assert found.verdict.flags[100:112].sum() <= 6
    tiny = np.where(np.arange(600) < 5, 2, (x[:, 0] > 0).astype(int))
    found = suspects((x, tiny), LINEAR)
    assert not found.verdict.flags[:5].any()
    assert "Too few rows to judge the labels of the classes: 2." in found.notes


def test_empty_columns_are_harmless() -> None:
    x = rng.standard_normal((100, 2))
    y = np.where(x[:, 0] > 0, "yes", "no")
    plain = pd.DataFrame({"a": x[:, 0], "b": x[:, 1]})
    empty = plain.assign(none=[None] * 100, nan=np.nan, blank="")
    one, other = (features_of(Dataset.from_arrays(rows, y)) for rows in (plain, empty))
    assert np.array_equal(one.x, other.x)
    assert suspects((empty, y)).flagged <= 2


def test_the_order_of_the_rows_has_no_influence() -> None:
    texts, labels = messages(120, 120)
    labels[rng.choice(240, 20, replace=False)] = "ham"
    by_label = np.argsort(labels, kind="stable")
    one = suspects((texts, labels)).verdict
    other = suspects((texts.iloc[by_label].reset_index(drop=True), labels[by_label])).verdict
    assert np.array_equal(one.flags[by_label], other.flags)
    assert np.allclose(one.scores[by_label], other.scores, atol=1e-3)


def test_an_implausible_result_says_so() -> None:
    flags, y = np.zeros(10, dtype=bool), np.array([0] * 8 + [1] * 2)
    flags[8] = True
    assert "1 of the 2 rows of class 'b'" in implausible(flags, y, ("a", "b"))
    assert implausible(np.arange(10) < 1, y, ("a", "b")) == ""
    assert "30% of the rows" in implausible(np.arange(10) < 3, y, ("a", "b"))


def test_what_cannot_be_judged_is_refused_in_one_line() -> None:
    x = rng.standard_normal((40, 2))
    with pytest.raises(AntivenomError, match="rows of two classes"):
        suspects((x, np.zeros(40, dtype=int)))
    with pytest.raises(AntivenomError, match="a column that varies"):
        suspects((np.ones((40, 2)), np.arange(40) % 2))
    with pytest.raises(PluginError, match="false_alarms above 0"):
        LabelNoiseModel(false_alarms=0)
    with pytest.raises(PluginError, match="prune among"):
        ConfidentLearning(prune="all")
    with pytest.raises(AntivenomError, match="regression"):
        suspects(Dataset(x, x[:, 0], ()))


def test_the_record_is_json() -> None:
    texts, labels = messages(60, 60)
    labels[:9] = "spam"
    record = json.loads(json.dumps(suspects((texts, labels)).record()))
    assert record["type"] == "suspects"
    assert record["rows"] == 120
    assert len(record["sample"]) == min(20, record["flagged"])
    assert {"row", "score", "why", "label", "suggested", "cells"} == {*record["sample"][0]}


def test_identifiers_are_left_out_and_text_is_not() -> None:
    ids = pd.DataFrame({"id": [f"u{i}" for i in range(60)], "a": np.arange(60) % 7})
    found = features_of(Dataset.from_arrays(ids, np.arange(60) % 2))
    assert found.x.shape == (60, 1)
    assert "identifier" in found.notes[0]


# --- the parts ---------------------------------------------------------------------------------------------------------


def test_copies_share_a_fold_and_folds_are_stratified() -> None:
    x = np.repeat(rng.standard_normal((50, 2)).astype(np.float32), 2, axis=0)
    y = np.repeat(np.arange(50) % 2, 2)
    fold = folds_of(keys_of(Dataset(x, y, ("a", "b"))), y, 3)
    assert np.array_equal(fold[::2], fold[1::2])
    assert np.bincount(fold).tolist() == [20] * 5
    assert all(np.bincount(y[fold == k]).tolist() == [10, 10] for k in range(5))
    order = rng.permutation(100)
    assert np.array_equal(folds_of(keys_of(Dataset(x[order], y[order], ("a", "b"))), y[order], 3), fold[order])
    keys = np.array([5, 3, 5], dtype=np.uint64)
    assert canonical(keys, np.array([1, 0, 0])).tolist() == [1, 2, 0]


@pytest.mark.parametrize("kind", ["uniform", "pairs"])
def test_the_gradient_of_the_noise_model_is_that_of_its_likelihood(kind: str) -> None:
    p = rng.dirichlet([1, 1, 1], 30)
    y = rng.integers(0, 3, 30)
    logs = np.log(p) - np.log(p).mean(axis=1, keepdims=True)
    objective = _objective(kind, logs, y, _parts(kind, logs, 3))
    at = rng.standard_normal(13 if kind == "pairs" else 5) * 0.3 + 1
    value, slope = objective(at)
    for i in range(len(at)):
        step = np.zeros(len(at))
        step[i] = 1e-6
        assert slope[i] == pytest.approx((objective(at + step)[0] - objective(at - step)[0]) / 2e-6, abs=1e-4)
    assert value > 0


def test_the_noise_model_finds_the_rates_that_made_the_labels() -> None:
    q = rng.dirichlet([0.3, 0.3], 4000)
    true = (rng.random(4000) < q[:, 1]).astype(int)
    even = np.where(rng.random(4000) < 0.1, 1 - true, true)
    found = label_noise(q, even)
    assert found.transition[0, 1] == pytest.approx(0.1, abs=0.03)
    one_sided = np.where((true == 1) & (rng.random(4000) < 0.3), 0, true)
    found = label_noise(q, one_sided)
    assert found.kind == "pairs"
    assert found.transition[1, 0] == pytest.approx(0.3, abs=0.05)
    assert found.transition[0, 1] < 0.03
    honest = label_noise(q, true)
    assert 1 - np.diag(honest.transition).min() < 0.03  # overlapping classes are not noise


P = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8], [0.9, 0.1]])
LABELS = np.array([0, 0, 0, 1, 1, 1])


def test_confident_learning_by_hand() -> None:
    # Means of the own probability: 1.8 / 3 = 0.6 for class 0, 1.6 / 3 = 0.533 for class 1.
    joint = confident_joint(P, LABELS)
    assert joint.tolist() == [[2, 1], [1, 2]]
    assert noise_counts(joint, LABELS).tolist() == [[2, 1], [1, 2]]
    for prune in ("class", "noise-rate", "both", "confident-joint"):
        assert pruned(P, LABELS, prune).tolist() == [False, False, True, False, False, True]
    assert margins(P)[2].tolist() == pytest.approx([0.8, -0.8])
    empty = np.array([[0.4, 0.6], [0.4, 0.6]])  # no row of class 0 reaches a limit of another class
    assert noise_counts(np.zeros((2, 2), dtype=np.int64), np.array([0, 0])).tolist() == [[2, 0], [0, 0]]
    assert not pruned(empty, np.array([0, 0]), "class").any()


def test_models_that_do_not_know_the_data_are_said_so() -> None:
    y = np.arange(40) % 4
    data = Dataset.from_arrays(np.eye(4, dtype=np.float32)[y] + np.arange(40)[:, None], y)
    flags = np.arange(40) < 4
    for right, said in ((40, False), (25, False), (23, True), (0, True)):
        answers = np.where(np.arange(40) >= 40 - right, y, (y + 1) % 4)
        answers[:4] = (y[:4] + 1) % 4  # the flagged rows are classed differently, as they should be
        noise = label_noise(np.eye(4)[y] * 0.9 + 0.025, y)
        found = JudgedLabels(Verdict(flags.astype(float), flags), answers, 0.4, noise, np.eye(4)[answers])
        assert ("know these data too little" in _warning(data, found)) == said


# --- the command -------------------------------------------------------------------------------------------------------


def test_the_command_on_text_tells_by_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, labels = messages(60, 60)
    labels[3] = "spam"
    texts.loc[3, "text"] = "=" + texts["text"][3]
    lines = [json.dumps({"text": text, "label": label}) for text, label in zip(texts["text"], labels, strict=True)]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    out = tmp_path / "out"
    assert run(["sanitize", "--text", str(tmp_path / "m.jsonl"), "--out", str(out)]) == 1
    said = capsys.readouterr().out
    assert "expected to be false alarms" in said
    found = pd.read_csv(out / "suspects.csv")
    assert found["row"][0] == 4
    assert found["suggested"][0] == "ham"
    assert found["text"][0].startswith("'=")
    assert len(found) + len(pd.read_csv(out / "kept.csv")) == 120
    assert run(["sanitize", "--text", str(tmp_path / "m.jsonl"), "--npz", "x.npz"]) == 4
    assert "one of a table file" in capsys.readouterr().err
    assert run(["sanitize", "--images", str(tmp_path), "--size", "-3"]) == 4


def test_the_command_says_when_a_whole_class_is_flagged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["a,b,y"] + [f"{a:.3f},{b:.3f},{i % 10 == 0}" for i, (a, b) in enumerate(rng.random((60, 2)))]
    (tmp_path / "d.csv").write_text("\n".join(lines))
    arguments = ["sanitize", str(tmp_path / "d.csv"), "--label", "y", "--out", str(tmp_path / "out")]
    assert run([*arguments, "--sanitizer", "KNNSanitizer"]) == 3
    assert "WARNING: 6 of the 6 rows of class 'True' are flagged" in capsys.readouterr().out
    assert run([*arguments, "--sanitizer", "KNNSanitizer", "--false-alarms", "0.1"]) == 4
    assert "leave out --false-alarms" in capsys.readouterr().err
