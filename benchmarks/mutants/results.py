"""RESULTS.md from the records: the numbers of each sample, then every survivor with its reason from reasons.toml."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rooms import ROOMS

Record = dict[str, Any]
Reasons = dict[tuple[str, str, str], Record]
SURVIVORS = ("setting", "hole", "uncovered", "unexplained")
COLUMNS = (
    "room, seed, places, drawn, timeout, no program, equivalent, removed, decided, killed at first, killed now, "
    "equivalent ones counted, survivors"
)

HEAD = """# Mutants: which small faults the tests notice

Written by `python benchmarks/mutants/run.py --tables-only`{when}.
Each mutant is the package with one small fault, such as `<` for `<=`, another number, or a loop that does not run; cosmic-ray makes it. A mutant dies if a test fails.

- Drawn: mutants of each room with a seed, at most one for each place in the code. Type hints, decorators, messages of errors and
  strings are left alone.
- Asked: the tests that run the mutated statement in the test's own process, at most 40 and at most 60 seconds of them, the quickest of
  each file first; then, about those that survived, all of them (`--survivors`). Tests that were written since are asked about what is
  left (`--survivors --also`). With seed 1, audit and aggregators were asked for 25 seconds, and audit without its slowest 16 tests.
- Decided: a test failed, or none did although some input tells the mutant from the program.
- Not decided: "timeout", the tests did not end in time; "no program", the mutant is no Python, or compiles to the same program;
  "equivalent", it has the same results for every input, so that no test can notice it. A mutant counts as equivalent only if
  `reasons.toml` says why, so that a reader can check it; the reasons are below. The column "equivalent ones counted" has the share
  with these among the survivors, as if one did not believe any of the reasons.
- "Killed at first" is the share that the tests noticed which were there when the seed was drawn: the fair estimate of what the tests
  notice elsewhere. "Killed now" includes tests that were written because a mutant of this very sample survived. "Removed" mutants had
  survived, and their code has since been made simpler, so that they no longer exist; they do not count now, and at first only if
  they were not equivalent.
- Survivors: a "setting" is a number without a right value, such as the steps of a search; for a "hole", a test is missing;
  "uncovered" says that no test runs the statement in its own process. All three count as decided.

"""


def write_results(here: Path) -> None:
    """Writes RESULTS.md for the samples that have records."""
    reasons = tomllib.loads((here / "reasons.toml").read_text())["survivor"]
    known = {(r["file"], r["before"], r["after"]): r for r in reasons}
    samples = {}
    for file in (here / "out").glob("*.seed*.jsonl"):
        room, seed = re.fullmatch(r"(\w+)\.seed(\d+)\.jsonl", file.name).groups()
        samples[int(seed), list(ROOMS).index(room)] = file
    rows, parts = [], []
    for seed in sorted({seed for seed, _ in samples}):
        files = [file for (own, _), file in sorted(samples.items()) if own == seed]
        tables = [row(file.name.split(".")[0], seed, latest(file, first=True), latest(file), known) for file in files]
        rows += [*tables, total(seed, files, known)]
        for file in files:
            parts += section(f"{file.name.split('.')[0]}, seed {seed}", latest(file), known)
    table = [f"| {' | '.join(COLUMNS.split(', '))} |", f"|{' --- |' * len(COLUMNS.split(', '))}"]
    head = HEAD.format(when=when(here))
    (here / "RESULTS.md").write_text(
        head + "\n".join([*table, *rows]) + "\n" + (here / "eight.md").read_text() + "\n".join(parts) + "\n"
    )


def total(seed: int, files: Iterable[Path], known: Reasons) -> str:
    """The row of all rooms together."""
    firsts, nows = [r for f in files for r in latest(f, first=True)], [r for f in files for r in latest(f)]
    places = sum(latest(file)[0]["places"] for file in files)
    return row("**all**", seed, firsts, nows, known, places)


def row(room: str, seed: int, firsts: list[Record], nows: list[Record], known: Reasons, places: int = 0) -> str:
    """The row of a sample: its records when it was drawn, and now."""
    first, now = counted(firsts, known), counted(nows, known)
    killed, survived = now["killed"], sum(now[kind] for kind in SURVIVORS)
    kinds = [f"{now[kind]} {kind}" for kind in SURVIVORS if now[kind]]
    cells = (
        *(room, seed, places or nows[0]["places"], len(nows)),
        *(now[kind] for kind in ("timeout", "no program", "equivalent", "gone")),
        killed + survived,
        share(first["killed"], first["killed"] + sum(first[kind] for kind in SURVIVORS)),
        share(killed, killed + survived),
        share(killed, killed + survived + now["equivalent"]),
        ", ".join(kinds) or "0",
    )
    return f"| {' | '.join(map(str, cells))} |"


def counted(records: list[Record], known: Reasons) -> Counter[str]:
    """How many have each status; of the survivors, how many are of each kind."""
    return Counter(reason(known, r)[0] if r["status"] == "survived" else str(r["status"]) for r in records)


def share(part: int, of: int) -> str:
    return f"{part} of {of}, {100 * part / max(of, 1):.1f} %"


def section(title: str, records: list[Record], known: Reasons) -> list[str]:
    """The survivors of a sample, one a line; then those that no longer exist."""
    found = []
    for status in ("survived", "uncovered", "timeout", "gone"):
        those = sorted((r for r in records if r["status"] == status), key=lambda r: (r["file"], r["line"]))
        found += [told(known, record) for record in those]
    return [f"\n## Not killed in {title}\n", *found] if found else []


def when(here: Path) -> str:
    """The commit of the sources and the day of the last record."""
    commit = subprocess.run(
        ["git", "log", "-1", "--format=%h"], cwd=here, capture_output=True, text=True, check=True
    ).stdout
    days = [datetime.fromtimestamp(file.stat().st_mtime, UTC) for file in (here / "out").glob("*.jsonl")]
    return f" on {max(days):%-d %B %Y}, commit {commit.strip()}" if days else ""


def latest(file: Path, first: bool = False) -> list[Record]:
    """The last record of each mutant; with `first`, the last before tests were written because it survived."""
    lines = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
    return list({identity(record): record for record in lines if not (first and record.get("later"))}.values())


def identity(record: Record) -> tuple[object, ...]:
    """What does not change when lines are added above: file, the line before and after, and its number among equal lines."""
    return tuple(record[name] for name in ("file", "before", "after", "same"))


def reason(known: Reasons, record: Record) -> tuple[str, str]:
    """The kind of survivor and the reason why it survives."""
    found = known.get((record["file"], record["before"], record["after"]))
    return (found["kind"], found["why"]) if found else ("unexplained", "not yet looked at")


def told(known: Reasons, record: Record) -> str:
    """A line about a mutant that was not killed."""
    kind, why = reason(known, record)
    file = record["file"].removeprefix("src/antivenom/")
    words = f"{kind.capitalize()}: {why}" if record["status"] == "survived" else record["status"].capitalize()
    if record["status"] == "gone":
        words = "Removed: the code is simpler now" + (f". It was equivalent: {why}" if kind == "equivalent" else "")
    return f"- {file}: `{record['before']}` → `{record['after']}`. {words}"
