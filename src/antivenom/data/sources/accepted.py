"""Makes sources from all the values that a user may give as data."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping

from antivenom.core.errors import DataError, did_you_mean
from antivenom.core.protocols import Source
from antivenom.core.registry import Kind, build, converts, entries
from antivenom.data.dataset import Dataset, Split
from antivenom.data.forms import schema_of_bytes
from antivenom.data.named import DATASETS
from antivenom.data.sources.memory import Memory, held
from antivenom.data.sources.named import Named
from antivenom.data.sources.python import PythonSource


def source_of(value: object) -> Source:
    """A source from a name, a file's description, a function, or rows in memory.

    Args:
        value: the name of a data set, a source, a Dataset, a Split, a pair of arrays (X, y) or a triple (X, y, schema),
            a pair of Datasets (train, test), "module:function", or a mapping with the `name` of a source and its fields.

    Raises:
        DataError: the value is none of these, or its rows cannot be used.

    Example:
        >>> source_of("digits")
        Named(dataset='digits')
        >>> source_of({"name": "Named", "dataset": "adult"})
        Named(dataset='adult')
    """
    found: Source = build(value, Kind.SOURCE)
    return found


@converts(Kind.SOURCE)
def _converted(value: object) -> Source | None:
    """The converter of the registry: a source from a value that `build` does not understand itself; otherwise None."""
    if isinstance(value, str):
        return _by_name(value)
    if isinstance(value, Mapping):
        if value.get("name") in DATASETS and len(value) == 1:
            return Named(value["name"])
        return held(value) if "fingerprint" in value else None
    if isinstance(value, (Dataset, Split, tuple)):
        return in_memory(value)
    if inspect.isfunction(value):
        return PythonSource(f"{value.__module__}:{value.__qualname__}")
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and callable(value):
        return None
    raise DataError(
        "a data set's name, a source, a Dataset, a Split, (X, y) or module:function",
        type(value).__name__,
        "see the guide on data sets",
    )


def _by_name(name: str) -> Source | None:
    if name in DATASETS:
        return Named(name)
    if ":" in name:
        return PythonSource(name)
    sources = {entry.name for entry in entries(Kind.SOURCE)}
    if name in sources:
        return None
    if any(name.endswith(suffix) for suffix in (".csv", ".tsv", ".parquet", ".npz", ".jsonl")):
        raise DataError(
            "a source for a file", repr(name), "write TableFile(path, label), NpzFile(path) or TextFile(path)"
        )
    raise DataError("the name of a data set", repr(name), did_you_mean(name, {*DATASETS, *sources}))


def in_memory(value: object, test_share: float = 0.3) -> Memory | None:
    """A source from a Dataset, a Split, a pair of Datasets, (X, y) or (X, y, schema); None for other values."""
    if isinstance(value, (Dataset, Split)):
        return Memory(value, test_share)
    if not isinstance(value, tuple) or len(value) not in (2, 3):
        return None
    if all(isinstance(part, Dataset) for part in value) and len(value) == 2:
        return Memory(Split(*value), test_share)
    schema = value[2] if len(value) == 3 else schema_of_bytes(value[0])
    return Memory(Dataset.from_arrays(value[0], value[1], schema=schema), test_share)
