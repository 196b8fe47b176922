"""Estimators that break scikit-learn's convention: each gives one line that says what is wrong, and never a number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression

from antivenom.core.errors import ModelError, PluginError
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.models.own import maker_of
from antivenom.models.scikit import SklearnLearner

ROWS = Dataset.from_arrays(np.arange(12.0).reshape(6, 2), np.arange(6) % 3)
WORDS = Dataset.from_arrays(pd.DataFrame({"pay": [1.0, 2.0, 3.0, 4.0], "colour": list("rgrg")}), [0, 1, 0, 1])


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class Says(ClassifierMixin, BaseEstimator):
    """Answers whatever it was made with; an exception is raised."""

    def __init__(self, answer: Any = None, classes: Any = (0, 1, 2)) -> None:
        self.answer, self.classes = answer, classes

    def fit(self, x: Any, y: Any) -> Says:
        self.classes_ = np.asarray(self.classes)
        return self

    def predict(self, x: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    predict_proba = predict


def fitted(estimator: Any, rows: Dataset = ROWS) -> Any:
    return SklearnLearner(maker_of(estimator)).fit(rows, Streams(0))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([0, 1, 2, 0, 1, np.nan], "classes from 0 to 2 from Says.predict, got nan: return the numbers"),
        ([0, 1, 2, 0, 1, 7], "classes from 0 to 2 from Says.predict, got 7"),
        ([-1, 1, 2, 0, 1, 2], "got -1"),
        ([0.5, 1, 2, 0, 1, 2], "got 0.5"),
        (["no"] * 6, "got 'no'"),
        (None, "got nan"),
        ([2**70] * 6, "got 1.18059e"),
        (ZeroDivisionError("in\nthe middle"), "answers of Says.predict, got ZeroDivisionError: in the middle"),
        (Mute(), "got Mute: no message, because its str raises ValueError"),
    ],
    ids=["nan", "seven", "minus one", "a half", "words", "none", "huge", "raises", "speechless"],
)
def test_an_answer_that_is_no_class_is_one_line(answer: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said) as error:
        fitted(Says(answer)).predict(ROWS.x)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "answer", [[0, 1, 2, 0, 1, 2], [0.0, 1.0, 2.0, 0.0, 1.0, 2.0], np.array([0, 1, 2] * 2, object)]
)
def test_classes_of_any_type_are_numbers(answer: Any) -> None:
    found = fitted(Says(answer)).predict(ROWS.x)
    assert found.dtype == np.int64
    assert found.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("answer", "classes", "said"),
    [
        (np.full((6, 2), 0.5), (0, 1, 2), r"probabilities of shape \(6, 3\)"),
        (np.full((6, 3), np.nan), (0, 1, 2), "finite numbers from Says, got NaN, infinity or no numbers"),
        (np.full((6, 3), -0.5), (0, 1, 2), "probabilities from Says, got -0.5 to -0.5"),
        (np.full((6, 3), "a"), (0, 1, 2), "finite numbers from Says"),
        (np.full((6, 3), 0.5), ("a", "b", "c"), "classes from 0 to 2 from Says.predict, got 'a'"),
    ],
    ids=["one class too few", "nan", "negative", "words", "other classes"],
)
def test_probabilities_that_are_none_are_one_line(answer: Any, classes: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        fitted(Says(answer, classes)).predict_proba(ROWS.x)


def test_an_estimator_may_change_its_input_and_nobody_notices() -> None:
    class Changes(Says):
        def fit(self, x: Any, y: Any) -> Says:
            x["pay"], y[:] = 0.0, 0
            return super().fit(x, y)

        def predict(self, x: Any) -> Any:
            x["pay"] += 1.0
            return (x["pay"].to_numpy() % 2 == 1).astype(int)

    before = WORDS.x.copy()
    model = fitted(Changes(), WORDS)
    assert model.predict(WORDS.x).tolist() == model.predict(WORDS.x).tolist() == [0, 1, 0, 1]
    pd.testing.assert_frame_equal(WORDS.x, before)
    assert WORDS.y.tolist() == [0, 1, 0, 1]


class Changed(LogisticRegression):
    """Cannot be cloned, because the constructor changes its parameter."""

    def __init__(self, C: float = 1.0) -> None:
        super().__init__(C=[C])


class Wordless(LogisticRegression):
    def get_params(self, deep: bool = True) -> Any:
        raise RuntimeError("no parameters")


def leaves() -> Any:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("estimator", "rows", "said"),
    [
        (KMeans(2), ROWS, "a classifier for .*, got KMeans, a clusterer"),
        (Changed(), ROWS, "Changed to be copied, unfitted, .*: give a function that makes the estimator"),
        (Wordless(), ROWS, "Wordless to be copied, unfitted, got RuntimeError: no parameters"),
        (LogisticRegression(), WORDS, "encode the columns of words, such as colour, in a pipeline"),
    ],
    ids=["clusterer", "not clonable", "no parameters", "words"],
)
def test_an_estimator_that_cannot_be_fitted_is_one_line(estimator: Any, rows: Dataset, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        fitted(estimator, rows)


def test_a_factory_that_exits_is_one_line() -> None:
    with pytest.raises(ModelError, match="a model from leaves, got SystemExit: 0"):
        maker_of(leaves)


def test_a_module_that_exits_or_moves_on_import_is_contained(tmp_path: Any, monkeypatch: Any) -> None:
    import os

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exits_on_import.py").write_text("import sys\nsys.exit(0)")
    (tmp_path / "moves_on_import.py").write_text("import os\nos.chdir('/')\ndef make(a, b, c): ...")
    with pytest.raises(PluginError, match="the module of 'exits_on_import:make' to import, got SystemExit: 0"):
        maker_of("exits_on_import:make")
    with pytest.raises(PluginError, match="torch module or"):
        maker_of("moves_on_import:make")
    assert os.getcwd() == str(tmp_path)
