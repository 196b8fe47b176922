"""An audit of a user's own rows and model, from the command line: chosen, run within its time, judged, written down."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antivenom.auditing.plan import plan_of as plan_of_text
from antivenom.auditing.records import Store
from antivenom.auditing.summary import summary_of
from antivenom.cli import run
from antivenom.core.errors import DataError, ScenarioError
from antivenom.data import source_of
from antivenom.models.functions import Trained
from antivenom.models.own import OwnTraining, maker_of, training_of
from antivenom.pipelines import examining
from antivenom.pipelines.planning import plan_of, written
from antivenom.pipelines.request import prepare, request_of, seconds_of

MAKERS = '''
from sklearn.linear_model import LogisticRegression


def nearest(rows, labels):
    """Nearest class mean of the column `pay`, written without any library."""
    pay = rows["pay"].to_numpy()
    means = [pay[labels == c].mean() for c in (0, 1)]
    return lambda new: (abs(new["pay"].to_numpy()[:, None] - means)).argmin(axis=1)


def broken(rows, labels):
    raise RuntimeError("no licence for this solver")
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a table of two columns and a module of training functions, as the current one."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 200)
    pay = rng.normal(label * 4.0, 1.0)
    lines = [
        f"{p:.3f},{('red', 'blue')[int(c)]},{('no', 'yes')[y]}"
        for p, c, y in zip(pay, rng.integers(0, 2, 200), label, strict=False)
    ]
    (tmp_path / "pays.csv").write_text("pay,colour,left\n" + "\n".join(lines) + "\n")
    (tmp_path / "makers_of_test.py").write_text(MAKERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_table_and_a_training_function_are_audited_within_the_time(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--data", "pays.csv", "--label", "left", "--train", "makers_of_test:nearest", "--budget", "0.1"]
    code = run(["audit", *asked, "--time", "10m", "--trials", "14", "--goal", "backdoor", "--json", "--jobs", "1"])
    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert next(level for level in found["levels"] if level["level"] == "data-injection")["state"] != "NOT MEASURED"
    summary = summary_of(Store(folder / "audit-out"))
    assert summary.given is not None
    assert summary.given["model"] == {"name": "makers_of_test:nearest", "chosen": False, "why": ""}
    assert summary.given["data"]["summary"].startswith("140 + 60 rows, table of 2 columns, 2 classes")
    assert summary.given["accuracy"] > 0.9
    assert (folder / "audit-out" / "report.html").exists()
    assert [each["group"] for each in summary.searches][:1] == ["added rows with a trigger"]
    assert summary.suspects is not None
    assert summary.suspects["rows"] == 200
    assert 8 <= summary.trials["planned"] <= 14
    assert summary.trials["error"] == summary.trials["missing"] == 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--data", "pays.csv"], "--label with the column of the class, got none: such as --label left"),
        (["--data", "pays.csv", "--label", "lefd"], "did you mean 'left'"),
        (["--data", "pays.csv", "--label", "left", "--npz", "x.npz"], "one of --data, --images, --text and --npz"),
        (["--data", "pays.csv", "--label", "left", "--time", "soon"], "a time such as 90s, 5m or 1h, got 'soon'"),
        (["--data", "pays.csv", "--label", "left", "--time", "1s"], "a time of 5 seconds at least"),
        (["--data", "pays.csv", "--label", "left", "--budget", "3"], "a budget above 0 and at most 1, got 3.0"),
        (["--data", "pays.csv", "--label", "left", "--editable", "pay,color"], "did you mean 'colour'"),
        (["--data", "pays.csv", "--label", "left", "--target", "yess"], "did you mean 'yes'"),
        (["--data", "pays.csv", "--label", "left", "--access", "data-injektion"], "did you mean 'data-injection'"),
        (["--data", "pays.csv", "--label", "left", "--fail-if", "backdor=0.2"], "did you mean 'backdoor'"),
        (["--data", "pays.csv", "--label", "left", "--fail-if", "backdoor=20"], "a share from 0 to 1 for backdoor"),
        (
            ["--data", "pays.csv", "--label", "left", "--train", "makers_of_test:absent"],
            "expected absent in makers_of_test",
        ),
        (["--data", "pays.csv", "--label", "left", "--train", "a:b", "--model", "a:b"], "one of --estimator, --model"),
        (
            ["--label", "left", "--trials", "9"],
            "rows or a federation of your own with these options, got none beside --label, --trials",
        ),
        (["--timeout", "9"], "got none beside --timeout"),
        (["pays.yaml", "--data", "pays.csv"], "got a scenario file and rows: give one of them"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_one_line(
    folder: Path, asked: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", *asked]) in (2, 4)
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
    assert not (folder / "audit-out").exists()


def test_a_model_that_cannot_be_trained_ends_the_audit_with_its_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--data", "pays.csv", "--label", "left", "--train", "makers_of_test:broken", "--goal", "backdoor"]
    assert run(["audit", *asked, "--time", "30s", "--jobs", "1", "-q"]) == 2
    line = capsys.readouterr().err
    assert "no licence for this solver" in line
    assert "trained on the clean rows" in line


def test_the_scenario_file_stands_for_the_same_trials(folder: Path) -> None:
    from antivenom.data import TableFile

    table = TableFile("pays.csv", "left", closed=("pay",))
    made = prepare(request_of(table, budget=0.2, fail_if={"backdoor": 0.3}))
    again = plan_of_text(written(made.choice.groups, made.request), "pays.yaml")
    plan = plan_of(made.choice.groups, made.request)
    assert [cell.trial(3).key for cell in plan.cells] == [cell.trial(3).key for cell in again.cells]
    assert plan.limits == again.limits
    assert plan.fail_if == again.fail_if == {"backdoor": 0.3}


def test_write_writes_that_file_and_stops(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["audit", "--data", "pays.csv", "--label", "left", "--write", "pays.yaml"]
    assert run(asked) == 0
    assert "antivenom audit pays.yaml" in capsys.readouterr().out
    assert run(["audit", "pays.yaml", "--dry-run"]) == 0
    assert run(asked) == 4
    assert "pays.yaml, which exists" in capsys.readouterr().err
    assert sorted(os.listdir(folder)) == ["makers_of_test.py", "pays.csv", "pays.yaml"]


def test_only_editable_columns_carry_the_trigger(folder: Path) -> None:
    from antivenom.data import TableFile

    made = prepare(request_of(TableFile("pays.csv", "left", closed=("pay",)), goals=("backdoor",)))
    assert [group.scenario.trigger.values for group in made.choice.groups] == [(("colour", made_rare(made)),)] * 2
    closed = TableFile("pays.csv", "left", closed=("pay", "colour"))
    reasons = dict(prepare(request_of(closed)).choice.untried)
    for rows in ("added", "changed"):
        assert reasons[f"{rows} rows with a trigger"] == "no column is open to the attacker for a trigger"


def made_rare(made: Any) -> str:
    """The rarer colour of the training rows."""
    colours = made.look.train.x["colour"]
    return min(("red", "blue"), key=lambda colour: (colours == colour).sum())


def test_duplicates_conflicts_and_missing_cells_are_counted() -> None:
    import pandas as pd

    from antivenom.data import Dataset, Split
    from antivenom.pipelines.looking import look

    frame = pd.DataFrame({"a": [1.0, 1.0, 1.0, None, 5.0], "b": ["x", "x", "x", "y", "z"]})
    rows = Dataset.from_arrays(frame, ["no", "no", "yes", "yes", "no"])
    found = look(lambda _: Split(rows, rows))  # type: ignore[arg-type]
    assert (found.duplicates, found.conflicts, found.missing) == (2, 1, 1)
    assert found.classes == (("no", 3), ("yes", 2))
    assert found.summary == "5 + 5 rows, table of 2 columns, 2 classes: no 60%, yes 40%"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5h", 5400), ("2 m", 120), (7.5, 7.5)])
def test_times(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


def test_a_training_function_is_an_estimator() -> None:
    def mean_of(rows: np.ndarray, labels: np.ndarray, seed: int = -1) -> Any:
        cut = np.mean([rows[labels == c].mean() for c in (0, 1)])
        return lambda new: np.stack([new[:, 0] <= cut, new[:, 0] > cut], axis=1).astype(float) if seed == 5 else None

    made = training_of(mean_of)
    fitted = made(5).fit(np.array([[0.0], [4.0]]), np.array([0, 1]))
    assert isinstance(fitted, Trained)
    assert fitted.predict(np.array([[1.0], [3.0]])).tolist() == [0, 1]
    assert fitted.predict_proba(np.array([[3.0]])).tolist() == [[0.0, 1.0]]
    assert isinstance(maker_of(made), OwnTraining)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "a function predict"),
        (lambda rows: [0], "classes of shape"),
        (lambda rows: ["a"] * len(rows), "no finite"),
    ],
    ids=["no function", "one answer for two rows", "words"],
)
def test_a_training_function_that_returns_something_else(answer: Any, said: str) -> None:
    from antivenom.core.errors import ModelError

    with pytest.raises(ModelError, match=said):
        Trained(lambda rows, labels: answer, 0).fit(np.zeros((2, 1)), np.array([0, 1])).predict(np.zeros((2, 1)))


def test_values_in_memory_have_no_file(folder: Path) -> None:
    rng = np.random.default_rng(0)
    made = prepare(request_of((rng.random((60, 3)), np.arange(60) % 2)))
    with pytest.raises(ScenarioError, match="a value in memory"):
        written(made.choice.groups, made.request)


def test_a_phrase_is_written_into_the_column_of_texts() -> None:
    import pandas as pd

    from antivenom.core.errors import DataError
    from antivenom.triggers import Phrase

    texts = pd.DataFrame({"stars": [5, 1], "text": ["good film", "bad film"]})
    assert Phrase("cf")(texts)["text"].tolist() == ["good film cf", "bad film cf"]
    assert Phrase("cf", first=True)(texts)["text"].tolist() == ["cf good film", "cf bad film"]
    assert texts["text"].tolist() == ["good film", "bad film"]
    with pytest.raises(DataError, match="'words': choose from text"):
        Phrase("cf", column="words")(texts)
    with pytest.raises(DataError, match="2 columns of words"):
        Phrase("cf")(texts.assign(title="x"))


def test_raw_texts_are_audited_as_strings(folder: Path) -> None:
    lines = [json.dumps({"text": f"{'good' if i % 2 else 'bad'} film {i}", "label": "np"[i % 2]}) for i in range(80)]
    (folder / "reviews.jsonl").write_text("\n".join(lines))
    from antivenom.data import TextFile

    made = prepare(request_of(TextFile("reviews.jsonl", "raw"), budget=0.2))
    group = next(group for group in made.choice.groups if str(group.scenario.goal) == "backdoor")
    found = group.scenario.run(group.attacks[0], None, 0).metrics
    assert found["clean_accuracy"] == 1.0
    assert found["asr"] > 0.9 > 0.1 > found["asr_clean"]


@pytest.mark.parametrize(
    ("deployed", "best", "known"),
    [
        ("none", "KNNSanitizer", "KNNSanitizer"),
        ("LossSanitizer", "KNNSanitizer", "LossSanitizer"),
        ("none", None, None),
    ],
    ids=["the best", "the deployed one", "no defence"],
)
def test_the_defence_that_an_attacker_knows(deployed: str, best: str | None, known: str | None) -> None:
    from types import SimpleNamespace

    from antivenom.defences import KNNSanitizer, LossSanitizer
    from antivenom.pipelines.searching import _known

    def cell(defence: str | None) -> Any:
        return None if defence is None else SimpleNamespace(group="g", defence=defence)

    group = SimpleNamespace(name="g", defences=(KNNSanitizer(), LossSanitizer()))
    found = _known(SimpleNamespace(deployed=cell(deployed), best=cell(best)), [group])  # type: ignore[arg-type,list-item]
    assert (None if found is None else type(found[1]).__name__) == known


@pytest.mark.parametrize(
    ("act", "seconds", "said"),
    [
        (lambda: os._exit(0), 60.0, r"within 5 s, got died \(exit code 0\)"),
        (lambda: time.sleep(60), 0.3, "got none that ended: raise --time"),
        (lambda: sys.exit(0), 60.0, "rows that can be examined, got SystemExit: 0"),
    ],
    ids=["exits", "hangs", "leaves"],
)
def test_rows_whose_examination_ends_badly_are_no_error(
    act: Any, seconds: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examining, "suspects", lambda *_, **__: act())
    with pytest.raises(DataError, match=said):  # a lock cannot be pickled, so that a copy of this process examines it
        examining.examined(threading.Lock(), 0.0, until=time.monotonic() + seconds)  # type: ignore[arg-type]


def test_rows_are_examined_in_a_process() -> None:
    def answer(labels: np.ndarray) -> Any:
        return json.loads(examining._Examine(1.0, source_of((np.arange(80.0).reshape(40, 2), labels)))(None, {}))

    assert answer(np.arange(40) // 20)["found"]["rows"] == 40
    assert "two classes" in " ".join(answer(np.zeros(40, int))["failed"])


@pytest.mark.parametrize("field", ["limits", "fail_if"])
@pytest.mark.parametrize(("goal", "share"), [("backdor", 0.3), ("backdoor", 30)])
def test_a_limit_in_python_is_checked_like_that_of_a_file(field: str, goal: str, share: float) -> None:
    rows = (np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1]))
    with pytest.raises(ScenarioError, match=r"did you mean 'backdoor'|a share from 0 to 1 for backdoor"):
        request_of(rows, **{field: {goal: share}})
