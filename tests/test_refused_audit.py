"""An audit that is refused leaves no process behind that keeps the caller's pipe open."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path


def test_a_reader_of_stderr_does_not_wait_for_the_workers_server(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("version: 1\nscenarios:\n  - kind: central\n    attacks: [BadNet]\n")
    command = [sys.executable, "-m", "antivenom", "audit", "bad.yaml", "--out", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        assert process.wait(timeout=300) == 4
        ended = time.perf_counter()
        said = process.stderr.read()  # until every process that holds the pipe has ended
        waited = time.perf_counter() - ended
    assert waited < 1
    assert b"did you mean 'BadNets'?" in said
    assert said.count(b"\n") == 1
