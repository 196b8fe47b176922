"""Kinds and ranges of columns: what is inferred, what encode and decode do, and which rows are refused."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from antivenom.core.errors import DataError, NotApplicable, ThreatError
from antivenom.core.streams import Streams
from antivenom.data import Column, ColumnKind, Dataset, Schema, check_allowed, fingerprint, source_of

FRAME = pd.DataFrame(
    {
        "age": [30, 40, 50, 60],
        "income": [1.5, 2.5, np.nan, 5.5],
        "job": ["clerk", "nurse", "clerk", None],
        "smokes": [True, False, True, False],
    }
)
MIXED = Dataset(FRAME, ["no", "yes", "no", "yes"], ("no", "yes"), "people")
COUNTS = Column("visits", ColumnKind.WHOLE, 0, 9)
COLOUR = Column("colour", ColumnKind.CATEGORY, categories=("red", "green", "blue"))
TABLE = Schema((Column("flag", ColumnKind.BINARY), COUNTS, COLOUR, Column("share", ColumnKind.REAL, 0, 1)))


def test_kinds_and_ranges_are_inferred_from_the_values() -> None:
    x = np.array([[0, 3, 0.5, -2.5, 1], [1, 0, 0.25, 7, 1], [1, 5, 1, 0, 1]])
    kinds = [(c.kind, c.low, c.high) for c in Schema.of(x).columns]
    inf = np.inf
    real, unit = (ColumnKind.REAL, -inf, inf), (ColumnKind.REAL, 0, 1)
    # The last column never varies and the others disagree about what they are.
    assert kinds == [(ColumnKind.BINARY, 0, 1), (ColumnKind.WHOLE, 0, inf), unit, real, unit]


def test_a_sparse_table_is_of_one_kind() -> None:
    # The second word occurs once at most in these texts, and is counted all the same.
    for x, kind, low in (
        ([[0, 1], [1, 1]], ColumnKind.BINARY, 0),
        ([[3, 1], [0, 0]], ColumnKind.WHOLE, 0),
        ([[0.5, 1], [0, 0]], ColumnKind.REAL, -np.inf),
    ):
        (column,) = Schema.of(sp.csr_array(np.array(x, dtype=float))).columns
        assert (column.kind, column.low, column.width) == (kind, low, 2)


def test_a_constant_column_is_as_the_others_agree() -> None:
    assert [c.kind for c in Schema.of(np.array([[0.0, 1], [0, 0]])).columns] == [ColumnKind.BINARY]
    assert Schema.of(np.array([[0.0, 0.5], [0, 0.7]])).columns[0].kind is ColumnKind.REAL


def test_neighbours_that_are_alike_are_one_block() -> None:
    schema = Schema.of(np.eye(500))
    assert [(c.kind, c.width) for c in schema.columns] == [(ColumnKind.BINARY, 500)]
    assert schema.size == 500


def test_images_keep_the_range_they_have() -> None:
    assert Schema.of(np.zeros((2, 1, 3, 3))).columns == (Column("pixel", ColumnKind.PIXEL, 0, 1, width=9),)
    assert Schema.of(np.full((2, 1, 3, 3), -2.0)).columns[0].low == -np.inf


def test_decode_gives_the_nearest_row_that_is_allowed() -> None:
    points = np.array([[0.5, 3.5, 0.2, 0.9, 0.3, -1], [0.49, 99, 1, 1, 1, 0.25], [7, -3, -1, -2, -0.5, 2]])
    wanted = [[1, 4, 0, 1, 0, 0], [0, 9, 1, 0, 0, 0.25], [1, 0, 0, 0, 1, 1]]
    assert TABLE.decode(points).tolist() == wanted
    assert TABLE.allows(points).tolist() == [False] * 3
    assert TABLE.allows(TABLE.decode(points)).all()
    assert np.array_equal(TABLE.decode(sp.csr_array(points)).toarray(), wanted)


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6), min_size=1, max_size=5))
def test_every_point_decodes_to_an_allowed_row_and_stays_there(points: list[list[float]]) -> None:
    found = TABLE.decode(np.array(points))
    assert TABLE.allows(found).all()
    assert np.array_equal(TABLE.decode(found), found)


def test_sparse_rows_decode_without_becoming_dense() -> None:
    schema = Schema.words(["a", "b", "c"])
    rows = schema.decode(sp.csr_array(np.array([[0.4, 0, 2.6], [-1, 0, 0]])))
    assert rows.toarray().tolist() == [[0, 0, 3], [0, 0, 0]]
    assert rows.nnz == 1
    assert Schema.words(["a", "b"], binary=True).allows(sp.csr_array([[1.0, 0], [2, 0]])).tolist() == [True, False]


def test_columns_that_nobody_can_write_keep_their_values() -> None:
    schema = dataclasses.replace(TABLE, columns=(dataclasses.replace(COUNTS, editable=False), COLOUR))
    base = np.array([[3.0, 1, 0, 0]])
    assert schema.decode(np.array([[8, 0, 0, 1.0]]), base).tolist() == [[3, 0, 0, 1]]
    sparse = Schema((Column("word", ColumnKind.WHOLE, 0, editable=False), Column("other", ColumnKind.WHOLE, 0)))
    found = sparse.decode(sp.csr_array([[5.0, 2]]), sp.csr_array([[1.0, 0]]))
    assert found.toarray().tolist() == [[1, 2]]


def test_a_frame_is_encoded_from_zero_to_one_and_comes_back() -> None:
    # age from 30 to 60; income from 1.5 to 5.5, median 2.5, and its flag; job "", clerk, nurse; smokes
    wanted = [
        [0, 0, 0, 0, 1, 0, 1],
        [1 / 3, 0.25, 0, 0, 0, 1, 0],
        [2 / 3, 0.25, 1, 0, 1, 0, 1],
        [1, 1, 0, 1, 0, 0, 0],
    ]
    np.testing.assert_allclose(MIXED.flat, wanted, atol=1e-6)
    assert MIXED.encoded.columns.allows(MIXED.encoded.x).all()
    back = MIXED.decoded(MIXED.flat)
    assert MIXED.columns.allows(back).all()
    assert back["age"].tolist() == [30, 40, 50, 60]
    assert back["job"].tolist() == ["clerk", "nurse", "clerk", ""]
    assert np.isnan(back["income"][2])


def test_only_cells_that_changed_change_in_a_frame() -> None:
    moved = MIXED.flat.copy()
    moved[1, 0], moved[3, 4:6] = 0.351, (0.2, 0.9)  # 30 + 30 * 0.351 = 40.53 is nearest to 41
    found = MIXED.with_encoded(moved)
    assert found.x["age"].tolist() == [30, 41, 50, 60]
    assert found.x["job"].tolist() == ["clerk", "nurse", "clerk", ""]  # "" has 1, more than nurse's 0.9
    assert found.x["income"].equals(MIXED.x["income"])
    assert (found.x.dtypes == MIXED.x.dtypes).all()
    some = MIXED.with_encoded(moved[[1]], np.array([1]))
    assert some.x["age"].tolist() == [30, 41, 50, 60]


def test_frames_are_copied_sliced_extended_pickled_and_hashed() -> None:
    own = FRAME.copy()
    data = Dataset(own, [0, 1, 0, 1], ("no", "yes"))
    own.loc[0, "age"] = 99
    assert data.x["age"][0] == 30
    part = data[np.array([3, 0])]
    assert part.x["age"].tolist() == [60, 30]
    assert part.shape == (4,)
    both = part.extend(data.x.iloc[[1]], np.array([1]))
    assert both.x["age"].tolist() == [60, 30, 40]
    again = pickle.loads(pickle.dumps(data))  # noqa: S301 - our own bytes
    assert fingerprint(source_of(again)) == fingerprint(source_of(data)) != fingerprint(source_of(data[[1, 0, 2, 3]]))
    assert len(source_of((FRAME, ["a", "b", "a", "b"]))(Streams(0)).train) == 2


def test_tokens_are_rows_of_word_numbers_and_not_numbers() -> None:
    schema = Schema.tokens(["<pad>", "good", "bad"], 3)
    data = Dataset(np.array([[1, 2, 0], [2, 2, 1]]), [0, 1], ("pos", "neg"), schema=schema)
    assert data.is_tokens
    assert data.x.dtype == np.int64
    assert data[[1]].x.tolist() == [[2, 2, 1]]
    assert data.decoded(np.array([[0.6, 9, -1]])).tolist() == [[1, 2, 0]]
    with pytest.raises(NotApplicable, match="word counts of the same text"):
        _ = data.flat
    with pytest.raises(DataError, match="token numbers from 0 to 2, got 1 to 3"):
        Dataset(np.array([[1, 2, 3]]), [0], ("pos", "neg"), schema=schema)


def test_bytes_and_channels_last_are_converted() -> None:
    pixels = np.arange(2 * 6 * 5 * 3, dtype=np.uint8).reshape(2, 6, 5, 3)
    data = Dataset(pixels, [0, 1], ("a", "b"))
    assert data.shape == (3, 6, 5)
    assert data.x[1, 2, 3, 4] == np.float32(pixels[1, 3, 4, 2] / 255)
    assert Dataset(pixels[..., 0], [0, 1], ("a", "b")).shape == (1, 6, 5)
    assert Dataset(np.zeros((2, 6, 5, 3)), [0, 1], ("a", "b")).shape == (3, 6, 5)
    assert Dataset(np.zeros((2, 3, 6, 4)), [0, 1], ("a", "b")).shape == (3, 6, 4)


def test_labels_that_are_words_are_numbered_by_class() -> None:
    assert MIXED.y.tolist() == [0, 1, 0, 1]
    named = Dataset.from_arrays(np.zeros((3, 1)), np.array(["ham", "spam", "eggs"]))
    assert named.classes == ("eggs", "ham", "spam")  # sorted
    assert named.y.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([2, 1, 1, 0, 0, 0], r"row 3: flag = 2, not 0 or 1 \(1 such rows\)"),
        ([1, 1.5, 1, 0, 0, 0], "visits = 1.5, not a whole number from 0 to 9"),
        ([1, 10, 1, 0, 0, 0], "visits = 10, not a whole number from 0 to 9"),
        ([1, 1, 1, 1, 0, 0], "colour = .*, not one of its 3 categories"),
        ([1, 1, 0, 0, 0, 0], "colour = .*, not one of its 3 categories"),
        ([1, 1, 0, 1, 0, 1.01], "share = 1.01, not a number from 0 to 1"),
    ],
)
def test_poison_that_no_row_could_be_is_refused(row: list[float], says: str) -> None:
    clean = Dataset(TABLE.decode(np.random.default_rng(0).random((3, 6))), [0, 1, 0], ("a", "b"), schema=TABLE)
    poisoned = clean.extend(np.array([row]), np.array([1]))
    check_allowed(clean, poisoned, np.zeros(4, dtype=bool))
    for form in (lambda d: d, lambda d: dataclasses.replace(d, x=sp.csr_array(d.x))):
        with pytest.raises(ThreatError, match=says) as caught:
            check_allowed(form(clean), form(poisoned), np.arange(4) == 3)
        assert "\n" not in str(caught.value)


def test_poison_in_a_frame_is_checked_too() -> None:
    for column, value, says in (
        ("job", "astronaut", "job = 'astronaut', not one of its 3 categories"),
        ("age", 61, "age = .*61.*, not a whole number from 30 to 60"),
    ):
        frame = MIXED.x.copy()
        frame.loc[0, column] = value
        poisoned = dataclasses.replace(MIXED, x=frame)
        with pytest.raises(ThreatError, match=says):
            check_allowed(MIXED, poisoned, np.arange(4) == 0)


def test_writing_a_closed_column_is_refused() -> None:
    schema = Schema((Column("id", editable=False), Column("value")))
    clean = Dataset(np.zeros((2, 2)), [0, 1], ("a", "b"), schema=schema)
    fine, wrong = np.array([[0, 5.0], [0, 0]]), np.array([[5.0, 0], [0, 0]])
    check_allowed(clean, dataclasses.replace(clean, x=fine), np.array([True, False]))
    with pytest.raises(ThreatError, match="unchanged columns id"):
        check_allowed(clean, dataclasses.replace(clean, x=wrong), np.array([True, False]))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Dataset(np.zeros((2, 5)), [0, 1], ("a", "b"), schema=TABLE), "6 columns, as the schema says, got 5"),
        (lambda: Dataset(FRAME, [0, 1, 0, 1], ("a", "b"), schema=TABLE), "an array, as the schema says, got DataFrame"),
        (lambda: Dataset.from_arrays(np.zeros((2, 6)), [0, 1], schema=TABLE), "row 0: colour = .* categories"),
        (lambda: Dataset(FRAME[["job", "age"]], [0] * 4, ("a",), schema=MIXED.columns), "the columns age, income"),
        (lambda: MIXED.columns.encode(FRAME.assign(job="astronaut")), "3 categories of column job .*'astronaut' in row 0"),
        (lambda: Dataset(FRAME, ["no", "maybe", "no", "no"], ("no", "yes")), "labels among no, yes, got 'maybe'"),
        (lambda: Schema((Column("a"), Column("a"))), "'a' twice"),
        (lambda: Column("a", ColumnKind.REAL, 2, 1), "low <= high"),
        (lambda: Column("a", ColumnKind.CATEGORY), "categories in a category column"),
        (lambda: Schema(()  , "smell"), "modality: table, image, text, audio, got 'smell'"),
        (lambda: Schema.of(pd.DataFrame({"when": pd.to_datetime(["2030-01-01"])})), "numbers or words in column when"),
        (lambda: Schema.of(pd.DataFrame({"far": [np.inf, 1.0]})), "finite numbers in column far, got infinite ones"),
    ],
)  # fmt: skip
def test_rows_and_schemas_that_disagree_are_told_so_in_one_line(make, says) -> None:
    with pytest.raises(DataError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_column_without_any_number_is_encoded_as_missing() -> None:
    rows = pd.DataFrame({"empty": [np.nan, np.nan], "age": [1.0, 2.0]})
    schema = Schema.of(rows)
    assert schema.encode(rows).tolist() == [[0, 1, 0], [0, 1, 1]]
    assert schema.decode(schema.encode(rows))["empty"].isna().all()
    assert schema.allows(rows).all()
