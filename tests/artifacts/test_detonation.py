"""detonate: what a file tries is reported and does not happen; what it does not try is not reported."""

from __future__ import annotations

import _posixsubprocess
import json
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier

from antivenom import detonate
from antivenom.artifacts import Detonation, chamber, detonation
from antivenom.core.errors import FileError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="walls of Linux")


def blown(path: Path, **options: Any) -> Detonation:
    """Runs anywhere: these payloads are inert, and some machines that test grant no walls."""
    return detonate(path, unconfined=True, **options)


@pytest.fixture
def pickled(tmp_path: Path, payload) -> Callable[..., Path]:
    """A pickle that calls a function."""

    def write(function: Callable[..., Any], *arguments: Any) -> Path:
        path = tmp_path / "model.pkl"
        path.write_bytes(pickle.dumps(payload(function, *arguments)))
        return path

    return write


@pytest.mark.parametrize("sample", ["torch", "pickle", "joblib, compressed", "numpy"], indirect=True)
def test_every_sample_is_reported_and_its_marker_refused(sample: tuple[Path, Any], marker: Path) -> None:
    found = blown(sample[0])
    assert [(event.name, event.detail.split()[0]) for event in found.attempts] == [("os.mkdir", str(marker))]
    assert found.ended == "raised"
    assert found.exit_code == 1
    assert not marker.exists()


ATTEMPTS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "os.system": (os.system, ("true",)),
    "exec": (exec, ("1",)),
    "open": (open, ("/etc/hostname",)),
    "subprocess.Popen": (subprocess.Popen, (["true"],)),
    "socket.__new__": (socket.socket, ()),
    "os.remove": (os.remove, ("credentials",)),
    "os.listdir": (os.listdir, ("/",)),
    "os.fork": (os.fork, ()),
}


@pytest.mark.parametrize("event", ATTEMPTS)
def test_attempts_are_named(event: str, pickled) -> None:
    function, arguments = ATTEMPTS[event]
    found = blown(pickled(function, *arguments))
    assert [each.name for each in found.attempts] == [event]
    assert found.events[0].name == "pickle.find_class"
    assert "audit hook" in found.isolation


def test_a_flood_of_harmless_names_hides_nothing(tmp_path: Path, marker: Path) -> None:
    names = "".join(f"c{m.__name__}\n{name}\n0" for m in (os, socket, np) for name in dir(m) if name.isidentifier())
    path = tmp_path / "model"
    path.write_bytes(names.encode() + f"cos\nmkdir\n(V{marker}\ntR.".encode())
    found = blown(path)
    assert len(found.events) >= 500
    assert [event.name for event in found.attempts] == ["os.mkdir"]


def test_a_second_stream_is_loaded_too(pickled, marker: Path) -> None:
    path = pickled(os.mkdir, str(marker))
    path.write_bytes(pickle.dumps([1]) + path.read_bytes())
    found = blown(path)
    assert (found.ended, [each.name for each in found.attempts]) == ("loaded", ["os.mkdir"])


def test_the_source_of_what_would_run_is_shown(pickled) -> None:
    found = blown(pickled(eval, "__import__('os').getpid()"))
    assert [event.detail for event in found.events if event.name == "compile"] == ["__import__('os').getpid() <string>"]
    assert [event.name for event in found.attempts] == ["exec"]


@pytest.mark.parametrize("how", ["compressed", "module", "npz"])
def test_models_that_try_nothing_are_quiet(tmp_path: Path, how: str) -> None:
    path = tmp_path / "model"
    match how:
        case "compressed":
            joblib.dump(RandomForestClassifier(3, random_state=0).fit(np.eye(4), [0, 1, 0, 1]), path, compress=3)
        case "module":
            torch.save(torch.nn.Linear(2, 2), path)
        case "npz":
            with path.open("wb") as file:
                np.savez(file, a=np.zeros(3), b=np.array([None, "text"]))
    found = blown(path)
    assert (found.ended, found.error, found.attempts, found.exit_code) == ("loaded", "", (), 0)


def test_what_ends_early_cannot_be_told(pickled) -> None:
    found = blown(pickled(os._exit, 0))
    assert (found.ended, found.attempts, found.exit_code) == ("stopped", (), 3)
    found = blown(pickled(bytearray, 1 << 40))
    assert (found.ended, found.error, found.exit_code) == ("raised", "MemoryError: ", 3)


def test_time_is_limited(pickled) -> None:
    started = time.monotonic()
    found = blown(pickled(pow, 3, 1 << 40), seconds=1)
    assert (found.ended, found.exit_code) == ("stopped", 3)
    assert time.monotonic() - started < 20


def test_a_leak_of_the_planted_secret_and_a_changed_folder_are_seen(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("secret")
    lines = [{"event": "open", "detail": "x", "refused": True}, {"event": "os.system", "detail": "curl -d secret"}]
    assert [e.detail for e in detonation._touched(tmp_path, "secret", lines)] == ["the secret is in os.system"]
    (tmp_path / "new").touch()
    assert [e.name for e in detonation._touched(tmp_path, "secret", [])] == ["canary"]
    (tmp_path / "new").unlink()
    (tmp_path / "credentials").unlink()
    os.mkfifo(tmp_path / "credentials")
    assert [e.name for e in detonation._touched(tmp_path, "secret", [])] == ["canary"]


def test_a_deleted_folder_is_seen(tmp_path: Path) -> None:
    assert [e.detail for e in detonation._touched(tmp_path / "gone", "s", [])] == ["the folder now holds nothing"]


def test_the_kernels_walls_hold_where_the_hook_is_blind(pickled, marker: Path) -> None:
    """`fork_exec` raises no audit event: only the kernel stands between it and a new process."""
    command = [b"/bin/mkdir", str(marker).encode()]
    numbers = (*[-1] * 6, 0, 2, False, False, 0, None, None, None, -1, None, False)
    arguments = (command, (command[0],), False, (), None, None, *numbers)
    os.waitpid(_posixsubprocess.fork_exec(*arguments), 0)
    assert marker.exists()  # without walls it happens
    marker.rmdir()
    try:
        found = detonate(pickled(_posixsubprocess.fork_exec, *arguments))
    except FileError as error:
        pytest.skip(str(error))
    assert found.attempts == ()
    time.sleep(0.2)
    assert not marker.exists()


def test_without_walls_it_does_not_run(pickled, marker: Path, monkeypatch, tmp_path: Path) -> None:
    path = pickled(os.mkdir, str(marker))
    blind = tmp_path / "chamber.py"
    text = Path(chamber.__file__).read_text().replace("granted += _read_only()", "pass")
    blind.write_text(text)
    monkeypatch.setattr(chamber, "__file__", str(blind))
    with pytest.raises(FileError, match="this kernel grants only"):
        detonate(path)
    assert blown(path).exit_code == 1


def test_what_cannot_be_loaded_is_said(tmp_path: Path, pickled) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(FileError, match="pickle, torch, joblib or numpy"):
        blown(tmp_path / "text")
    with pytest.raises(FileError, match="did you mean 'pickle'"):
        blown(pickled(print), loader="pickel")
    assert blown(pickled(int, "1"), loader="numpy").loader == "numpy"


def test_forged_lines_do_not_break_the_report() -> None:
    for text in (b"\xff", b"[]", b"3", b'{"event": 1}', b""):
        list(detonation._events([line for line in [detonation._line(text)] if line]))
    assert json.loads(json.dumps(detonation._line(b'{"event": 1}'))) == {"event": 1}
