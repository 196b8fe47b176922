"""StingRay by hand: which rows are taken, how much of the target goes into them, and what stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from antivenom.attacks import StingRay
from antivenom.core.errors import AntivenomError, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import Rows
from antivenom.data import Dataset, Poison, Schema
from antivenom.data.schema import Column, ColumnKind
from antivenom.scenarios import guarded

ADDS, CHANGES = "data-injection", "data-manipulation"
Y = np.arange(20) % 2


def struck(attack: Any, data: Dataset, target: Any, access: str = CHANGES, rate: float = 0.5) -> Poison:
    """The poison against targets of class 0 that should be called class 1, after the checks of the scenario."""
    number = target.shape[0]
    aims = Dataset(target, np.zeros(number, dtype=int), data.classes, schema=data.schema)
    wanted = Rows(tuple(range(number)), (1,) * number)
    context = AttackContext(Streams(1), ThreatModel(access, "targeted", max_poisoned_rate=rate), wanted, targets=aims)
    return guarded.data_attack(attack, data, context)


def table() -> Dataset:
    """Row i holds the number i in each of four columns, which may be anything from 0 to 30."""
    schema = Schema((Column("numbers", "whole", 0, 30, width=4),))
    return Dataset(np.repeat(np.arange(20.0)[:, None], 4, axis=1), Y, ("a", "b"), schema=schema)


def test_the_nearest_rows_of_the_wanted_class_take_over_half_of_what_differs() -> None:
    data, target = table(), np.array([[8.0, 8, 8, 9]])
    for access in (ADDS, CHANGES):
        poison = struck(StingRay(3), data, target, access)
        rows, labels = poison.data.x[poison.mask], poison.data.y[poison.mask]
        assert labels.tolist() == [1, 1, 1]
        assert sorted((row == aim).sum() for row, aim in zip(rows, np.repeat(target, 3, axis=0), strict=True)) == [
            2,
            2,
            3,
        ]
        assert {int(value) for value in rows.ravel()} == {7, 8, 9, 11}
    assert np.flatnonzero(poison.mask).tolist() == [7, 9, 11]
    assert np.array_equal(poison.data.y, data.y)


def test_a_whole_share_is_a_copy_and_several_targets_never_share_a_row() -> None:
    target = np.array([[8.0, 8, 8, 8], [8, 8, 8, 10]])
    poison = struck(StingRay(4, share=1.0), table(), target)
    assert poison.mask.sum() == 8
    changed = {tuple(row) for row in poison.data.x[poison.mask].tolist()}
    assert changed == {tuple(row) for row in target.tolist()}
    assert struck(StingRay(20), table(), target, rate=1.0).mask.sum() == 10  # all rows of the class, each once
    assert struck(StingRay(20), table(), target, ADDS, rate=1.0).mask.sum() == 20
    assert struck(StingRay(20), table(), target, rate=0.05).mask.sum() == 0  # one row is not enough for two targets


def test_sparse_rows_and_images_and_tokens() -> None:
    dense = table().x
    for x, schema in (
        (sp.csr_array(dense), Schema.words("abcd")),
        (dense.reshape(20, 1, 2, 2) / 20, None),
        (
            dense.astype(np.int64),
            Schema((Column("token", ColumnKind.TOKEN, 0, 29, width=4),), "text", tuple(map(str, range(30)))),
        ),
    ):
        data = Dataset(x, Y, ("a", "b"), schema=schema)
        poison = struck(StingRay(3, share=0.5), data, x[[8]])
        before, after = ((part.toarray() if sp.issparse(part) else part).reshape(20, 4) for part in (x, poison.data.x))
        assert poison.mask.sum() == 3
        assert (before[poison.mask] != after[poison.mask]).sum(axis=1).tolist() == [2, 2, 2]
        aim = before[[8]]
        assert ((after == before) | (after == aim)).all()


def test_columns_that_the_attacker_cannot_write_stay_and_missing_cells_are_cells() -> None:
    frame = pd.DataFrame(
        {
            "age": np.arange(20) + 20,
            "pay": np.where(np.arange(20) % 5 == 0, np.nan, 1.5),
            "job": np.where(Y == 1, "cook", "smith"),
            "fixed": np.where(Y == 1, "x", "y"),
        }
    )
    schema = Schema(
        (
            Column("age", "whole", 0, 99),
            Column("pay", missing=True, low=0, high=9),
            Column("job", "category", categories=("cook", "smith")),
            Column("fixed", "category", categories=("x", "y"), editable=False),
        ),
        frame=True,
    )
    data = Dataset(frame, Y, ("a", "b"), schema=schema)
    target = frame.iloc[[10]].reset_index(drop=True)  # its pay is missing
    poison = struck(StingRay(5, share=1.0), data, target)
    changed = poison.data.x[poison.mask]
    assert set(changed["age"]) == {30}
    assert changed["pay"].isna().all()
    assert set(changed["job"]) == {"smith"}
    assert set(changed["fixed"]) == {"x"}  # of the rows, not of the target
    assert changed.dtypes.equals(frame.dtypes)


def test_a_text_keeps_its_words_and_gets_a_run_of_the_targets() -> None:
    texts = [f"good film {i} about cats" if y else f"bad film {i} about dogs" for i, y in enumerate(Y)]
    data = Dataset(
        pd.DataFrame({"text": texts}),
        Y,
        ("a", "b"),
        schema=Schema((Column("text", ColumnKind.TEXT),), "text", frame=True),
    )
    words = ["a", "bad", "night", "about", "cats"]
    poison = struck(StingRay(6, share=0.5), data, pd.DataFrame({"text": [" ".join(words)]}))
    for row in np.flatnonzero(poison.mask):
        assert Y[row] == 1
        text = poison.data.x["text"].iloc[row]
        assert text.startswith(texts[row] + " ")
        assert text.removeprefix(texts[row] + " ") in " ".join(words + words)
        assert len(text.removeprefix(texts[row]).split()) == 3


def test_what_it_refuses() -> None:
    for wrong in ({"poisons": 0}, {"share": 0.0}, {"share": 1.5}):
        with pytest.raises(PluginError, match="StingRay"):
            StingRay(**wrong)  # type: ignore[arg-type]
    with pytest.raises(AntivenomError, match="training rows of the wanted class 1"):
        struck(StingRay(), table()[Y == 0], np.array([[8.0, 8, 8, 9]]))
