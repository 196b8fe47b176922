"""Records on disk: FOLDER/records.jsonl, one JSON object per line, appended and forced to the disk.

A last line that a killed process left incomplete is removed when the store is next opened for writing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from antivenom.audit.identity import is_genuine
from antivenom.audit.trial import SCHEMA, Record
from antivenom.core.errors import StoreError

FILENAME = "records.jsonl"


class Store:
    """The records of one audit folder. Opening it for writing takes a lock, so that two audits cannot mix.

    There are two types of line: "plan" (what was requested; the last one counts) and "trial" (a trial's result).

    Args:
        folder: where records.jsonl is, or will be.
        write: whether records will be appended.

    Raises:
        StoreError: the folder cannot be written, another audit writes to it, or a line has a newer schema or is no record.
    """

    def __init__(self, folder: str | os.PathLike[str], write: bool = False) -> None:
        self.path = Path(folder) / FILENAME
        self._file: Any = None
        self._end = 0  # where this store's last line ends
        if write:
            self._open()

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - stays open as long as the store
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
        self._cut_torn_line()

    def _cut_torn_line(self) -> None:
        """Remove an incomplete last line, which a killed process may have left."""
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, whole)
        self._end = whole

    def _cut_foreign(self) -> None:
        """Remove what somebody else has appended since this store's last line, as a hostile plugin may do."""
        with contextlib.suppress(OSError):
            if os.fstat(self._file.fileno()).st_size > self._end:
                os.ftruncate(self._file.fileno(), self._end)

    def append(self, record: Record) -> None:
        """Write one line and force it to the disk. A failure loses no earlier line and leaves no part of this one.

        Raises:
            StoreError: the line could not be written, for example because the disk is full.
        """
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

    def lines(self) -> Iterator[Record]:
        """Every complete line, oldest first.

        Raises:
            StoreError: there is no file, it cannot be read, or a line has a newer schema or is no record.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError as error:
            raise StoreError(
                f"records in {self.path.parent}", f"no {FILENAME} there", "run antivenom audit first"
            ) from error
        except OSError as error:
            raise StoreError(f"readable records in {self.path}", f"{error.strerror}", "check the path") from error
        for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
            try:
                record = json.loads(line)
                schema = record["schema"]
            except (ValueError, KeyError, TypeError) as error:
                raise StoreError(
                    "a record per line", f"something else in line {number} of {self.path}", "delete that line"
                ) from error
            if schema > SCHEMA:
                raise StoreError(
                    f"records of schema {SCHEMA} or older", f"schema {schema} in line {number}", "update antivenom"
                )
            yield record

    def trials(self) -> dict[str, Record]:
        """The last record of every trial, by key, without records that are not genuine (see `identity.is_genuine`)."""
        return {record["key"]: record for record in self.lines() if record["type"] == "trial" and is_genuine(record)}

    def foreign(self) -> int:
        """The number of records that are not genuine: their key does not follow from their content."""
        return sum(record["type"] == "trial" and not is_genuine(record) for record in self.lines())

    def plan(self) -> Record:
        """The record of the last plan.

        Raises:
            StoreError: no plan was written.
        """
        plans = [record for record in self.lines() if record["type"] == "plan"]
        if not plans:
            raise StoreError(f"a plan in {self.path}", "none", "run antivenom audit first")
        return plans[-1]
