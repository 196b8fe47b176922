"""Records on disk: FOLDER/records.jsonl, one JSON object per line, appended and forced to the disk.

Lines that are no records are ignored and named, so that one of them does not keep an audit from going on. A last line that a
killed process left incomplete is removed when the store is next opened for writing. Links, pipes and devices in the place of
the file are refused, and so is a file that holds something else.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antivenom.auditing.beside import TYPES, require_beside
from antivenom.auditing.lines import is_begun, is_genuine_trial, parsed, require_plan, require_trial
from antivenom.auditing.private import without_places
from antivenom.auditing.trial import Record
from antivenom.core.errors import StoreError
from antivenom.core.garbage import uncollected

FILENAME = "records.jsonl"
_REMEDY = "delete that line, or leave it: it is ignored"


@dataclass
class _Contents:
    """What the file holds.

    Fields:
        plan: the record of the last plan, or None.
        trials: the last record of every trial, by key.
        beside: the last record of every other type, by type and group; see `antivenom.auditing.beside`.
        foreign: the number of records that are not genuine.
        bad: one error for each line that is no record.
        lines: the number of lines that are records.
    """

    plan: Record | None = None
    trials: dict[str, Record] = field(default_factory=dict)
    beside: dict[tuple[str, str], Record] = field(default_factory=dict)
    foreign: int = 0
    bad: list[StoreError] = field(default_factory=list)
    lines: int = 0


class Store:
    """The records of one audit folder. Opening it for writing takes a lock, so that two audits cannot mix.

    There are lines of type "plan" (what was requested; the last one counts), "trial" (a trial's result), and those of
    `antivenom.auditing.beside`.

    Args:
        folder: where records.jsonl is, or will be.
        write: whether records will be appended.

    Raises:
        StoreError: the folder cannot be written, another audit writes to it, or the file is something else.
    """

    def __init__(self, folder: str | os.PathLike[str], write: bool = False) -> None:
        self.path = Path(folder) / FILENAME
        self._file: Any = None
        self._end = 0  # where this store's last line ends
        self._known: tuple[tuple[int, ...], _Contents] | None = None
        if write:
            self._open()

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._opened(os.O_RDWR | os.O_APPEND | os.O_CREAT, "r+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise StoreError(
                f"one audit at a time in {self.path.parent}",
                "another one running there",
                "wait for it or use another --out",
            ) from error
        except OSError as error:
            raise StoreError(
                f"a folder to write in at {self.path.parent}", f"{error.strerror}", "choose another --out"
            ) from error
        try:
            self._end_last_line()
        except BaseException:
            self.close()
            raise

    def _opened(self, flags: int, mode: str) -> Any:
        """The file, opened without following a link or waiting for the other end of a pipe.

        Raises:
            StoreError: it is no regular file.
            OSError: it cannot be opened.
        """
        try:
            descriptor = os.open(self.path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise self._not_ours("a link, a folder or a device") from error
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._not_ours("a pipe or a device")
        return open(descriptor, mode, buffering=0)

    def _not_ours(self, got: str) -> StoreError:
        return StoreError(f"an audit's records in {self.path}", got, "choose another --out, or move it away")

    def _end_last_line(self) -> None:
        """Give a complete last record its end of line, and remove an incomplete one, which a killed process left.

        Raises:
            StoreError: the file holds something else. It is left unchanged.
        """
        content = self._content()
        whole = content.rfind(b"\n") + 1
        last = content[whole:]
        try:
            complete = bool(last) and bool(parsed(last, 0))
        except (ValueError, StoreError):
            complete = False
        contents = self._contents()
        if content and not contents.lines and not complete and not (whole == 0 and is_begun(last)):
            raise self._not_ours("another file of that name")
        if last and not complete and is_begun(last):
            os.ftruncate(self._file.fileno(), whole)
        elif last:
            self._file.write(b"\n")
        self._end = os.fstat(self._file.fileno()).st_size

    def _cut_foreign(self) -> None:
        """Remove what somebody else has appended since this store's last line, as a hostile plugin may do."""
        with contextlib.suppress(OSError):
            if os.fstat(self._file.fileno()).st_size > self._end:
                os.ftruncate(self._file.fileno(), self._end)

    def append(self, record: Record) -> None:
        """Write one line and force it to the disk. A failure loses no earlier line and leaves no part of this one.

        Error texts and the command line are written without the places of this machine (see `private.without_places`).

        Raises:
            StoreError: the line could not be written, for example because the disk is full.
        """
        record = without_places(record)
        rest = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        self._cut_foreign()
        size = len(rest)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):  # if this fails too, the next start removes the torn line
                os.ftruncate(self._file.fileno(), self._end)
            raise StoreError(
                f"room to write {self.path}",
                f"{error.strerror}",
                "free some space and start the audit again: it continues where it stopped",
            ) from error
        self._end += size

    def close(self) -> None:
        if self._file is not None:
            if self._end:
                self._cut_foreign()
            self._file.close()
            self._file = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _content(self) -> bytes:
        """The bytes of the file.

        Raises:
            StoreError: there is no file, or it cannot be read.
        """
        try:
            with self._opened(os.O_RDONLY, "rb") as file:
                return bytes(file.read())
        except FileNotFoundError as error:
            raise StoreError(
                f"records in {self.path.parent}", f"no {FILENAME} there", "run antivenom audit first"
            ) from error
        except OSError as error:
            raise StoreError(f"readable records in {self.path}", f"{error.strerror}", "check the path") from error

    def sha256(self) -> str:
        """The SHA-256 of the file's bytes."""
        return hashlib.sha256(self._content()).hexdigest()

    def _contents(self) -> _Contents:
        """What the file holds; read again only if it has changed."""
        state = self._state()
        if self._known is None or self._known[0] != state:
            self._known = (state, self._read(self._content()))
        return self._known[1]

    def _state(self) -> tuple[int, ...]:
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except OSError:  # reading the file says why
            return ()
        return found.st_size, found.st_mtime_ns, found.st_ino

    def _read(self, content: bytes) -> _Contents:
        found = _Contents()
        with uncollected():
            for number, line in _lines(content):
                try:
                    self._take(parsed(line, number), found)
                except ValueError as error:
                    got = f"something else in line {number} of {FILENAME}: {error}"
                    found.bad.append(StoreError("a record per line", got, _REMEDY))
        return found

    @staticmethod
    def _take(record: Record, found: _Contents) -> None:
        """Add a line to what was found. A trial that is not genuine is only counted."""
        if record["type"] == "plan":
            require_plan(record)
            found.plan = record
        elif record["type"] in TYPES:
            require_beside(record)
            found.beside[record["type"], record.get("group", "")] = record
        elif not is_genuine_trial(record):
            found.foreign += 1
        else:
            require_trial(record)
            found.trials[record["key"]] = record
        found.lines += 1

    def _usable(self) -> _Contents:
        """What the file holds.

        Raises:
            StoreError: there is no file, it cannot be read, it has a newer schema, or none of its lines is a record.
        """
        found = self._contents()
        if found.bad and not found.lines:
            raise found.bad[0]
        return found

    def trials(self) -> dict[str, Record]:
        """The last record of every trial, by key, without records that are not genuine (see `identity.is_genuine`)."""
        return dict(self._usable().trials)

    def beside(self, kind: str) -> list[Record]:
        """The last record of that type and of each group, in the order in which the groups came first."""
        return [record for (found, _), record in self._usable().beside.items() if found == kind]

    def foreign(self) -> int:
        """The number of records that are not genuine: their key does not follow from their content."""
        return self._contents().foreign

    def bad_lines(self) -> list[str]:
        """One message for each line that is no record: its number, what is wrong with it, and what to do."""
        return list(map(str, self._contents().bad))

    def plan(self) -> Record:
        """The record of the last plan.

        Raises:
            StoreError: no plan was written.
        """
        found = self._usable().plan
        if found is None:
            raise StoreError(f"a plan in {self.path}", "none", "run antivenom audit first")
        return found


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, line) of every complete line that is not empty, and of a last line without an end if it is complete."""
    *lines, last = content.split(b"\n")
    yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    if last:
        try:
            parsed(last, 0)
        except (ValueError, StoreError):
            return
        yield len(lines) + 1, last
