"""Lazy access to the bytes of a file or of an unpacked part."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from typing import Protocol

SMALL = 1 << 20  # smaller files are read as a whole, which is faster than seeking


class _Bytes(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: slice, /) -> bytes: ...


class _File:
    """A file with positioned reads. If the file shrinks, reads are short, where a memory map would crash."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self._size = descriptor, size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: slice, /) -> bytes:
        start, stop, _ = index.indices(self._size)
        return os.pread(self._descriptor, max(0, stop - start), start) if stop > start else b""


class View:
    """A window on bytes. A window of a window copies nothing."""

    __slots__ = ("_start", "_stop", "_under")

    def __init__(self, under: _Bytes, start: int = 0, stop: int | None = None) -> None:
        self._under, self._start = under, start
        self._stop = len(under) if stop is None else stop

    @staticmethod
    def of_file(descriptor: int) -> View:
        """The content of an open file, which must stay open."""
        size = os.fstat(descriptor).st_size
        file = _File(descriptor, size)
        return View(file[0:size]) if size <= SMALL else View(file)

    def __len__(self) -> int:
        return self._stop - self._start

    def read(self, offset: int = 0, count: int | None = None) -> bytes:
        """`count` bytes from `offset`, or fewer at the end."""
        start = min(self._start + offset, self._stop)
        stop = self._stop if count is None else min(start + count, self._stop)
        return self._under[start:stop]

    def window(self, offset: int, count: int | None = None) -> View:
        """The window of `count` bytes from `offset`, cut at the end of this one."""
        start = min(self._start + offset, self._stop)
        return View(self._under, start, self._stop if count is None else min(start + count, self._stop))

    def rfind(self, needle: bytes, last: int) -> int:
        """Offset of the last occurrence of `needle` in the final `last` bytes; -1 if there is none."""
        begin = max(0, len(self) - last)
        at = self.read(begin).rfind(needle)
        return at if at < 0 else begin + at

    def sha256(self, tick: Callable[[], None] = lambda: None) -> str:
        """The digest of all bytes in hexadecimal; `tick` is called for each mebibyte and can end it by an error."""
        digest = hashlib.sha256()
        for at in range(0, len(self), SMALL):
            tick()
            digest.update(self.read(at, SMALL))
        return digest.hexdigest()

    def open(self) -> io.BufferedReader:
        """A seekable binary file object over the window, for libraries that require one."""
        return io.BufferedReader(_Raw(self), buffer_size=1 << 16)


class _Raw(io.RawIOBase):
    def __init__(self, view: View) -> None:
        self._view, self._at = view, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence])
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._view.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
