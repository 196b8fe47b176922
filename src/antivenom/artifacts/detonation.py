"""Load a file with its real loader in a confined process and record what it tries to do. This runs the file's code."""

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

from antivenom.artifacts import chamber
from antivenom.artifacts.snapshot import Snapshot, snapshot
from antivenom.core.errors import FileError, did_you_mean

_MAX_REPORT = 1 << 20  # bytes that are read from the confined process
_LEGACY_TORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # the magic number of PyTorch's format before version 1.6
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
    """One audit event that occurred while the file was loaded.

    Fields:
        name: the audit event, such as `os.system`, `open` or `pickle.find_class`; `canary` if planted data were touched.
        detail: the arguments of the event, shortened.
        refused: whether the event was stopped; `pickle.find_class`, `import` and `compile` are only reported.
    """

    name: str
    detail: str
    refused: bool


@dataclass(frozen=True)
class Detonation:
    """The behaviour of a file while it was loaded.

    Fields:
        path: the file.
        loader: the loader that was used.
        ended: loaded, raised, or stopped (it ran out of time or memory, or ended its process).
        error: the exception that loading raised; empty if it loaded.
        events: the distinct events, in the order of their first occurrence.
        isolation: the means of isolation that were in force.
        seconds: wall time of the load, or of the whole process if it was stopped.
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
        """The refused events: actions that loading a model does not need."""
        return tuple(event for event in self.events if event.refused)

    @property
    def exit_code(self) -> int:
        """0 if it loaded without a refused event, 1 if an event was refused, 3 if neither is certain."""
        return 1 if self.attempts else 0 if self.ended == "loaded" else 3


def detonate(
    path: str | Path, loader: str = "auto", *, seconds: int = 60, memory: int = 2 << 30, unconfined: bool = False
) -> Detonation:
    """Load a file with its real loader in a confined process and report what it tried to do.

    THIS RUNS THE FILE'S CODE. It works on Linux only. The process has no network, can neither write files nor run
    programs, and has limits on memory, time, open files and processes. Its folder and environment hold only a planted
    secret. An audit hook refuses and reports every action that loading does not need. Weakness: native code is
    invisible to an audit hook, and kernels have defects, so use a disposable virtual machine for a hostile file. A file
    that does nothing here may still act on another machine, or when the model is used.

    Fields:
        path: the file.
        loader: pickle, torch, joblib or numpy; auto chooses by content.
        seconds: CPU time for the load; the wall time is at most one minute longer.
        memory: bytes that the load can allocate.
        unconfined: continue with limits and the audit hook alone if the kernel refuses the other means of isolation.

    Raises FileError for content that none of the loaders reads, a loader that is not installed, or a kernel that
    refuses to isolate the process.
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
    if not isinstance(isolation, list):
        why = lines[0].get("failed") if lines else "it did not start"
        raise FileError(f"the {kind} loader in a confined process", str(why)).at(str(path))
    last = lines[-1] if whole and "ended" in lines[-1] else {}
    ended, error = last.get("ended", "stopped"), last.get("error", "out of time or memory, or it ended the process")
    spent = last.get("seconds", took)
    spent = float(spent) if isinstance(spent, int | float) else took  # hostile code can have written these lines
    return Detonation(str(path), kind, str(ended), str(error), events, tuple(isolation), spent)


def _events(lines: list[dict[str, object]]) -> Iterator[Event]:
    for line in lines:
        if "event" in line:
            yield Event(str(line["event"]), str(line.get("detail")), bool(line.get("refused")))


def _loader(file: Snapshot, path: str) -> str:
    """The loader for content of this kind."""
    head = file[0 : 1 << 16]
    if head.startswith(b"PK"):
        try:
            names = zipfile.ZipFile(file.open()).namelist()
        except Exception:  # zipfile raises many types on a broken archive, which torch's own reader may still accept
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
    raise FileError("a pickle, torch, joblib or numpy file", "other content", "choose the loader yourself").at(path)


def _run(
    kind: str, file: Snapshot, folder: str, canary: str, settings: tuple[int, int, int]
) -> tuple[list[dict[str, object]], bool]:
    """The lines that the process reported, and whether they are complete."""
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
    """The bytes of the pipe, and whether its end was reached before the deadline and the size limit."""
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(data) < _MAX_REPORT and selector.select(max(0.0, until - time.monotonic())):
            piece = os.read(pipe, 1 << 16)
            if not piece:
                return data, True
            data += piece
    return data, False


def _line(text: bytes) -> dict[str, object]:
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _touched(folder: Path, canary: str, lines: list[dict[str, object]]) -> list[Event]:
    """Events for a planted secret that was read and for a folder that was changed."""
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
