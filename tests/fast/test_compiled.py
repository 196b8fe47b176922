"""The cache of compiled functions is a convenience: without room for it they are compiled anew."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="there is no cache without numba (extra fast)")

SOURCE = """
from antivenom.fast.compiled import compiled

@compiled()
def doubled(x):
    return 2 * x

print(doubled(21), doubled(0.5))
"""


def no_room() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


def test_a_full_disk_costs_the_cache_only(tmp_path: Path) -> None:
    (tmp_path / "doubling.py").write_text(SOURCE)
    for prepared, kept in ((no_room, False), (None, True)):
        done = subprocess.run(
            [sys.executable, "doubling.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            preexec_fn=prepared,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "42 1.0\n"), done.stderr
        assert any((tmp_path / "__pycache__").glob("*.nbi")) is kept
