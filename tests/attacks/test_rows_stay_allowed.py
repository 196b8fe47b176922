"""Every row that an attack makes is one that the schema allows, and no attack writes a closed column."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from antivenom.attacks import (
    AdversarialPoison,
    BackGradient,
    ClassMeanShift,
    DictionaryAttack,
    FlippedPoints,
    InfluenceAttack,
    KKTAttack,
    LabelFlipping,
    MinMax,
    RegressionPoisoning,
    StatP,
    SubpopulationAttack,
    SVMPoisoning,
)
from antivenom.attacks.availability.ascent import Ascent
from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, ThreatModel
from antivenom.data import Column, ColumnKind, Dataset, Schema, check_allowed
from antivenom.models.architectures import Logistic
from antivenom.models.training import Training
from antivenom.scenarios.grants import enforce

N = 60
SHORT = Ascent(steps=4, step=0.3)
SCHEMAS = {
    "zeros and ones": Schema((Column("flag", ColumnKind.BINARY, width=8),)),
    "one-hot": Schema(
        tuple(Column(name, ColumnKind.CATEGORY, categories=("a", "b", "c", "d")) for name in ("first", "second"))
    ),
    "counts": Schema((Column("count", ColumnKind.WHOLE, 0, 9, width=8),)),
    "ranges": Schema((Column("number", ColumnKind.REAL, 0, 1, width=8),)),
}
ADDING = [
    SVMPoisoning(poisoned_rate=0.1, ascent=SHORT),
    SVMPoisoning(poisoned_rate=0.05, kernel="rbf", ascent=SHORT),
    BackGradient(poisoned_rate=0.1, steps=10, ascent=SHORT),
    KKTAttack(gammas=(0.65,), repeats=(4,), rounds=1, poisoned_rate=0.1),
    KKTAttack(gammas=(0.65,), repeats=(4,), rounds=1, poisoned_rate=0.1, integer=False),
    InfluenceAttack(steps=2, refresh=1, poisoned_rate=0.1),
    MinMax(steps=20, poisoned_rate=0.1),
    MinMax(steps=20, poisoned_rate=0.1, rounding="random"),
    FlippedPoints(),
    SubpopulationAttack(clusters=3),
    DictionaryAttack(poisoned_rate=0.1),
]
CHANGING = [
    ClassMeanShift(epsilon=0.4),
    AdversarialPoison(epsilon=0.4, steps=2, training=Training(epochs=1)),
    LabelFlipping(poisoned_rate=0.3),
]


def table(schema: Schema, closed: bool = False) -> Dataset:
    """Rows of two classes that differ, as the schema allows them; with `closed`, nobody can write the first column."""
    rng = np.random.default_rng(3)
    y = np.arange(N) % 2
    scale = 6 if schema is SCHEMAS["counts"] else 1
    x = schema.decode(scale * (0.6 * rng.random((N, schema.size)) + 0.4 * (y[:, None] == np.arange(schema.size) % 2)))
    if closed:
        first, *others = schema.columns
        columns = (dataclasses.replace(first, editable=False), *others)
        if first.width > 1:
            fixed, free = Column("fixed", first.kind, first.low, first.high, editable=False), first
            columns = (fixed, dataclasses.replace(free, width=first.width - 1))
        schema = dataclasses.replace(schema, columns=columns)
    return Dataset(x, y, ("no", "yes"), "table", schema=schema)


def attacked(attack: object, data: Dataset) -> Dataset:
    access = Access.DATA_INJECTION if attack in ADDING or data.is_regression else Access.DATA_MANIPULATION
    threat = ThreatModel(access, Goal.AVAILABILITY)
    poison = attack(data, AttackContext(Streams(0), threat))  # type: ignore[operator]
    enforce(threat, data, poison)
    assert poison.mask.any()
    return poison.data


@pytest.mark.parametrize("form", SCHEMAS)
@pytest.mark.parametrize("attack", ADDING, ids=lambda a: f"{type(a).__name__}")
def test_added_rows(attack: object, form: str) -> None:
    data = table(SCHEMAS[form])
    after = attacked(attack, data)
    assert data.columns.allows(after.x).all()


@pytest.mark.parametrize("form", ["zeros and ones", "one-hot", "ranges"])
@pytest.mark.parametrize("attack", CHANGING, ids=lambda a: f"{type(a).__name__}")
def test_changed_rows(attack: object, form: str) -> None:
    data = table(SCHEMAS[form])
    assert data.columns.allows(attacked(attack, data).x).all()


@pytest.mark.parametrize("form", SCHEMAS)
@pytest.mark.parametrize("attack", [SVMPoisoning(poisoned_rate=0.1, ascent=SHORT), ADDING[3], ADDING[6]], ids=str)
def test_added_rows_have_the_closed_columns_of_clean_ones(attack: object, form: str) -> None:
    data = table(SCHEMAS[form], closed=True)
    after = attacked(attack, data)
    closed = np.flatnonzero(~data.columns.editable)
    clean = {tuple(row) for row in data.x[:, closed].tolist()}
    assert {tuple(row) for row in after.x[N:, closed].tolist()} <= clean
    assert data.columns.allows(after.x).all()


@pytest.mark.parametrize("attack", [CHANGING[0], CHANGING[1]], ids=lambda a: f"{type(a).__name__}")
def test_changed_rows_keep_their_closed_columns(attack: object) -> None:
    data = table(SCHEMAS["ranges"], closed=True)
    after = attacked(attack, data)
    assert np.array_equal(after.x[:, 0], data.x[:, 0])
    assert not np.array_equal(after.x[:, 1:], data.x[:, 1:])


@pytest.mark.parametrize("attack", [RegressionPoisoning(steps=5), StatP()], ids=lambda a: f"{type(a).__name__}")
@pytest.mark.parametrize("form", SCHEMAS)
def test_regression(attack: object, form: str) -> None:
    data = table(SCHEMAS[form])
    data = dataclasses.replace(data, y=data.flat @ np.arange(8.0), classes=())
    assert data.columns.allows(attacked(attack, data).x).all()


@pytest.mark.parametrize("attack", [ADDING[3], ADDING[5], ADDING[6], FlippedPoints()], ids=lambda a: type(a).__name__)
def test_sparse_counts_and_presence(attack: object) -> None:
    for form in ("zeros and ones", "counts"):
        data = table(SCHEMAS[form])
        data = dataclasses.replace(data, x=sp.csr_array(data.x))
        after = attacked(attack, data)
        assert after.is_sparse
        assert data.columns.allows(after.x).all()


MIXED = [
    SVMPoisoning(poisoned_rate=0.1, ascent=SHORT),
    BackGradient(poisoned_rate=0.1, steps=10, learner=Logistic(), ascent=SHORT),
    ADDING[4],
    MinMax(steps=20, poisoned_rate=0.1),
    FlippedPoints(),
    SubpopulationAttack(clusters=3),
]


def people() -> Dataset:
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2
    frame = pd.DataFrame(
        {
            "age": rng.integers(20, 60, N) + 5 * y,
            "income": np.where(np.arange(N) % 9 == 0, np.nan, rng.random(N) * 1000 + 300 * y),
            "job": np.array(["clerk", "nurse", "driver"])[rng.integers(0, 3, N)],
            "smokes": rng.random(N) < 0.5,
        }
    )
    return Dataset(frame, y, ("no", "yes"), "people")


@pytest.mark.parametrize("attack", [*MIXED, *CHANGING], ids=lambda a: f"{type(a).__name__}")
def test_frames_go_through_their_encoding_and_back(attack: object) -> None:
    data = people()
    threat = ThreatModel(Access.DATA_INJECTION if attack in MIXED else Access.DATA_MANIPULATION, Goal.AVAILABILITY)
    poison = attack(data, AttackContext(Streams(0), threat))  # type: ignore[operator]
    enforce(threat, data, poison)
    assert poison.mask.any()
    assert poison.data.is_frame
    assert (poison.data.x.dtypes == data.x.dtypes).all()
    check_allowed(data, poison.data, np.ones(len(poison.data), dtype=bool))


@pytest.mark.parametrize("attack", [*ADDING[:7], CHANGING[0]], ids=lambda a: type(a).__name__)
def test_token_rows_are_refused_clearly(attack: object) -> None:
    schema = Schema.tokens(["<pad>", "good", "bad"], 4)
    rows = np.random.default_rng(0).integers(0, 3, (N, 4))
    data = Dataset(rows, np.arange(N) % 2, ("a", "b"), "mails", schema=schema)
    threat = ThreatModel(Access.DATA_INJECTION, Goal.AVAILABILITY)
    with pytest.raises(NotApplicable, match=r"rows of numbers, got token rows \(mails\): use the word counts"):
        attack(data, AttackContext(Streams(0), threat))  # type: ignore[operator]
