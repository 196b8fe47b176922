"""Whatever a user gives as data becomes a source, with a fingerprint that follows the bytes."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from antivenom.core.errors import DataError, PluginError
from antivenom.core.registry import describe, source
from antivenom.core.streams import Streams
from antivenom.data import DATASETS, Dataset, Memory, Named, PythonSource, Split, fingerprint, load, source_of
from antivenom.scenarios.central import Central
from antivenom.scenarios.federated import Federated
from antivenom.scenarios.membership import Membership
from antivenom.scenarios.transfer import Transfer

X, Y = np.arange(40, dtype=np.float32).reshape(20, 2), np.arange(20) % 2
ROWS = Dataset(X, Y, ("even", "odd"), "mine")


def rows() -> tuple[np.ndarray, np.ndarray]:
    return X, Y


def rows_by_seed(streams: Streams) -> Split:
    order = streams.numpy("own").permutation(20)
    return Split(ROWS[order[:15]], ROWS[order[15:]])


def nothing_useful() -> list[int]:
    return [1]


def breaks() -> None:
    raise KeyError("column")


def test_a_name_is_the_named_set_and_stays_a_name_in_records() -> None:
    assert source_of("digits") == Named("digits") == source_of({"name": "Named", "dataset": "digits"})
    assert describe(Central())["data"] == "digits"
    assert np.array_equal(source_of("digits")(Streams(3)).test.x, load("digits", Streams(3)).test.x)


@pytest.mark.parametrize(
    "value",
    [ROWS, (X, Y), f"{__name__}:rows", rows, {"name": "PythonSource", "function": f"{__name__}:rows"}],
    ids=["dataset", "arrays", "address", "function", "mapping"],
)
def test_rows_are_split_by_the_seed_class_by_class(value: object) -> None:
    split = source_of(value)(Streams(5))
    assert (len(split.train), len(split.test)) == (14, 6)  # 0.3 of 10 rows, in each of two classes
    assert np.bincount(split.test.y).tolist() == [3, 3]
    together = np.concatenate([split.train.x, split.test.x])
    assert np.array_equal(together[np.argsort(together[:, 0])], X)
    again, other = source_of(value)(Streams(5)), source_of(value)(Streams(6))
    assert np.array_equal(split.test.x, again.test.x)
    assert not np.array_equal(split.test.x, other.test.x)


def test_a_split_stays_as_it_is() -> None:
    split = Split(ROWS[:15], ROWS[15:])
    for value in (split, (split.train, split.test)):
        found = source_of(value)(Streams(5))
        assert np.array_equal(found.train.x, X[:15])
        assert np.array_equal(found.test.x, X[15:])


def test_a_function_may_split_by_the_seed_itself() -> None:
    found = PythonSource(f"{__name__}:rows_by_seed")(Streams(1))
    assert len(found.test) == 5


def test_classes_of_one_row_still_leave_test_rows() -> None:
    split = source_of((X[:4], np.arange(4)))(Streams(0))
    assert (len(split.train), len(split.test)) == (3, 1)


@pytest.mark.parametrize("scenario", [Central, Transfer, Federated, Membership])
def test_scenarios_take_data_in_any_form(scenario: type) -> None:
    assert scenario(data="adult").data == Named("adult")
    assert scenario(data=ROWS).data == Memory(ROWS)


def test_a_scenario_runs_on_rows_in_memory() -> None:
    digits = load("digits", Streams(0))
    by_name = Central(data="digits", goal="availability").run(None, None, 0)
    by_value = Central(data=digits, goal="availability").run(None, None, 0)
    assert by_value.metrics == by_name.metrics


def test_a_record_names_rows_in_memory_by_their_fingerprint() -> None:
    memory = Memory(ROWS)
    described = json.loads(json.dumps(describe(memory)))
    assert described == {
        "name": "Memory",
        "data": "mine",
        "test_share": 0.3,
        "fingerprint": memory.fingerprint(),
    }
    assert source_of(described) is memory
    assert pickle.loads(pickle.dumps(memory)) == memory  # noqa: S301 - our own bytes
    with pytest.raises(DataError, match="pass the same rows again"):
        source_of(described | {"fingerprint": "sha256:0"})


@pytest.mark.parametrize(
    "other",
    [
        Dataset(X + np.eye(20, 2, dtype=np.float32), Y, ("even", "odd"), "mine"),
        Dataset(X, 1 - Y, ("even", "odd"), "mine"),
        Dataset(X, Y, ("a", "b"), "mine"),
        Dataset(X.reshape(20, 1, 1, 2), Y, ("even", "odd"), "mine"),
        Dataset(X, Y, ("even", "odd"), "mine", np.zeros(20, dtype=int)),
    ],
    ids=["a cell", "labels", "classes", "shape", "groups"],
)
def test_a_fingerprint_follows_rows_labels_classes_and_groups(other: Dataset) -> None:
    assert fingerprint(Memory(other)) != fingerprint(Memory(ROWS))
    assert fingerprint(Memory(dataclasses.replace(ROWS))) == fingerprint(Memory(ROWS))


@pytest.mark.parametrize("name", [name for name, data in DATASETS.items() if not data.files])
def test_sets_of_scikit_learn_are_hashed_without_importing_it(name: str) -> None:
    code = (
        f"import sys; from antivenom.data import Named; print(Named({name!r}).fingerprint(), 'sklearn' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert answer[0].startswith("sha256:")
    assert answer[1] == "False"


def test_a_source_without_a_fingerprint_is_hashed_by_its_rows(plugins: None) -> None:
    @source(cite="none")
    class Mine:
        """Twenty rows."""

        def __call__(self, streams: Streams) -> Split:
            return rows_by_seed(streams)

    assert fingerprint(Mine()) == fingerprint(Memory(rows_by_seed(Streams(0))))
    assert source_of("Mine") == Mine()
    assert Central(data="Mine").data == Mine()


def test_data_imports_neither_torch_nor_scikit_learn_nor_pandas() -> None:
    code = "import sys, antivenom.data; print(*(m for m in ('torch', 'sklearn', 'pandas') if m in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("digist", "expected the name of a data set, got 'digist': did you mean 'digits'"),
        (17, "expected a data set's name, a source, a Dataset, a Split, .*, got int"),
        ({"name": "Krum"}, "kind aggregator"),
        (lambda: None, "module:function.*function at the top of a module"),
        ((X, Y[:3]), "one label per row"),
    ],
)
def test_what_is_no_data_is_told_so_in_one_line(value: object, says: str) -> None:
    with pytest.raises((DataError, PluginError), match=says) as caught:
        source_of(value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("no_such_package_here:load", "the module of 'no_such_package_here:load' to import, got ModuleNotFoundError"),
        (f"{__name__}:absent", "expected absent in .*, got no such name"),
        (f"{__name__}:X", "a function at .*, got ndarray"),
        (f"{__name__}:nothing_useful", r"a Dataset, a Split or a pair \(X, y\) from .*, got list"),
        (f"{__name__}:breaks", "rows from .*, got KeyError: 'column'"),
    ],
)
def test_a_function_that_gives_no_rows_is_told_so_in_one_line(address: str, says: str) -> None:
    with pytest.raises((DataError, PluginError), match=says) as caught:
        source_of(address)(Streams(0))
    assert "\n" not in str(caught.value)
