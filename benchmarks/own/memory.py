"""Peak memory of an audit of one's own pipeline: the proportional set sizes (PSS) of its process tree, summed, each second.

    python benchmarks/own/memory.py audit --data adult.csv --label income --estimator mine:forest --time 2m --out out

The arguments are those of the command `antivenom`. The last line says the largest sum; benchmarks/RESULTS.md has it. Linux only.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                found += map(int, (task / "children").read_text().split())
            except OSError:  # it ended
                continue
    return found


def pss(pid: int) -> int:
    """Kilobytes of a process; pages that several processes share count as a part of each. 0 if it ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def main() -> None:
    begun, peak, at, processes = time.monotonic(), 0, 0.0, 0
    command = [sys.executable, "-m", "antivenom", *sys.argv[1:]]
    with subprocess.Popen(command) as audit:
        while audit.poll() is None:
            pids = tree(audit.pid)
            now = sum(map(pss, pids))
            if now > peak:
                peak, at, processes = now, time.monotonic() - begun, len(pids)
            time.sleep(1)
    seconds = time.monotonic() - begun
    print(
        f"peak {peak / 1e6:.2f} GB after {at:.0f} s in {processes} processes; {seconds:.0f} s, exit {audit.returncode}"
    )


if __name__ == "__main__":
    main()
