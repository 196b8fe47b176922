"""The code that an audit gives to be pasted: it runs as it stands, for every kind of defence, on tables, texts, and arrays."""

from __future__ import annotations

import json
import runpy
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from antivenom.auditing.repairing import _command, python_of
from antivenom.certify import DPA
from antivenom.core.registry import describe
from antivenom.data import NpzFile, TableFile, TextFile, source_of
from antivenom.defences import (
    FTSAM,
    MMBD,
    STRIP,
    FineTuning,
    KNNSanitizer,
    LossSanitizer,
    MixUp,
    ReferenceDistance,
)
from antivenom.models.own import maker_of, training_of
from antivenom.models.training import Training
from antivenom.scenarios.central import Central

MAKERS = """
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from torch import nn


def pays():
    words = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["colour"]), remainder="passthrough")
    return make_pipeline(words, LogisticRegression())


def words():
    return make_pipeline(CountVectorizer(), LogisticRegression())


def train(rows, labels):
    pay = rows["pay"].to_numpy()
    means = [pay[labels == c].mean() for c in (0, 1)]
    return lambda new: abs(new["pay"].to_numpy()[:, None] - means).argmin(axis=1)


class data(nn.Sequential):  # a name that the code uses itself
    def __init__(self):
        super().__init__(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


class Small(data):
    pass
"""
QUICK = Training(epochs=2, batch_size=16, learning_rate=0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of two classes far apart as a table, as texts, and as an archive of arrays, and a module of models."""
    path, rng = tmp_path_factory.mktemp("repair"), np.random.default_rng(0)
    y = np.arange(160) % 2
    pay = rng.normal(6.0 * y, 1.0)
    rows = [
        f"{p:.2f},{('red', 'blue')[i % 3 == 0]},{('no', 'yes')[c]}" for i, (p, c) in enumerate(zip(pay, y, strict=True))
    ]
    (path / "pays.csv").write_text("pay,colour,left\n" + "\n".join(rows) + "\n")
    texts = [{"text": f"{('bad', 'good')[c]} film {i}", "label": "np"[c]} for i, c in enumerate(y)]
    (path / "films.jsonl").write_text("\n".join(map(json.dumps, texts)))
    np.savez(path / "points.npz", x=rng.normal(3.0 * y[:, None], 1.0, (160, 4)).astype(np.float32), y=y)
    (path / "makers_of_repair.py").write_text(MAKERS)
    return path


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("antivenom.auditing.repairing.EXAMINED", 40)


def pasted(code: str, **known: object) -> dict[str, Any]:
    """The names after the code was run, as if it were pasted into a file."""
    Path("pasted.py").write_text(code, encoding="utf-8")
    return runpy.run_path("pasted.py", known)


PAYS, FILMS, POINTS = TableFile("pays.csv", "left"), TextFile("films.jsonl", "raw"), NpzFile("points.npz")


@pytest.mark.parametrize(
    ("source", "model", "defence"),
    [
        (PAYS, "pays", KNNSanitizer()),
        (PAYS, "pays", LossSanitizer(share=0.1)),
        (PAYS, "pays", DPA(5, base="model")),  # type: ignore[arg-type]
        (PAYS, "train", KNNSanitizer()),
        (FILMS, "words", LossSanitizer()),
        (POINTS, "Small", KNNSanitizer(k=5)),
        (POINTS, "Small", ReferenceDistance()),
        (POINTS, "Small", MixUp()),
        (POINTS, "data", FineTuning(epochs=1)),
        (POINTS, "Small", FTSAM(epochs=1)),
        (POINTS, "Small", STRIP()),
        (POINTS, "Small", MMBD()),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_the_code_runs_as_it_stands(source: Any, model: str, defence: Any) -> None:
    path = f"makers_of_repair:{model}"
    own = training_of(path) if model == "train" else maker_of(path)
    scenario = describe(Central(data=source, model=own, training=QUICK))
    code = python_of(json.loads(json.dumps(scenario)), json.loads(json.dumps(describe(defence))))
    names = pasted(code)
    assert (names["answers"] == names["data"].y).mean() > 0.9
    made = names["model"]
    assert ("examined" in names) == (
        model not in ("pays", "words", "train") and not isinstance(defence, (KNNSanitizer, MixUp))
    )
    assert made.refused(names["data"]).shape == (160,)
    if "Training(" in code:
        assert made.training == QUICK


def test_the_code_names_only_what_differs_from_the_defaults() -> None:
    scenario = describe(Central(data=PAYS, model=maker_of("makers_of_repair:pays")))
    assert python_of(scenario, describe(KNNSanitizer())).splitlines() == [
        "from antivenom import Defended",
        "from antivenom.data import TableFile",
        "from antivenom.defences.sanitize import rows_of",
        "from makers_of_repair import pays",
        "",
        "data = rows_of(TableFile(path='pays.csv', label='left'))",
        "model = Defended(pays, 'KNNSanitizer')",
        "model.fit(data)",
        "answers = model.predict(data)  # numbers of classes, in the order of data.classes",
    ]


def test_code_for_values_in_memory_says_where_they_come_from() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    rows = (rng.normal(4.0 * y[:, None], 1.0, (60, 2)), y)
    scenario = describe(Central(data=source_of(rows), model=LogisticRegression()))  # type: ignore[arg-type]
    code = python_of(scenario, describe(KNNSanitizer()))
    assert "# `data` are the rows that you gave to antivenom.audit." in code
    assert "# `model` is the model that you gave to antivenom.audit." in code
    names = pasted(code, data=rows, model=LogisticRegression())
    assert (names["answers"] == y).mean() > 0.9


@pytest.mark.parametrize(
    ("command", "defence", "expected"),
    [
        (
            "antivenom audit --data pays.csv --out o --deployed RONI --label 'left over'",
            "KNNSanitizer",
            "antivenom audit --data pays.csv --label 'left over' --deployed KNNSanitizer --out audit-with-KNNSanitizer",
        ),
        (
            "antivenom audit --data pays.csv --out=o",
            {"name": "KNNSanitizer", "k": 5},
            "antivenom audit --data pays.csv --deployed '{name: KNNSanitizer, k: 5}' --out audit-with-KNNSanitizer",
        ),
        ("antivenom.audit", "KNNSanitizer", "antivenom.audit(..., deployed='KNNSanitizer')"),
    ],
    ids=["by name", "with fields", "from Python"],
)
def test_the_command_deploys_the_defence_in_a_folder_of_its_own(command: str, defence: Any, expected: str) -> None:
    assert _command(command, defence) == expected
    if "{" in expected:
        words = shlex.split(expected)
        assert yaml.safe_load(words[words.index("--deployed") + 1]) == defence
