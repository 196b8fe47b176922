"""Sample rows of an attack: the right originals, the right cells, nothing of private rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from antivenom.attacks import LabelFlipping
from antivenom.core.outcome import Cell
from antivenom.data import Column, Dataset, Poison, Schema
from antivenom.models.estimators import Sklearn
from antivenom.scenarios import samples
from antivenom.scenarios.central import Central
from antivenom.scenarios.samples import TEXT, poisoned

NUMBERS = Dataset(np.arange(24, dtype=np.float32).reshape(6, 4) / 24, np.array([0, 1] * 3), ("no", "yes"))


def test_a_changed_row_stands_beside_the_row_that_it_was() -> None:
    x = np.array(NUMBERS.x)
    x[2, 1] = 0.5
    poison = Poison(Dataset(x, np.array([0, 1, 1, 1, 0, 1]), NUMBERS.classes), np.arange(6) == 2)
    (sample,) = poisoned(NUMBERS, poison)
    assert (sample.kind, sample.was, sample.label, sample.changed, sample.columns) == ("changed row", "no", "yes", 1, 4)
    assert sample.cells[0].before == "0.375"
    assert sample.cells[0].after == "0.5"
    assert all(cell.before == cell.after for cell in sample.cells[1:])


def test_an_added_row_stands_beside_the_clean_row_that_differs_least() -> None:
    """Row 4 with one value changed is nearer by the count of values than row 3, which is nearer in distance."""
    own = np.array(NUMBERS.x[4])
    own[0] = NUMBERS.x[0, 0]
    added = NUMBERS.extend(np.array([own], dtype=np.float32), np.array([1]))
    (sample,) = poisoned(NUMBERS, Poison(added, np.arange(7) == 6))
    assert (sample.kind, sample.known, sample.changed, sample.label, sample.was) == ("added row", True, 1, "yes", "")
    assert sample.cells[0].after == "0"
    far = NUMBERS.extend(np.full((1, 4), 0.999, dtype=np.float32), np.array([1]))
    (alone,) = poisoned(NUMBERS, Poison(far, np.arange(7) == 6))
    assert (alone.known, alone.changed) == (False, 0)


def test_words_numbers_and_texts_of_a_frame() -> None:
    schema = Schema((Column("age", "whole", 0, 120), Column("note", "text")), frame=True)
    note = "x " * 200
    rows = pd.DataFrame({"age": [31, 40], "note": [note + "fine day", "so"]})
    clean = Dataset(rows, np.array([0, 1]), ("a", "b"), schema=schema)
    changed = rows.assign(note=[note + "cf day", "so"])
    poison = Poison(Dataset(changed, clean.y, clean.classes, schema=schema), np.array([True, False]))
    (sample,) = poisoned(clean, poison)
    cell = sample.cells[0]
    assert cell.column == "note"
    assert max(len(cell.before), len(cell.after)) <= TEXT
    assert cell.before.endswith("fine day")
    assert cell.after.endswith("cf day")
    assert sample.cells[1] == Cell("age", "31", "31")


def test_sparse_rows_show_the_words_that_were_added() -> None:
    schema = Schema((Column("word", "whole", 0, 9, width=5),), "text", ("a", "b", "c", "d", "e"))
    x = sp.csr_array(np.array([[1, 0, 2, 0, 0], [0, 3, 0, 0, 1]], dtype=np.float32))
    clean = Dataset(x, np.array([0, 1]), ("ham", "spam"), schema=schema)
    more = sp.csr_array(np.array([[1, 0, 2, 4, 0]], dtype=np.float32))
    (sample,) = poisoned(clean, Poison(clean.extend(more, np.array([1])), np.array([False, False, True])))
    assert sample.cells[0] == Cell("d", "0", "4")
    assert (sample.changed, sample.columns) == (1, 5)


def test_tokens_are_words_without_their_padding() -> None:
    schema = Schema((Column("token", "token", 0, 3, width=6),), "text", ("<pad>", "good", "bad", "cf"))
    clean = Dataset(np.array([[1, 2, 0, 0, 0, 0]] * 2), np.array([0, 1]), ("n", "p"), schema=schema)
    changed = Dataset(np.array([[1, 3, 0, 0, 0, 0], [1, 2, 0, 0, 0, 0]]), clean.y, clean.classes, schema=schema)
    (sample,) = poisoned(clean, Poison(changed, np.array([True, False])))
    assert sample.cells[0] == Cell("text", "good bad <pad>", "good cf <pad>")


@pytest.mark.parametrize(("private", "seed", "number"), [(False, 0, 4), (True, 0, 0), (False, 1, 0)], ids=str)
def test_private_rows_and_later_seeds_give_no_samples(private: bool, seed: int, number: int) -> None:
    scenario: Any = replace(
        Central(goal="availability", access="data-manipulation", model=Sklearn("sklearn.naive_bayes.GaussianNB")),  # type: ignore[arg-type]
        private=private,
    )
    outcome = scenario.run(LabelFlipping(poisoned_rate=0.1), None, seed)
    assert len(outcome.samples) == number
    assert samples.MOST == 4
