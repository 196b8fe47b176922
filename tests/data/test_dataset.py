"""Dataset and Poison: values that nobody can change, and that refuse what cannot be trained on."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from antivenom.core.errors import DataError
from antivenom.data import Dataset, Poison

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 2, 0, 1, 2])
ABC = ("a", "b", "c")


@pytest.fixture
def data() -> Dataset:
    return Dataset(X, Y, ABC)


def refused(says: str, *arguments: object) -> None:
    with pytest.raises(DataError, match=says) as caught:
        Dataset(*arguments)  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1


def with_value(value: float) -> np.ndarray:
    x = X.copy()
    x[[1, 4], 0] = value
    return x


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_features_that_are_not_finite_in_float32_are_counted_and_refused(value):
    refused("NaN or infinity in 2 of 6 rows: drop or impute", with_value(value), Y, ABC)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X, Y[:5]),
        (X[:5], Y),
        (X[:, 0], Y),
        (np.float32(1.0), Y),
        (X, Y.reshape(6, 1)),
        (X, np.int64(3)),
        (X, np.eye(6)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, y):
    refused("one label per row", x, y, ABC)


@pytest.mark.parametrize(
    ("y", "says"),
    [
        ([0, 1, 2, 0, 1, 3], "labels from 0 to 2, got 0 to 3"),
        ([0, 1, 2, 0, 1, -1], "labels from 0 to 2, got -1 to 2"),
        ([0, 1, 2, 0, 1, 0.5], "fractions"),
        ([0, 1, 2, 0, 1, np.nan], "NaN"),
        ([0, 1, 2, 0, 1, np.inf], "infinity"),
        (list("abdabd"), "labels among a, b, c, got 'd'"),
        ([None] * 6, "labels among a, b, c, got 'None'"),
        ([1j] * 6, "labels of type complex"),
    ],
)
def test_wrong_labels_are_refused(y, says):
    refused(says, X, np.array(y), ABC)


def test_what_is_no_table_of_numbers_is_refused():
    refused("arrays of numbers", [["red", "green"]], [0], ABC)
    refused("arrays of numbers", [[1.0], [1.0, 2.0]], [0, 0], ABC)
    refused("arrays of numbers", X, [[0], [0, 1]], ABC)


def test_without_classes_the_labels_are_numbers_to_predict():
    data = Dataset(X, Y / 2, ())
    assert data.is_regression
    assert data.y.dtype == np.float64
    assert data.y.tolist() == [0, 0.5, 1, 0, 0.5, 1]
    with pytest.raises(DataError, match="rows with classes"):
        _ = data.num_classes
    refused("finite numbers to predict", X, np.array([0, 1, 2, 0, 1, np.nan]), ())
    refused("finite numbers to predict", X, np.array(list("abcabc")), ())


@pytest.mark.parametrize("y", [Y.astype(float), Y.astype(np.uint8), Y.tolist(), torch.tensor(Y)])
def test_whole_numbers_of_any_type_are_labels(y):
    data = Dataset(X, y, ABC)
    assert data.y.dtype == np.int64
    assert data.y.tolist() == Y.tolist()


def test_true_and_false_are_labels():
    assert Dataset(X[:2], np.array([True, False]), ("no", "yes")).y.tolist() == [1, 0]


def test_the_arrays_are_read_only(data):
    for array in (data.x, data.y, data[:3].x, data[np.array([0, 2])].x, data.extend(X, Y).y):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(FrozenInstanceError):
        data.x = X


def test_copies_are_read_only_too(data):
    for twin in (copy.copy(data), copy.deepcopy(data), pickle.loads(pickle.dumps(data)), replace(data, name="b")):  # noqa: S301
        assert not twin.x.flags.writeable
        assert not twin.y.flags.writeable
        assert np.array_equal(twin.x, data.x)
        assert twin.classes == ABC


def test_the_callers_arrays_stay_the_callers():
    """They stay writable, and writing into them does not reach the data."""
    x, y = X.astype(np.float32), Y.astype(np.int64)
    for data in (Dataset(x, y, ABC), Dataset.from_arrays(x, y)):
        x[0], y[0] = 99, 2
        assert data.x[0].tolist() == [0, 1]
        assert data.y[0] == 0
        x[0], y[0] = [0, 1], 0


def test_a_read_only_array_is_not_copied(data):
    assert replace(data, name="other").x is data.x
    assert np.shares_memory(data[2:4].x, data.x)


@given(st.lists(st.integers(0, 5), max_size=8))
def test_rows_are_named_by_index_mask_or_slice(rows):
    data = Dataset(X, Y, ABC)
    picked = data[np.array(rows, dtype=int)]
    assert picked.x.tolist() == X[rows].tolist() if rows else len(picked) == 0
    mask = np.isin(np.arange(6), rows)
    assert data[mask].y.tolist() == Y[mask].tolist()
    assert picked.classes == data.classes


def test_one_row_is_not_a_data_set(data):
    with pytest.raises(DataError):
        data[3]  # type: ignore[index]


def test_rows_are_appended_at_the_end(data):
    longer = data.extend(np.array([[7, 8]]), np.array([2]))
    assert len(longer) == 7
    assert longer.x[-1].tolist() == [7, 8]
    assert longer[:6].x.tolist() == X.tolist()
    assert len(data) == 6
    with pytest.raises(DataError, match=r"rows of shape \(2,\), got \(3,\)"):
        data.extend(np.ones((1, 3)), np.array([0]))
    with pytest.raises(DataError, match="labels from 0 to 2"):
        data.extend(np.ones((1, 2)), np.array([3]))
    with pytest.raises(DataError, match="NaN"):
        data.extend(np.full((1, 2), np.nan), np.array([0]))


def test_shape_and_kind(data):
    image = Dataset(np.zeros((2, 3, 4, 5)), np.zeros(2), ABC)
    assert (data.shape, data.is_image, data.num_classes) == ((2,), False, 3)
    assert (image.shape, image.is_image) == ((3, 4, 5), True)


def test_from_arrays_names_the_classes():
    assert Dataset.from_arrays(X, Y).classes == ("0", "1", "2")
    assert Dataset.from_arrays(X, Y, ["x", "y", "z"]).classes == ("x", "y", "z")  # type: ignore[arg-type]
    assert Dataset.from_arrays(np.zeros((0, 2)), np.zeros(0)).classes == ("0",)
    with pytest.raises(DataError, match="infinity"):
        Dataset.from_arrays(X, np.where(Y == 2, np.inf, Y))


def test_no_poison_is_an_empty_mask(data):
    assert Poison.none(data).mask.tolist() == [False] * 6
    assert Poison.none(data).wanted is None


@pytest.mark.parametrize(
    "mask", [np.zeros(5, dtype=bool), np.zeros((6, 1), dtype=bool), np.array([0, 1, 2, 3, 4, 5]), np.zeros(6), True]
)
def test_a_mask_is_one_flag_per_row(data, mask):
    with pytest.raises(DataError, match="one flag per row"):
        Poison(data, mask)


def test_a_mask_belongs_to_the_poison_alone(data):
    mask = np.zeros(6, dtype=bool)
    poison = Poison(data, mask)
    mask[0] = True
    assert not poison.mask.any()
    with pytest.raises(ValueError, match="read-only"):
        poison.mask[0] = True


# --- sparse rows, groups ---------------------------------------------------------------------------------------------


@pytest.fixture
def sparse() -> Dataset:
    return Dataset(sp.coo_matrix(X), Y, ABC, groups=np.array([0, 0, 1, 1, 2, 2]))


def test_sparse_rows_are_kept_as_read_only_csr(sparse):
    assert sparse.is_sparse
    assert isinstance(sparse.x, sp.csr_array)
    assert sparse.x.dtype == np.float32
    assert sparse.shape == (2,)
    with pytest.raises(ValueError, match="read-only"):
        sparse.x.data[0] = 1
    assert np.array_equal(sparse.flat.toarray(), X)


def test_a_sparse_original_can_be_written_without_effect():
    rows = sp.csr_array(X.astype(np.float32))
    data = Dataset(rows, Y, ABC)
    rows.data[:] = 0
    assert np.array_equal(data.x.toarray(), X)


def test_entries_given_twice_are_added_once():
    rows = sp.coo_array((np.ones(2), ([0, 0], [1, 1])), shape=(6, 2))
    assert Dataset(rows, Y, ABC).x.toarray()[0].tolist() == [0, 2]


def test_sparse_rows_are_never_made_dense_silently(sparse):
    with pytest.raises(DataError, match="expected dense rows, got sparse ones"):
        _ = sparse.dense
    with pytest.raises(DataError, match="expected sparse rows, got dense"):
        sparse.extend(X[:1], Y[:1])
    with pytest.raises(DataError, match="expected dense rows, got sparse"):
        Dataset(X, Y, ABC).extend(sp.csr_array(X[:1]), Y[:1])


@pytest.mark.parametrize("rows", [np.array([3, 1, 1]), Y == 2, slice(1, 4), np.array([], dtype=int)])
def test_sparse_rows_are_taken_and_appended_as_dense_ones_are(sparse, rows):
    dense = Dataset(X, Y, ABC)
    assert np.array_equal(sparse[rows].x.toarray(), dense[rows].x)
    longer = sparse.extend(sparse[rows].x, sparse.y[rows])
    assert np.array_equal(longer.x.toarray(), dense.extend(dense.x[rows], dense.y[rows]).x)
    assert longer.groups.tolist() == [0, 0, 1, 1, 2, 2] + [3] * len(sparse[rows])


def test_sparse_features_that_are_not_finite_are_counted():
    refused("NaN or infinity in 2 of 6 rows", sp.csr_array(with_value(np.nan)), Y, ABC)


def test_groups_are_one_whole_number_per_row():
    for wrong in (np.zeros(5, int), np.zeros(6), np.array(list("abcdef"))):
        refused("groups: a whole number per row", X, Y, ABC, "data", wrong)


def test_a_sparse_data_set_survives_a_pickle_read_only(sparse):
    again = pickle.loads(pickle.dumps(sparse))  # noqa: S301 - our own bytes
    assert np.array_equal(again.x.toarray(), X)
    assert not again.x.data.flags.writeable
    assert again.groups.tolist() == sparse.groups.tolist()
