"""Hashes of the data's bytes, by which a record identifies the data that it was measured on."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from antivenom.core.errors import DataError
from antivenom.core.protocols import Fingerprinted, Source
from antivenom.core.regular import opened
from antivenom.core.streams import Streams
from antivenom.data import limits
from antivenom.data.dataset import Dataset, Split

PREFIX = "sha256:"


def fingerprint(source: Source) -> str:
    """The SHA-256 of a source's data: its own `fingerprint()`, or else a hash of the rows that it returns for seed 0.

    Raises:
        DataError: the data cannot be read.
    """
    return source.fingerprint() if isinstance(source, Fingerprinted) else of_rows(source(Streams(0)))


def of_rows(value: Dataset | Split) -> str:
    """The fingerprint of rows and labels with their types and shapes, the class names and the groups."""
    digest = hashlib.sha256()
    for data in (value.train, value.test) if isinstance(value, Split) else (value,):
        digest.update(repr((data.classes, data.x.shape, str(getattr(data.x, "dtype", "")))).encode())
        for part in _arrays(data):
            digest.update(repr((part.shape, part.dtype.str)).encode())
            digest.update(np.ascontiguousarray(part).tobytes())
    return PREFIX + digest.hexdigest()


def _arrays(data: Dataset) -> Iterable[np.ndarray]:
    """The arrays that make up the data; columns of words as bytes of their text."""
    if data.is_sparse:
        yield from (data.x.data, data.x.indices, data.x.indptr)
    elif data.is_frame:
        for name in data.x.columns:
            cells = data.x[name].to_numpy()
            words = cells.dtype == object
            yield np.frombuffer(repr((name, cells.tolist())).encode(), dtype=np.uint8) if words else cells
    else:
        yield data.x
    yield data.y
    if data.groups is not None:
        yield data.groups


def of_files(paths: Iterable[Path], names: Iterable[str] | None = None) -> str:
    """The fingerprint of the bytes of several files and of their names, in the order given.

    Args:
        paths: the files.
        names: one for each file; None takes the last part of its path.
    """
    digest = hashlib.sha256()
    given = list(paths)
    for path, name in zip(given, names or (path.name for path in given), strict=True):
        digest.update(repr((name, _of_file(path))).encode())
    return PREFIX + digest.hexdigest()


def digest_of(*parts: str) -> str:
    """The fingerprint of several fingerprints."""
    return PREFIX + hashlib.sha256(repr(parts).encode()).hexdigest()


def _of_file(path: Path) -> str:
    try:
        state = path.stat()
        if state.st_size > limits.MOST_BYTES:
            raise limits.too_much("in it")
        return _hashed(path, state.st_size, state.st_mtime_ns, state.st_ino)
    except OSError as error:
        raise DataError(f"a readable file {path}", error.strerror or str(error), "check the path") from error


@functools.lru_cache(maxsize=4096)  # every trial fingerprints all files of its source
def _hashed(path: Path, *_: int) -> str:
    """The SHA-256 of a file. Size, time and inode are arguments so that the cache notices a change of the file."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
