"""CPU seconds (user and system, children included) of commands that train nothing, as ratios to --help and to import torch.

python benchmarks/startup/run.py [--repeats 3] [--old SRC]   # SRC: the `src` folder of another checkout, measured in turn
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import antivenom

ANTIVENOM = [sys.executable, "-m", "antivenom"]
COMMANDS = {
    "import torch": [sys.executable, "-c", "import torch"],
    "--help": [*ANTIVENOM, "--help"],
    "list": [*ANTIVENOM, "list"],
    "show Krum": [*ANTIVENOM, "show", "Krum"],
    "init": [*ANTIVENOM, "init", "scenario.yaml"],
    "audit --dry-run": [*ANTIVENOM, "audit", "--dry-run"],
    "recommend": [*ANTIVENOM, "recommend", "--agents", "10", "--malicious", "1"],
    "from antivenom import attack, Poison": [sys.executable, "-c", "from antivenom import attack, Poison"],
}


def seconds(command: list[str], source: str) -> float | None:
    """CPU seconds of one run in an empty folder, or None if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": source},
            cwd=folder,
            capture_output=True,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        return None
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--old", help="the `src` folder of another checkout")
    options = parser.parse_args()
    sources = [str(Path(antivenom.__file__).parents[1]), *([options.old] if options.old else [])]
    best: dict[str, list[float | None]] = {}
    for name, command in COMMANDS.items():
        runs = [[seconds(command, source) for source in sources] for _ in range(options.repeats)]
        best[name] = [min((t for t in of if t is not None), default=None) for of in zip(*runs, strict=True)]
    unit, torch = best["--help"][0] or 1.0, best["import torch"][0] or 1.0
    print(f"| command | CPU-s{' | before' * (len(sources) > 1)} | / --help | / import torch |")
    print(f"| --- | ---{' | ---' * (len(sources) > 1)} | --- | --- |")
    for name, times in best.items():
        shown = " | ".join("fails" if t is None else f"{t:.2f}" for t in times)
        now = times[0]
        ratios = "- | -" if now is None else f"{now / unit:.1f} | {now / torch:.2f}"
        print(f"| `{name}` | {shown} | {ratios} |")


if __name__ == "__main__":
    main()
