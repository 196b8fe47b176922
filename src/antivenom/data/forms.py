"""The forms of rows: dense arrays, CSR, token numbers and DataFrames, each converted to a read-only value."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from antivenom.core.errors import DataError
from antivenom.data.schema import BYTES, Schema, is_sparse

# (n, ...) float32, a scipy.sparse.csr_array, (n, length) int64 token numbers, or a pandas.DataFrame
Rows: TypeAlias = Any
_ROWS = 1024  # images that are looked at together


def read_only_rows(value: Any, schema: Schema | None) -> Rows:
    """Convert any array, sparse matrix or DataFrame to read-only rows in one of the four forms."""
    if is_frame(value):
        from antivenom.data.frames import in_form_of

        return in_form_of(schema if schema is not None and schema.frame else Schema.of(value), value)
    if not is_sparse(value):
        if schema is not None and schema.is_tokens:
            return tokens(np.asarray(value), schema)
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        return frozen(image(array) if array.ndim in (3, 4) else array, np.float32)
    known = isinstance(value, sp.csr_array) and value.dtype == np.float32 and value.has_canonical_format
    if known and not any(part.flags.writeable for part in (value.data, value.indices, value.indptr)):
        return value
    rows: Any = sp.csr_array(value, dtype=np.float32, copy=True)
    rows.sum_duplicates()
    return own(rows)


def image(x: np.ndarray) -> np.ndarray:
    """Images with numbers from 0 to 1 (if they were bytes) and channels before height and width.

    The last axis is taken for the channels if its size is 1, 3 or 4, the second axis has another size, and both other axes
    are longer than 4.
    """
    channels = (1, 3, 4)
    last = x.ndim == 4 and x.shape[3] in channels and x.shape[1] not in channels and min(x.shape[1:3]) > 4
    if last:
        x = np.moveaxis(x, 3, 1)
    if x.dtype != np.uint8:
        return x
    return (x if x.ndim == 4 else x[:, None]).astype(np.float32) / np.float32(255)


def schema_of_bytes(value: object) -> Schema | None:
    """The schema of images of bytes, or of numbers that were bytes once: multiples of 1/255 from 0 to 1. None for other rows."""
    if not isinstance(value, np.ndarray) or value.ndim not in (3, 4) or not value.size:
        return None
    x = image(value)
    if x.ndim != 4 or x.dtype.kind != "f":
        return None
    schema = Schema.pixels(x.shape[1:], steps=BYTES)
    return schema if all(schema.allows(x[i : i + _ROWS]).all() for i in range(0, len(x), _ROWS)) else None


def tokens(x: np.ndarray, schema: Schema) -> np.ndarray:
    """Read-only int64 token rows.

    Raises:
        DataError: a value is not the index of a word in the schema's vocabulary.
    """
    words = len(schema.vocabulary)
    if x.dtype.kind not in "iu" or (x.size and (x.min() < 0 or x.max() >= words)):
        got = f"{x.min()} to {x.max()}" if x.size and x.dtype.kind in "iu" else f"values of type {x.dtype}"
        raise DataError(f"token numbers from 0 to {words - 1}", got, "use indices into the vocabulary")
    return frozen(x, np.int64)


def frozen(value: object, dtype: type) -> np.ndarray:
    """A read-only array of this type. A writable array is copied, because its owner may write into it later."""
    if isinstance(value, np.ndarray) and value.dtype == dtype and not value.flags.writeable:
        return value
    return np.asarray(own(np.array(value, dtype=dtype)))


def own(array: Rows) -> Rows:
    """Make an array (or the parts of a CSR table) read-only in place and return it; only for one that nobody else holds.

    numpy then refuses writes into the inputs of a plugin.
    """
    for part in (array.data, array.indices, array.indptr) if is_sparse(array) else (array,):
        part.flags.writeable = False
    return array


def is_frame(rows: object) -> bool:
    """Whether rows are a DataFrame."""
    pandas = sys.modules.get("pandas")  # without an import, which is slow: a DataFrame exists only if somebody did it
    return pandas is not None and isinstance(rows, pandas.DataFrame)


def form_of(rows: Rows) -> str:
    """The form of rows as messages call it."""
    return "sparse" if is_sparse(rows) else "DataFrame" if is_frame(rows) else "dense"


def stacked(first: Rows, second: Rows) -> Rows:
    """Two sets of rows of the same form, one below the other."""
    if is_sparse(first):
        return own(sp.vstack([first, second], format="csr"))
    if is_frame(first):
        import pandas as pd

        return pd.concat([first, second], ignore_index=True)
    return own(np.concatenate([first, second]))
