"""An open file of which what was read once stays as it was."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from antivenom.errors import FileError
from antivenom.scan.view import SMALL

_PAGE = 1 << 12
_AT_ONCE = 1 << 30  # Linux reads at most 2 GiB in one call


class Snapshot:
    """The bytes of an open file, for a View: a loader that reads through it gets the very bytes that the scan read.

    Pages that the scan touches, and small files whole, are kept in memory; pages that it skips, the raw numbers of
    tensors, are read from the same open file when they are asked for. So neither a swap of the path nor a write into the file between scan and load
    can change what was judged. Weakness: numbers that nobody judged can change, which `changed` tells unless the writer
    sets the clock back.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._before = os.fstat(descriptor)
        self._pages: dict[int, bytes] = {}
        self.keeping = True

    def __len__(self) -> int:
        return self._before.st_size

    def __getitem__(self, index: slice, /) -> bytes:
        start, stop, _ = index.indices(len(self))
        if stop <= start:
            return b""
        first = start // _PAGE
        data = b"".join(self._runs(first, (stop - 1) // _PAGE + 1))
        return data[start - first * _PAGE : stop - first * _PAGE]

    @property
    def changed(self) -> bool:
        """Whether the file was written to since it was opened."""
        now = os.fstat(self.descriptor)
        return (now.st_size, now.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns)

    def _runs(self, first: int, last: int) -> Iterator[bytes]:
        for kept, run in groupby(range(first, last), self._pages.__contains__):
            pages = list(run)
            if kept:
                yield from map(self._pages.__getitem__, pages)
                continue
            data = self._fresh(pages[0] * _PAGE, min((pages[-1] + 1) * _PAGE, len(self)))
            if self.keeping:
                self._pages |= {page: data[i * _PAGE : (i + 1) * _PAGE] for i, page in enumerate(pages)}
            yield data

    def _fresh(self, start: int, stop: int) -> bytes:
        pieces = []
        while start < stop:
            pieces.append(os.pread(self.descriptor, min(stop - start, _AT_ONCE), start))
            start += len(pieces[-1])
            if not pieces[-1]:
                raise FileError("a file that stays as it is", "one that shrank while it was read", "copy it first")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@contextmanager
def snapshot(path: str | Path) -> Iterator[Snapshot]:
    """A regular file, opened once. Raises FileError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FileError("a file to read", error.strerror or str(error), "check the path").at(str(path)) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileError("a regular file", "something else", "name the file itself").at(str(path))
        file = Snapshot(descriptor)
        if len(file) <= SMALL:
            file[0 : len(file)]
        yield file
    finally:
        os.close(descriptor)
