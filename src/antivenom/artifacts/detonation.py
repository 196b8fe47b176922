"""Load a file for real, in a process that may do nothing, and see what it tries. This runs the file."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import signal
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antivenom.artifacts import chamber
from antivenom.artifacts.snapshot import Snapshot, snapshot
from antivenom.core.errors import FileError, did_you_mean

_MOST = 1 << 20  # bytes of report that are read
_LEGACY_TORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # the number that an old torch stream begins with
_COMPRESSED = (
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x5d\x00\x00",
    b"x\x01",
    b"x\x5e",
    b"x\x9c",
    b"x\xda",
    b"\x04\x22\x4d\x18",
)


@dataclass(frozen=True)
class Event:
    """One thing that happened while the file was loaded.

    Fields:
        name: of the audit event, as `os.system`, `open`, `pickle.find_class`; `canary` if planted data were touched.
        detail: its arguments, shortened.
        refused: whether it was stopped; `pickle.find_class` and `import` are only noted.
    """

    name: str
    detail: str
    refused: bool


@dataclass(frozen=True)
class Detonation:
    """What a file did when it was loaded.

    Fields:
        path: the file.
        loader: what loaded it.
        ended: loaded, raised, or stopped (it ran out of time or memory, or ended its process).
        error: what it raised.
        events: in the order in which they first happened.
        isolation: what the kernel granted, with the audit hook.
        seconds: wall time of the load; of the whole process if it was stopped.
    """

    path: str
    loader: str
    ended: str
    error: str
    events: tuple[Event, ...]
    isolation: tuple[str, ...]
    seconds: float

    @property
    def attempts(self) -> tuple[Event, ...]:
        """What no model file needs to do."""
        return tuple(event for event in self.events if event.refused)

    @property
    def exit_code(self) -> int:
        """0 it loaded and no attempt was seen, 1 it tried something, 3 cannot tell."""
        return 1 if self.attempts else 0 if self.ended == "loaded" else 3


def detonate(
    path: str | Path, loader: str = "auto", *, seconds: int = 60, memory: int = 2 << 30, unconfined: bool = False
) -> Detonation:
    """Load a file with its real loader in a confined process and report what it tried.

    THIS RUNS THE FILE'S CODE. On Linux. The process has no network, can neither write files nor run programs, has limits
    on memory, time, files and processes, an empty folder and environment with a planted secret, and an audit hook that
    refuses and reports what loading does not need. Weakness: native code passes an audit hook and kernels have holes: use
    a throw-away virtual machine for a hostile file. One that tries nothing here may do so elsewhere, or in use.

    Fields:
        path: the file.
        loader: pickle, torch, joblib or numpy; auto tells by content.
        seconds: of CPU for the load; wall time is at most a minute more.
        memory: bytes that the load may add.
        unconfined: go on where the kernel grants no walls, with limits and the audit hook only.

    Raises FileError for a file that none of them loads, a loader that is not installed, or a kernel without walls.
    """
    if sys.platform != "linux":
        raise FileError("Linux", sys.platform, "use a virtual machine")
    with snapshot(path) as file:
        kind = _loader(file, str(path)) if loader == "auto" else loader
        if kind not in chamber.LOADERS:
            raise FileError("a loader", repr(kind), did_you_mean(kind, chamber.LOADERS))
        with tempfile.TemporaryDirectory(prefix="antivenom-", ignore_cleanup_errors=True) as folder:
            canary = secrets.token_hex(16)
            (Path(folder) / "credentials").write_text(canary)
            began = time.monotonic()
            lines, whole = _run(kind, file, folder, canary, (seconds, memory, int(unconfined)))
            took = time.monotonic() - began
            events = (*_events(lines), *_touched(Path(folder), canary, lines))
    isolation = lines[0].get("isolation") if lines else None
    if isolation is None:
        why = lines[0].get("failed") if lines else "it did not start"
        raise FileError(f"the {kind} loader in a confined process", str(why)).at(str(path))
    last = lines[-1] if whole and "ended" in lines[-1] else {}
    ended, error = last.get("ended", "stopped"), last.get("error", "out of time or memory, or it ended the process")
    spent = last.get("seconds", took)
    spent = float(spent) if isinstance(spent, int | float) else took  # the file's code may have written these lines
    return Detonation(str(path), kind, str(ended), str(error), events, tuple(isolation), spent)


def _events(lines: list[dict[str, Any]]) -> Iterator[Event]:
    for line in lines:
        if "event" in line:
            yield Event(str(line["event"]), str(line.get("detail")), bool(line.get("refused")))


def _loader(file: Snapshot, path: str) -> str:
    """The loader that content of this kind is made for."""
    head = file[0 : 1 << 16]
    if head.startswith(b"PK"):
        try:
            names = zipfile.ZipFile(file.open()).namelist()
        except Exception:  # whatever a broken archive makes of zipfile: torch's own reader may still take it
            return "torch"
        return "numpy" if names and all(name.endswith(".npy") for name in names) else "torch"
    if head.startswith(b"\x93NUMPY"):
        return "numpy"
    if head[257:262] == b"ustar" or _LEGACY_TORCH in head[:16]:
        return "torch"
    if head.startswith(_COMPRESSED) or b"joblib.numpy_pickle" in head:
        return "joblib"
    if head[:1] == b"\x80" or head[:1] in b"(c]})NIJKMLFGSTUVXBCPi\x95":
        return "pickle"
    raise FileError("a pickle, torch, joblib or numpy file", "other content", "name a loader to try").at(path)


def _run(
    kind: str, file: Snapshot, folder: str, canary: str, settings: tuple[int, int, int]
) -> tuple[list[dict[str, Any]], bool]:
    """The lines that the process reported, and whether they are all of them."""
    environment = {"HOME": folder, "TMPDIR": folder, "SECRET_TOKEN": canary, "LC_ALL": "C.UTF-8"}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    source = os.dup(file.descriptor)
    ours, theirs = os.pipe()
    command = [sys.executable, "-I", "-B", chamber.__file__, kind, *map(str, (source, theirs, *settings))]
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            pass_fds=(source, theirs),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
        os.close(source)
    try:
        data, whole = _read(ours, time.monotonic() + settings[0] + 60)
    finally:
        os.close(ours)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return [line for line in map(_line, data.splitlines()) if line], whole


def _read(pipe: int, until: float) -> tuple[bytes, bool]:
    """All bytes up to the end of the pipe, and whether it came before the time and the bound."""
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(data) < _MOST and selector.select(max(0.0, until - time.monotonic())):
            piece = os.read(pipe, 1 << 16)
            if not piece:
                return data, True
            data += piece
    return data, False


def _line(text: bytes) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _touched(folder: Path, canary: str, lines: list[dict[str, Any]]) -> list[Event]:
    """What became of the planted secret and the empty folder."""
    found = [
        Event("canary", f"the secret is in {line['event']}", True)
        for line in lines
        if "event" in line and canary in str(line)
    ]
    secret = folder / "credentials"
    try:
        there = sorted(path.name for path in folder.iterdir())
        intact = (
            there == [secret.name] and stat.S_ISREG(secret.lstat().st_mode) and secret.read_bytes() == canary.encode()
        )
    except OSError:
        there, intact = [], False
    if not intact:
        found.append(Event("canary", f"the folder now holds {' '.join(there) or 'nothing'}"[:200], True))
    return found
