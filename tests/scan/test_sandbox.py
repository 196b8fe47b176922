"""The command of the guide that runs a scan under bubblewrap: the same report, without a network and without writing."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from model_files import Runs

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "model-files.md"
COMMAND = "bwrap " + GUIDE.read_text("utf-8").partition("    bwrap ")[2].partition("antivenom scan")[0]
WALLS = shlex.split(COMMAND.replace("\\\n", " "))
SCAN = [sys.executable, "-c", "from antivenom.cli import main; main()", "scan", "--jobs", "2", "--format", "json"]

usable = shutil.which("bwrap") is not None and subprocess.run([*WALLS, "true"], capture_output=True).returncode == 0
pytestmark = pytest.mark.skipif(not usable, reason="bubblewrap is not installed, or the kernel refuses it namespaces")


def test_the_report_is_the_same_inside(tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / name).write_bytes(pickle.dumps([name]))
    (tmp_path / "evil").write_bytes(pickle.dumps(Runs(os.system, "true")))
    inside, outside = (
        subprocess.run([*walls, *SCAN, str(tmp_path)], capture_output=True, text=True) for walls in (WALLS, [])
    )
    assert json.loads(inside.stdout) == json.loads(outside.stdout), inside.stderr
    assert inside.returncode == outside.returncode == 1


def test_nothing_inside_can_write_or_reach_the_network(tmp_path: Path) -> None:
    code = f"""
import socket
for attempt in (lambda: open({str(tmp_path / "file")!r}, "w"), lambda: socket.create_connection(("192.0.2.1", 80), 1)):
    try:
        attempt()
    except OSError as error:
        print(error.errno)
"""
    done = subprocess.run([*WALLS, sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["30", "101"], done.stderr  # read-only file system, network is unreachable
