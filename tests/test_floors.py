"""The certified floor of a user's own pipeline: which learner is afforded, what is written down, and how it is said."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

from antivenom.auditing.executors import serial
from antivenom.auditing.records import Store
from antivenom.auditing.results import Summary
from antivenom.auditing.sentences import floor_of
from antivenom.certify.partitions import parts
from antivenom.data import Dataset
from antivenom.pipelines.flooring import certify, costs, learner_for
from antivenom.pipelines.request import prepare, request_of


class _Look:
    """What `learner_for` asks of a look at the rows."""

    def __init__(self, rows: int, classes: int) -> None:
        self.train = Dataset(np.zeros((rows, 1)), np.zeros(rows, int), tuple(map(str, range(classes))))


@pytest.mark.parametrize(
    ("rows", "classes", "fit", "seconds", "models"),
    [
        (5000, 2, 1.0, 3.6, 50),
        (5000, 2, 1.0, 3.4, 20),
        (2400, 2, 1.0, 9.0, 20),
        (2400, 20, 1.0, 9.0, 10),
        (250, 2, 1.0, 9.0, 5),
    ],
    ids=["time for fifty", "time for twenty", "rows for twenty", "classes for ten", "rows for five"],
)
def test_the_most_models_that_rows_and_time_allow(
    rows: int, classes: int, fit: float, seconds: float, models: int
) -> None:
    found, why = learner_for(_Look(rows, classes), fit, seconds)  # type: ignore[arg-type]
    assert found is not None
    assert (found.partitions, why) == (models, "")


def test_what_is_not_afforded_says_what_would_allow_it() -> None:
    assert costs(2.0, 50) == 2.0 + 50 * 0.1
    assert learner_for(_Look(249, 2), 1.0, 9.0) == (None, "249 rows are too few for 5 models of 50 rows each")  # type: ignore[arg-type]
    # five models of a fit of 10 s: 10 + 5 * 0.5 = 12.5 s
    late = learner_for(_Look(250, 2), 10.0, 30.0, 8.0)  # type: ignore[arg-type]
    assert late == (None, "it needs about 12 s, and 8 s were left: raise --time")
    # five models of a fit of 60 s: 60 + 5 * 3 = 75 s, which are a tenth of 750 s, so 13 minutes
    assert learner_for(_Look(9000, 2), 60.0, 30.0) == (None, "it needs about 75 s: --time 13m allows it")  # type: ignore[arg-type]


def test_rows_of_a_dataframe_are_divided_by_their_cells_and_not_by_their_encoding() -> None:
    import pandas as pd

    frame = pd.DataFrame({"pay": np.arange(40.0), "text": [f"a text of its own, number {i}" for i in range(40)]})
    y = np.arange(40) % 2
    some, more = Dataset(frame[:30], y[:30], ("a", "b")), Dataset(frame.assign(pay=frame["pay"]), y, ("a", "b"))
    before, after = parts(some, 5, (0,), False), parts(more, 5, (0,), False)
    for small, large in zip(before, after, strict=True):
        assert {*small.tolist()} == {row for row in large.tolist() if row < 30}


def summary(**floor: object) -> Summary:
    usual = {
        "models": 50,
        "rows": 17.0,
        "by_one": 0.9,
        "accuracy": 0.86,
        "accuracy_before": 0.9,
        "budget": 30,
        "why": "",
    }
    return Summary({}, (), (), {}, 0, 0, "", floor={**usual, "theorem": "Levine and Feizi 2021, Theorem 1", **floor})


@pytest.mark.parametrize(
    ("floor", "said"),
    [
        (
            {},
            "With 50 copies of your model that are each trained on a part of the rows and vote, no 17 rows that anyone adds or "
            "removes can change the right answer for half of the test rows (the attacker of this audit has 30 rows), and their "
            "accuracy is 86%, while your model alone has 90%. This is proven: Levine and Feizi 2021, Theorem 1.",
        ),
        (
            {"rows": -1.0, "by_one": 0.4, "accuracy_before": 0.86},
            "With 50 copies of your model that are each trained on a part of the rows and vote, no number of rows is excluded for "
            "half of the test rows; 40% of the answers withstand one row, and their accuracy is 86%, like that of your model alone.",
        ),
        ({"rows": None, "why": "249 rows are too few"}, "Certified floor not known: 249 rows are too few."),
    ],
    ids=["a floor", "no floor", "not tried"],
)
def test_the_sentence(floor: dict[str, object], said: str) -> None:
    assert floor_of(summary(**floor)) == said


def test_nothing_is_said_where_nobody_asked() -> None:
    assert floor_of(dataclasses.replace(summary(), floor=None)) == ""


def test_the_floor_of_a_table_far_apart_is_half_of_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both classes are so far apart that all five models agree on every test row: two changed votes of five leave three."""
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr("antivenom.pipelines.flooring.executor", lambda *_: serial)  # no process for one trial
    rng, y = np.random.default_rng(0), np.arange(500) % 2
    prepared = prepare(request_of((rng.normal(20.0 * y[:, None], 1.0, (500, 2)), y), LogisticRegression(), time=600))
    said: list[str] = []
    with Store(tmp_path, write=True) as store:
        for _ in range(2):  # the second time it is known
            certify(prepared, store, 0.01, 1.0, time.monotonic() + 600, (1, (), "cpu"), said.append)
        (line,) = store.beside("floor")
    assert (line["models"], line["rows"], line["accuracy"], line["why"]) == (5, 2.0, 1.0, "")
    assert said == ["certifying answers: 5 models on parts of the rows"]
