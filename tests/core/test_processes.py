"""Workers: what they share, what they may use, and that a pool is gone when its block is left."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from antivenom.core.processes import worker_pool

CODE = """
import os, sys
sys.path.insert(0, {here!r})
from antivenom.core.processes import worker_pool
from test_processes import inside, nap
if __name__ == "__main__":
    with worker_pool(2, ["antivenom.auditing.preload"], os.putenv, "READY", "1", threads=1) as pool:
        print(pool.schedule(inside).result())
        print(pool.schedule(inside).result()["server"])
        pool.schedule(nap)
"""


def inside() -> dict[str, object]:
    """What a worker finds when its first task begins."""
    import torch

    return {
        "shared": "torch" in sys.modules and "antivenom.federated" in sys.modules,
        "threads": torch.get_num_threads(),
        "tasks": len(os.listdir("/proc/self/task")) - threading.active_count(),
        "server": os.getppid(),
        "safe path": os.environ.get("PYTHONSAFEPATH", ""),
    }


def nap() -> None:
    time.sleep(60)


def runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_workers_are_forked_from_one_server_that_has_imported_everything_and_started_no_thread(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CODE.format(here=str(Path(__file__).parent)))
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    first, server, *rest = done.stdout.splitlines()
    assert first == str({"shared": True, "threads": 1, "tasks": 0, "server": int(server), "safe path": ""})
    assert not rest
    deadline = time.monotonic() + 20
    while runs(int(server)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not runs(int(server))  # and the nap, which held it up, is gone with it
    assert done.stderr == ""


SLOW = """
import time
from pathlib import Path
from antivenom.core.processes import while_parent_lives
with while_parent_lives():
    Path("begun").touch()
    time.sleep(60)
"""
EARLY = """
import time
from pathlib import Path
from antivenom.core.processes import start_server
start_server(["slow_import"])
while not Path("begun").exists():
    time.sleep(0.05)
print("refused")
"""


def test_a_server_that_still_imports_does_not_outlive_its_parent(tmp_path: Path) -> None:
    (tmp_path / "slow_import.py").write_text(SLOW)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))}
    command = [sys.executable, "-c", EARLY]
    # The pipe ends when nobody holds it any more, the server included.
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=40, check=False
    )
    assert (done.stdout, done.stderr) == ("refused\n", "")


def test_an_error_in_the_block_ends_the_workers() -> None:
    started: list[int] = []

    def fail() -> None:
        with worker_pool(1, ["antivenom.scan"]) as pool:
            started.append(pool.schedule(os.getpid).result())
            pool.schedule(nap)
            raise RuntimeError("in the parent")

    with pytest.raises(RuntimeError, match="in the parent"):
        fail()
    assert not runs(started[0])
