"""Mutation testing: small faults are put into the code one at a time, and the tests have to notice them.

    make mutants                                               150 mutants in each room
    python benchmarks/mutants/run.py certify --sample 50       fewer, in one room
    python benchmarks/mutants/run.py --survivors               asks all tests again about mutants that survived
    python benchmarks/mutants/run.py --survivors --also FILE   asks the tests in FILE, which are new, about them
    python benchmarks/mutants/run.py --tables-only             RESULTS.md again from the records at hand

The mutants are cosmic-ray's, drawn with a seed. Each is judged by the tests that run the mutated statement, the quickest
first, in a process forked after numpy, torch and scikit-learn were imported. Killed and started again, it continues.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import gc
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from places import Mutant, mutants, mutated, statement_lines
from results import write_results
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
TESTS, SECONDS = 40, 60.0  # at most so many tests are asked about a mutant, and tests that take so long together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", help=f"of {', '.join(ROOMS)}; all by default")
    parser.add_argument("--sample", type=int, default=150, help="mutants of each room")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--survivors", action="store_true", help="ask again about the mutants that survived")
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
                judge(room, tree, options)
    write_results(HERE, options.sample, options.seed)


def judge(room: str, tree: Path, options: argparse.Namespace) -> None:
    """Adds a line to the room's records for every mutant of the sample that has none yet."""
    records = OUT / f"{room}.jsonl"
    known = (
        {identity(record): record for record in map(json.loads, records.read_text().splitlines())}
        if records.exists()
        else {}
    )
    chosen, places = sample(room, options.sample, options.seed)
    covered = coverage_of(room, anew=options.survivors and not options.also)
    if not options.also:
        control(tree, chosen[:2], covered)
    for number, mutant in enumerate(chosen):
        record = described(mutant) | {"room": room, "places": places, "sample": options.sample, "seed": options.seed}
        before = known.get(identity(record))
        if before is not None and not (options.survivors and before["status"] in ("survived", "uncovered")):
            continue
        text = mutated(REPO, mutant)
        tests, seconds = (options.also, SECONDS) if options.also else selected(mutant, covered)
        if text is None:
            record |= {"status": "no program"}
        elif not tests:
            record |= {"status": "uncovered"}
        else:
            record |= tried(tree, mutant.file, text, tests, 20 + 10 * seconds) | {"tests": len(tests)}
        with records.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(
            f"{room} {number + 1}/{len(chosen)} {record['status']:10} {mutant.file}:{mutant.line} {record['after']}",
            flush=True,
        )


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


def identity(record: dict[str, object]) -> tuple[object, ...]:
    """What does not change when lines are added above: file, the line before and after, and its number among equal lines."""
    return tuple(record[name] for name in ("file", "before", "after", "same"))


def coverage_of(room: str, anew: bool) -> dict[str, dict[str, object]]:
    """The tests that run each line, and their seconds; measured once, or again if tests were added."""
    file = OUT / f"{room}.coverage.json"
    if anew or not file.exists():
        command = [sys.executable, str(HERE / "covering.py"), str(REPO / PACKAGE), str(file), *ROOMS[room][1]]
        code = subprocess.run(command, env=environment(REPO / "src"), check=False).returncode
        if code not in (0, 1):
            sys.exit(f"expected the tests of {room} to run, got exit code {code}")
    found: dict[str, dict[str, object]] = json.loads(file.read_text())
    return found


def selected(mutant: Mutant, covered: dict[str, dict[str, object]]) -> tuple[list[str], float]:
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
        if len(tests) < TESTS and total + seconds[name] <= SECONDS:
            tests, total = [*tests, name], total + seconds[name]
    return (tests if in_function else [*tests, ON_IMPORT]), total


def tried(tree: Path, file: str, text: str, tests: list[str], limit: float) -> dict[str, object]:
    """Runs the tests in a forked process on the tree with the mutated file, which is restored afterwards."""
    target, log, began = tree / file, tree / "log", time.monotonic()
    put(target, text)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        run_tests(tree, log, tests)
    try:
        code = waited(child, limit)
    finally:
        put(target, (REPO / file).read_text())
    took = {"seconds": round(time.monotonic() - began, 1)}
    if code in (None, 0):
        return took | {"status": "timeout" if code is None else "survived"}
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


def run_tests(tree: Path, log: Path, tests: list[str]) -> None:
    """In the child: never returns."""
    code = BROKEN
    try:
        os.setsid()
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
