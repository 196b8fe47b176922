"""The process in which `detonate` loads a file. It runs as a script and imports only the standard library by itself.

Events go to a pipe as lines of JSON at the moment they happen, so that they survive a crash of this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import json
import os
import resource
import sys
import time
import zoneinfo
from collections.abc import Callable
from typing import BinaryIO

_NEW_USER, _NEW_NET, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000  # sched.h
_NO_NEW_PRIVILEGES = 38  # prctl.h
_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # Landlock's system calls, the same on every architecture
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_MAX_HARMLESS = 500  # harmless events that are reported

# Harmless, and too frequent to report.
_SILENT = {"object.__getattr__", "sys._getframe", "sys._getframemodulename", "builtins.id", "array.__new__"}
# Harmless, and worth reporting. "compile" is harmless because compiled code cannot run without the event "exec".
_NOTED = {"pickle.find_class", "import", "compile"}
# Events that importing an installed module causes. Outside of an import, the file itself causes them to run code.
_OF_IMPORTS = {
    *("import", "compile", "exec", "marshal.loads", "code.__new__", "object.__setattr__", "object.__delattr__"),
    *("os.listdir", "os.scandir", "os.putenv", "os.unsetenv", "glob.glob", "glob.glob/2", "mmap.__new__"),
    *("ctypes.dlopen", "ctypes.dlsym", "ctypes.dlsym/handle", "ctypes.addressof", "ctypes.cdata"),
}


def _text(value: object) -> str:
    """A short text for a value. Only exact built-in types are formatted, so that no code of the value runs."""
    if type(value) in (str, int, bool, float, type(None)):
        return str(value)[:200]
    if type(value) is bytes:
        return value[:200].decode("utf-8", "backslashreplace")
    if type(value) is tuple or type(value) is list:
        return " ".join(map(_text, value[:8]))[:400]
    return f"<{type(value).__name__}>"


def _watch(tell: Callable[[dict[str, object]], None]) -> None:
    """Install the audit hook that refuses events and reports them. Python cannot remove an audit hook again."""
    # pandas reads a time zone when scikit-learn imports it.
    readable = (sys.prefix, sys.base_prefix, *sys.path, *zoneinfo.TZPATH)
    libraries = tuple({os.path.realpath(path) + os.sep for path in readable if path})
    seen: set[tuple[str, str]] = set()
    silent, noted, of_imports, text, frame_of = _SILENT, _NOTED, _OF_IMPORTS, _text, sys._getframe
    writing, most, realpath, fsdecode = _WRITING, _MAX_HARMLESS, os.path.realpath, os.fsdecode

    def importing() -> bool:
        frame = frame_of(2)
        while frame is not None:
            if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
                return True
            frame = frame.f_back  # type: ignore[assignment]
        return False

    def harmless_open(path: object, mode: object, flags: object) -> bool:
        if (isinstance(flags, int) and flags & writing) or (type(mode) is str and set(mode) & set("wax+")):
            return False
        if type(path) is str or type(path) is bytes:  # no subclass, whose methods would be code of the file
            return (realpath(fsdecode(path)) + os.sep).startswith(libraries)
        return False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in silent or (event == "open" and harmless_open(*arguments)):
            return
        if event == "compile" and arguments[1] == "<unknown>":  # ast.parse, with which numpy reads headers
            return
        if event in of_imports and importing():
            return
        detail = text(arguments[:1] if event == "import" else arguments)
        refused = event not in noted
        if (event, detail) not in seen and (refused or len(seen) < most):  # refused events are always reported
            seen.add((event, detail))
            tell({"event": event, "detail": detail, "refused": refused})
        if refused:
            raise PermissionError(f"{event} is refused here")

    sys.addaudithook(hook)


def _without_network() -> list[str]:
    """Move this process into an empty network namespace; returns the isolation that the kernel granted."""
    unshare = ctypes.CDLL(None).unshare
    alone = not unshare(_NEW_USER | _NEW_NET | _NEW_IPC) or not unshare(_NEW_NET | _NEW_IPC)
    return ["no network (namespace)"] if alone else []


def _read_only() -> list[str]:
    """Landlock: this process, native code included, can no longer write, create, remove or execute files."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1 or libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return []
    rights = 0b1_1111_1111_0011 | (1 << 14 if version >= 3 else 0)  # every right except reading; bit 14 is truncating
    rules = libc.syscall(_CREATE_RULESET, ctypes.byref(ctypes.c_uint64(rights)), 8, 0)
    if rules < 0 or libc.syscall(_RESTRICT_SELF, rules, 0):
        return []
    os.close(rules)
    return ["no writing, no programs (Landlock)"]


def _limit(memory: int, seconds: int) -> list[str]:
    """Limit the memory and CPU time that loading can add to the present use of this process."""
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    spent = int(time.process_time()) + 1
    for what, most in (
        (resource.RLIMIT_AS, mapped + memory),
        (resource.RLIMIT_CPU, spent + seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    return ["resource limits"]


def _pickle() -> Callable[[BinaryIO], object]:
    import pickle

    streaming: tuple[Callable[[BinaryIO], object], ...] = (pickle.load, pickle._load)  # type: ignore[attr-defined]

    def load(file: BinaryIO) -> object:
        """Load as `pickle.loads` does, then all streams in turn with the C and the Python unpickler.

        A crafted file can behave differently in the two unpicklers, or hide a second stream behind the first.
        """
        data = file.read()
        try:
            return pickle.loads(data)  # noqa: S301 - loading hostile files is the purpose of this process
        finally:
            for unpickle in streaming:
                rest = io.BytesIO(data)
                with contextlib.suppress(Exception):
                    while True:
                        unpickle(rest)

    return load


def _torch() -> Callable[[BinaryIO], object]:
    import torch

    torch.set_num_threads(1)

    def load(file: BinaryIO) -> object:
        return torch.load(file, map_location="cpu", weights_only=False)

    for zipped in (True, False):  # trigger lazy imports before the sandbox closes
        buffer = io.BytesIO()
        torch.save({"linear": torch.nn.Linear(1, 1)}, buffer, _use_new_zipfile_serialization=zipped)
        buffer.seek(0)
        load(buffer)
    return load


def _joblib() -> Callable[[BinaryIO], object]:
    import joblib
    import numpy as np

    for compress in (0, 3):
        buffer = io.BytesIO()
        joblib.dump([np.zeros(2)], buffer, compress=compress)
        buffer.seek(0)
        joblib.load(buffer)
    return joblib.load  # type: ignore[no-any-return]


def _numpy() -> Callable[[BinaryIO], object]:
    import numpy as np

    def load(file: BinaryIO) -> object:
        value = np.load(file, allow_pickle=True)
        return {name: value[name] for name in value.files} if hasattr(value, "files") else value

    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(2), b=np.array([None]))
    buffer.seek(0)
    load(buffer)
    return load


LOADERS = {"pickle": _pickle, "torch": _torch, "joblib": _joblib, "numpy": _numpy}


def main(loader: str, file: int, report: int, seconds: int, memory: int, unconfined: int) -> None:
    write, dumps = os.write, json.dumps

    def tell(line: dict[str, object]) -> None:
        write(report, dumps(line).encode() + b"\n")

    try:
        granted = _without_network()
        load = LOADERS[loader]()
        granted += _read_only()
        if len(granted) < 2 and not unconfined:
            raise OSError(f"this kernel grants only: {', '.join(granted) or 'nothing'}; use a virtual machine")
        granted += _limit(memory, seconds)
    except Exception as error:
        tell({"failed": f"{type(error).__name__}: {error}"[:300]})
        os._exit(1)
    tell({"isolation": [*granted, "audit hook"]})
    source = os.fdopen(file, "rb")
    started, leave = time.monotonic(), os._exit
    _watch(tell)
    try:
        value = load(source)
        del value
        gc.collect()  # run finalizers while the audit hook watches
        end = {"ended": "loaded", "error": ""}
    except BaseException as error:
        end = {"ended": "raised", "error": f"{type(error).__name__}: {_text(error.args)}"[:300]}
    tell(end | {"seconds": time.monotonic() - started})
    leave(0)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
