"""Mutation testing: small faults are put into the code one at a time, and the tests have to notice them.

    make mutants                                                   150 mutants in each room
    python benchmarks/mutants/run.py certify --sample 50 --seed 2  fewer, in one room, and others
    python benchmarks/mutants/run.py --seed 2 --survivors          asks all tests about the survivors of seed 2
    python benchmarks/mutants/run.py --survivors --also FILE       asks the tests in FILE, which were written since
    python benchmarks/mutants/run.py --tables-only                 RESULTS.md again from the records at hand

The mutants are cosmic-ray's, drawn with a seed. Each is judged by the tests that run the mutated statement, the quickest
first, in a process forked after numpy, torch and scikit-learn were imported. Killed and started again, it continues.
A seed whose survivors nobody has seen estimates best what the tests notice: tests were written for the others.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import gc
import importlib
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from places import Mutant, mutants, mutants_of, mutated, statement_lines
from results import identity, latest, write_results
from rooms import ON_IMPORT, ROOMS

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
OUT = HERE / "out"
PACKAGE = "src/antivenom"
PRELOADED = (
    *("hypothesis.extra.numpy", "matplotlib.figure", "numba", "pandas", "pydantic", "pytest", "rich.console"),
    *("scipy.optimize", "scipy.stats", "sklearn.cluster", "sklearn.linear_model", "sklearn.svm", "torch", "typer"),
)
PYTEST = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
BROKEN = 3  # pytest's exit code for an error of its own
WAIT = 10  # a machine may be so much slower than it was when the tests were timed
TESTS, SECONDS = 40, 60.0  # at most so many tests are asked about a mutant, and tests that take so long together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", help=f"of {', '.join(ROOMS)}; all by default")
    parser.add_argument("--sample", type=int, default=150, help="mutants of each room")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--survivors", action="store_true", help="ask all tests about the mutants that survived")
    parser.add_argument("--also", nargs="+", default=[], help="with --survivors: tests that were added")
    parser.add_argument("--tables-only", action="store_true")
    options = parser.parse_args()
    if unknown := set(options.rooms) - set(ROOMS):
        parser.error(f"expected rooms of {', '.join(ROOMS)}, got {', '.join(sorted(unknown))}")
    os.chdir(REPO)
    OUT.mkdir(exist_ok=True)
    if not options.tables_only:
        preload()
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder)
            shutil.copytree(REPO / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
            compileall.compile_dir(tree / "src", quiet=1)
            for room in options.rooms or ROOMS:
                (ask_again if options.survivors else judge)(room, tree, options)
    write_results(HERE)


def judge(room: str, tree: Path, options: argparse.Namespace) -> None:
    """Adds a line to the room's records for every mutant of the sample that has none yet."""
    file = records_of(room, options.seed)
    known = {identity(record) for record in latest(file)}
    chosen, places = sample(room, options.sample, options.seed)
    covered = coverage_of(room)
    control(tree, chosen[:2], covered)
    for number, mutant in enumerate(chosen):
        record = described(mutant) | {"room": room, "places": places, "seed": options.seed}
        if identity(record) not in known:
            write(file, record | judged(tree, mutant, *selected(mutant, covered)), f"{number + 1}/{len(chosen)}")


def ask_again(room: str, tree: Path, options: argparse.Namespace) -> None:
    """Adds a line for every mutant that was not killed: what all tests say of it, or those that were written since."""
    file = records_of(room, options.seed)
    asked = [record for record in latest(file) if record["status"] in ("survived", "uncovered")]
    covered = {} if options.also else coverage_of(room)
    for number, record in enumerate(asked):
        mutant = found_again(record)
        if mutant is None:
            found: dict[str, object] = {"status": "gone"}
        elif options.also:
            found = described(mutant) | judged(tree, mutant, options.also, SECONDS)
        else:
            found = described(mutant) | judged(tree, mutant, *selected(mutant, covered, sys.maxsize, math.inf))
        later = bool(options.also) or mutant is None
        write(file, record | found | {"later": later}, f"{number + 1}/{len(asked)}")


def judged(tree: Path, mutant: Mutant, tests: list[str], seconds: float) -> dict[str, object]:
    """What becomes of the mutant, and the number of tests that are asked."""
    text = mutated(REPO, mutant)
    if text is None:
        return {"status": "no program"}
    if not tests:
        return {"status": "uncovered"}
    return tried(tree, mutant.file, text, tests, 20 + 10 * seconds) | {"tests": len(tests)}


def records_of(room: str, seed: int) -> Path:
    return OUT / f"{room}.seed{seed}.jsonl"


def write(file: Path, record: dict[str, object], number: str) -> None:
    """Adds the record to the file, and says so."""
    with file.open("a") as lines:
        lines.write(json.dumps(record) + "\n")
    said = f"{record['room']} {number} {record['status']:10} {record['file']}:{record['line']} {record['after']}"
    print(said, flush=True)


def control(tree: Path, chosen: list[Mutant], covered: dict[str, dict[str, object]]) -> None:
    """Stops if the tests fail on the program as it is."""
    for mutant in chosen:
        tests, seconds = selected(mutant, covered)
        if tests:
            found = tried(tree, mutant.file, (REPO / mutant.file).read_text(), tests, 20 + 10 * seconds)
            if found["status"] != "survived":
                sys.exit(f"expected the tests to pass without a mutant, got {found}")


def sample(room: str, size: int, seed: int) -> tuple[list[Mutant], int]:
    """The mutants of the sample, the same for the same code, seed and size; and the number of places in the room."""
    files = sorted(str(file.relative_to(REPO)) for file in (REPO / PACKAGE / ROOMS[room][0]).rglob("*.py"))
    found = [mutant for file in files for mutant in mutants(REPO, file, seed)]
    random.Random(f"{seed} {room}").shuffle(found)
    return found[:size], len(found)


def described(mutant: Mutant) -> dict[str, object]:
    """What a record says of a mutant: its file, its operator, and the changed line before and after."""
    source = (REPO / mutant.file).read_text()
    old, new = source.splitlines(), (mutated(REPO, mutant) or source).splitlines()
    at = next((i for i, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), mutant.line - 1)
    same = sum(line == old[at] for line in old[:at])
    return {
        "file": mutant.file,
        "line": at + 1,
        "operator": mutant.operator.removeprefix("core/"),
        "before": old[at].strip(),
        "after": new[at].strip(),
        "same": same,
    }


def found_again(record: dict[str, object]) -> Mutant | None:
    """The mutant of a record in the code of today, where lines may have moved; None if its line is gone."""
    if not (REPO / record["file"]).exists():
        return None
    made = mutants_of(REPO, record["file"], f"core/{record['operator']}")
    return next((mutant for mutant in made if identity(described(mutant)) == identity(record)), None)


def coverage_of(room: str) -> dict[str, dict[str, object]]:
    """The tests that run each line, and their seconds; measured once: remove the file where tests or code have changed."""
    file = OUT / f"{room}.coverage.json"
    if not file.exists():
        command = [sys.executable, str(HERE / "covering.py"), str(REPO / PACKAGE), str(file), *ROOMS[room][1]]
        code = subprocess.run(command, env=environment(REPO / "src"), check=False).returncode
        if code not in (0, 1):
            sys.exit(f"expected the tests of {room} to run, got exit code {code}")
    found: dict[str, dict[str, object]] = json.loads(file.read_text())
    return found


def selected(
    mutant: Mutant, covered: dict[str, dict[str, object]], most: int = TESTS, most_seconds: float = SECONDS
) -> tuple[list[str], float]:
    """The tests that run the mutated statement, the quickest first; for code that is run on import, those of its file."""
    by_line = covered["lines"].get(mutant.file.removeprefix(f"{PACKAGE}/"), {})
    lines, in_function = statement_lines((REPO / mutant.file).read_text(), mutant.line)
    asked = {name for line in lines for name in by_line.get(str(line), ())}
    if not asked and not in_function:
        asked = {name for names in by_line.values() for name in names}
    seconds = covered["seconds"]
    tests, total = [], 0.0
    by_time = sorted(asked, key=lambda name: (seconds[name], name))
    before: Counter[str] = Counter()
    turns = []
    for name in by_time:
        file = name.split("::")[0]
        turns.append((before[file], seconds[name], name))
        before[file] += 1
    for _, _, name in sorted(turns):  # the quickest of each file, then the second of each
        if len(tests) < most and total + seconds[name] <= most_seconds:
            tests, total = [*tests, name], total + seconds[name]
    return (tests if in_function else [*tests, ON_IMPORT]), total


def tried(tree: Path, file: str, text: str, tests: list[str], limit: float) -> dict[str, object]:
    """Runs the tests in a forked process on the tree with the mutated file, which is restored afterwards.

    The limit is on seconds of computing, which do not depend on what else the machine does, and `WAIT` times it on the clock.
    """
    target, log, began = tree / file, tree / "log", time.monotonic()
    put(target, text)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        run_tests(tree, log, tests, limit)
    try:
        code = waited(child, WAIT * limit)
    finally:
        put(target, (REPO / file).read_text())
    took = {"seconds": round(time.monotonic() - began, 1)}
    if code in (None, 0, -signal.SIGXCPU):
        return took | {"status": "survived" if code == 0 else "timeout"}
    said = log.read_text(errors="replace")
    functions = list(dict.fromkeys(name.split("[")[0] for name in tests))
    if "ERROR: not found" in said and functions != tests:  # the mutant is in the name of a test, such as "[Krum(f=2)]"
        return tried(tree, file, text, functions, 5 * limit)
    marks = ("FAILED ", "ERROR ", "ImportError while loading conftest")
    blamed = [line.split(" - ")[0] for line in said.splitlines() if line.startswith(marks)]
    if code > 0 and not blamed:  # not a test that failed
        sys.exit(f"expected the tests to pass or to fail, got exit code {code}:\n{said[-3000:]}")
    return took | {"status": "killed", "by": blamed[0].split(maxsplit=1)[1] if code > 0 else f"signal {-code}"}


def put(target: Path, text: str) -> None:
    """Writes the file, and removes what was compiled from its last text, which may be as long and as old."""
    target.write_text(text)
    for compiled in (target.parent / "__pycache__").glob(f"{target.stem}.*"):
        compiled.unlink()


def waited(child: int, limit: float) -> int | None:
    """The exit code of the child; None if it ran past the limit and was killed with what it started."""
    end, code = time.monotonic() + limit, None
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if code is None:
        os.waitpid(child, 0)
    return code


def run_tests(tree: Path, log: Path, tests: list[str], limit: float) -> None:
    """In the child: never returns."""
    code = BROKEN
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), math.ceil(limit) + 5))
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ.update(environment(tree / "src"))
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        sys.dont_write_bytecode = False
        sys.path.insert(0, str(tree / "src"))
        import pytest

        code = int(pytest.main([*PYTEST, *tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def environment(source: Path) -> dict[str, str]:
    """The environment of tests that shall import `source`, single-threaded."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **threads, "PYTHONPATH": str(source), "PYTHONHASHSEED": "0"}


def preload() -> None:
    """Imports what the tests import and what is not ours, once for all forks."""
    os.environ.update(environment(REPO / "src"))
    for name in PRELOADED:
        importlib.import_module(name)
    import hypothesis
    import torch

    torch.set_num_threads(1)
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, deadline=None)
    hypothesis.settings.load_profile("mutants")  # the same examples in each run, and no test fails on a loaded machine
    gc.collect()
    gc.freeze()  # the forks collect only what is their own


if __name__ == "__main__":
    main()
