"""An open file whose bytes cannot change between the scan and the load."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from antivenom.core.errors import FileError
from antivenom.scan.view import SMALL

_PAGE = 1 << 12
_AT_ONCE = 1 << 30  # Linux reads at most 2 GiB in one call
_MOST = (1 << 30) // _PAGE  # pages


class Snapshot:
    """The bytes of an open file, for a View. The loader reads through it the same bytes that the scan has read.

    It keeps in memory the pages that the scan reads, and small files as a whole. The scan skips the raw numbers of
    tensors; these pages are read from the same open file on demand. So neither a new file under the same path nor a
    write into this file can change the scanned bytes. Weakness: skipped numbers can change between scan and load;
    `changed` reports this unless the writer resets the modification time.

    Raises FileError for a file that shrinks, and for one whose scan would keep more than 1 GiB.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._before = os.fstat(descriptor)
        self._kept: dict[int, bytes] = {}
        self.keeping = True

    def __len__(self) -> int:
        return self._before.st_size

    def __getitem__(self, index: slice, /) -> bytes:
        start, stop, _ = index.indices(len(self))
        if self.keeping:
            self._keep(start, stop)
        into = bytearray(max(0, stop - start))
        self.fill(start, memoryview(into))
        return bytes(into)

    def fill(self, start: int, into: memoryview) -> int:
        """Copy the bytes from `start` into a buffer; returns how many were available."""
        stop = min(start + len(into), len(self))
        if stop <= start:
            return 0
        for kept, begin, end in self._runs(start, stop):
            target = into[begin - start : end - start]
            if kept:
                pages = range(begin // _PAGE, _pages(end))
                skipped = begin % _PAGE
                target[:] = b"".join(map(self._kept.__getitem__, pages))[skipped : skipped + len(target)]
            else:
                self._read(begin, target)
        return stop - start

    def open(self) -> io.BufferedReader:
        """A binary file object over the snapshot, for loaders."""
        return io.BufferedReader(_Reader(self), buffer_size=1 << 16)

    @property
    def changed(self) -> bool:
        """Whether the file was written to since it was opened."""
        now = os.fstat(self.descriptor)
        return (now.st_size, now.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns)

    def _runs(self, start: int, stop: int) -> Iterator[tuple[bool, int, int]]:
        """Splits the range into runs of kept and of skipped pages."""
        for kept, run in groupby(range(start // _PAGE, _pages(stop)), self._kept.__contains__):
            pages = list(run)
            yield kept, max(start, pages[0] * _PAGE), min(stop, (pages[-1] + 1) * _PAGE)

    def _keep(self, start: int, stop: int) -> None:
        for kept, begin, end in self._runs(start, stop):
            if kept:
                continue
            first, last = begin // _PAGE, _pages(end)
            if len(self._kept) + last - first > _MOST:
                raise FileError("a scan that reads at most 1 GiB of the file", "a larger part", "use `antivenom scan`")
            whole = bytearray(min(last * _PAGE, len(self)) - first * _PAGE)
            self._read(first * _PAGE, memoryview(whole))
            self._kept |= {
                page: bytes(whole[(page - first) * _PAGE : (page - first + 1) * _PAGE]) for page in range(first, last)
            }

    def _read(self, start: int, into: memoryview) -> None:
        while into:
            count = os.preadv(self.descriptor, [into[:_AT_ONCE]], start)
            if not count:
                raise FileError(
                    "a file that does not change", "a file that shrank while it was read", "load a copy of it"
                )
            start, into = start + count, into[count:]


def _pages(size: int) -> int:
    """The number of pages that hold `size` bytes."""
    return -(-size // _PAGE)


class _Reader(io.RawIOBase):
    def __init__(self, file: Snapshot) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._file)}[whence])
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._file.fill(self._at, memoryview(buffer).cast("B"))
        self._at += count
        return count


@contextmanager
def snapshot(path: str | Path) -> Iterator[Snapshot]:
    """Opens a regular file once, for the scan and the load. Raises FileError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FileError("a readable file", error.strerror or str(error)).at(str(path)) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileError("a regular file", "a folder or special file").at(str(path))
        file = Snapshot(descriptor)
        if len(file) <= SMALL:
            file[0 : len(file)]
        yield file
    finally:
        os.close(descriptor)
