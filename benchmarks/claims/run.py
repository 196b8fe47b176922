"""Run the claims and write RESULTS.md.

    python benchmarks/claims/run.py census                     half an hour on two cores
    python benchmarks/claims/run.py fashion --scale small      half an hour on two cores
    python benchmarks/claims/run.py fashion boundary           where Krum and the median stop holding: two hours
    python benchmarks/claims/run.py fashion controls           the controls of that boundary
    python benchmarks/claims/run.py fashion hundred_agents     100 agents, of which 10 are chosen per round
    python benchmarks/claims/run.py fashion first_rounds --scale paper       two rounds of it: an hour on one core
    python benchmarks/claims/run.py fashion --scale paper --device cuda
    python benchmarks/claims/run.py availability               attacks on centralised models and their certificates
    python benchmarks/claims/run.py backdoors                  backdoors and targeted poison planted through rows
    python benchmarks/claims/run.py --tables-only              RESULTS.md again from the records at hand

Each claim is a scenario file of its own and runs through `antivenom audit`; the files of one folder share their records,
so a clean twin is trained once. Killed and started again, it continues.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from results import write_results

HERE = Path(__file__).parent
FOLDERS = {
    "census": "census",
    "availability": "availability",
    "backdoors": "backdoors",
    "fashion small": "fashion-small",
    "fashion paper": "fashion-paper",
}
BY_NAME = ("boundary", "controls", "hundred_agents", "first_rounds")  # long, and run only by their names


def run(folder: str, names: list[str], device: str, jobs: int) -> None:
    """Every claim of a folder, the quick ones first."""
    for file in sorted((HERE / folder).glob("*.yaml"), key=lambda f: (f.stem != "benign", f.stem)):
        if file.stem not in names and (names or file.stem in BY_NAME):
            continue
        command = ["-m", "antivenom", "audit", str(file), "--out", str(HERE / "out" / folder), "--device", device]
        print(f"== {folder}/{file.stem}", flush=True)
        code = subprocess.run([sys.executable, *command, "--jobs", str(jobs), "--quiet", "-v"], check=False).returncode
        if code not in (0, 1, 3):
            sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "claims",
        nargs="*",
        default=["census"],
        help="census, fashion, availability or backdoors, and names of claims after it",
    )
    parser.add_argument("--scale", choices=("small", "paper"), default="small", help="of fashion")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0 is one per core")
    parser.add_argument("--tables-only", action="store_true")
    options = parser.parse_args()
    which, *names = options.claims
    if which not in ("census", "fashion", "availability", "backdoors"):
        parser.error(f"expected census, fashion, availability or backdoors, got {which!r}")
    if not options.tables_only:
        key = f"fashion {options.scale}" if which == "fashion" else which
        run(FOLDERS[key], names, options.device, options.jobs)
    write_results(HERE, HERE / "RESULTS.md")


if __name__ == "__main__":
    main()
