"""Rows from numpy's archives."""

from __future__ import annotations

import functools
import zipfile
import zlib
from pathlib import Path

import numpy as np

from antivenom.core.errors import DataError
from antivenom.core.registry import source
from antivenom.core.regular import opened
from antivenom.core.streams import Streams
from antivenom.data import limits
from antivenom.data.dataset import Dataset, Split
from antivenom.data.fingerprints import of_files
from antivenom.data.forms import schema_of_bytes
from antivenom.data.splitting import split_by_seed

_BROKEN = (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, MemoryError, zipfile.BadZipFile)


@source(cite="the user's own arrays, read by numpy without pickle")
class NpzFile:
    """An .npz archive of rows and labels. Images of bytes become numbers from 0 to 1; arrays of objects are refused.

    Rows of bytes, or squares of numbers, (n, height, width) are grey images.

    Fields:
        path: the file.
        x, y: the names of the arrays with rows and labels.
        x_test, y_test: the names of the arrays with test rows and labels; "" splits the rows of `x` and `y`.
        test_share: share of the rows that become test rows, above 0 and below 1, if `x_test` is "".
    """

    path: str
    x: str = "x"
    y: str = "y"
    x_test: str = ""
    y_test: str = ""
    test_share: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", str(self.path))
        if bool(self.x_test) != bool(self.y_test) or not 0 < self.test_share < 1:
            got = f"{self.x_test!r}, {self.y_test!r} and {self.test_share}"
            raise DataError("x_test with y_test, and test_share above 0 and below 1", got)

    def __call__(self, streams: Streams) -> Split:
        train, test = _parts(self, self.fingerprint())
        return split_by_seed(train, streams, self.test_share) if test is None else Split(train, test)

    def unsplit(self) -> Dataset:
        """The rows in the order of the archive, without those of `x_test`."""
        return _parts(self, self.fingerprint())[0]

    def fingerprint(self) -> str:
        """The sha256 of the file."""
        return of_files([Path(self.path)])


@functools.lru_cache(maxsize=2)  # every trial calls it; the second argument, the fingerprint, changes with the file
def _parts(archive: NpzFile, _: str) -> tuple[Dataset, Dataset | None]:
    wanted = [name for name in (archive.x, archive.y, archive.x_test, archive.y_test) if name]
    try:
        with opened(archive.path) as file:
            arrays = limits.arrays(file, wanted)
    except KeyError as error:
        absent, names = error.args
        raise DataError(f"an array {absent!r} in {archive.path}", ", ".join(names) or "none", "set its name") from error
    except (*_BROKEN, zlib.error) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(
            f"an .npz archive of plain arrays at {archive.path}", reason, "write it with np.savez"
        ) from error
    name = Path(archive.path).stem
    arrays = [_with_channel(array) for array in arrays]
    train = Dataset.from_arrays(arrays[0], arrays[1], name=name, schema=schema_of_bytes(arrays[0]))
    return train, Dataset(arrays[2], arrays[3], train.classes, name, schema=train.schema) if len(arrays) == 4 else None


def _with_channel(rows: np.ndarray) -> np.ndarray:
    """Grey images (n, height, width) with an axis for their only channel; other arrays are returned unchanged."""
    grey = rows.ndim == 3 and (rows.dtype == np.uint8 or rows.shape[1] == rows.shape[2])
    return rows[:, None] if grey else rows
