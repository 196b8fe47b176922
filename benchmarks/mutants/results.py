"""RESULTS.md from the records: for each room the numbers, then every survivor with its reason from reasons.toml."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rooms import ROOMS

Record = dict[str, Any]
UNDECIDED = ("timeout", "uncovered", "no program")

HEAD = """# Mutants: which small faults the tests notice

Written by `python benchmarks/mutants/run.py --sample {sample}`{when}.
Each mutant is the package with one small fault, such as `<` for `<=`, another number, or a loop that does not run; cosmic-ray makes it. A mutant dies if a test fails.

- Drawn: up to {sample} mutants of each room with seed {seed}, at most one for each place in the code; fewer where the run was ended. Type hints, decorators, messages of
  errors and strings are left alone.
- Asked: the tests that run the mutated statement in the test's own process, at most 40 and at most 60 seconds of them, the quickest of
  each file first. So a mutant that is said to survive may still be found by a slower test. Tests that were written because a mutant
  survived, and for audit two slower ones, were asked about all survivors of the room (`--survivors --also`).
- Decided: killed or survived. Not decided: no test runs the statement in its own process ("uncovered"), the tests did not end in
  time ("timeout"), or the mutant is the same program or no program.
- Survivors: "equivalent" mutants have the same results in every case, so that no test can notice them; a "setting" is a number without
  a right value, such as the steps of a search; for a "hole", a test is missing.

"""


def write_results(here: Path, sample: int, seed: int) -> None:
    """Writes RESULTS.md for the rooms that have records."""
    reasons = tomllib.loads((here / "reasons.toml").read_text())["survivor"]
    known = {(r["file"], r["before"], r["after"]): r for r in reasons}
    rows, parts = [], []
    for room in ROOMS:
        records = latest(here / "out" / f"{room}.jsonl")
        if not records:
            continue
        count = Counter(record["status"] for record in records)
        decided = count["killed"] + count["survived"]
        survivors = [record for record in records if record["status"] == "survived"]
        why = Counter(reason(known, record)[0] for record in survivors)
        undecided = " | ".join(str(count[name]) for name in UNDECIDED)
        share = percent(count["killed"], decided)
        real = percent(count["killed"], decided - why["equivalent"])
        rows.append(
            f"| {room} | {records[0]['places']} | {len(records)} | {undecided} | {decided} | {count['killed']} | {share} | {real} | "
            f"{', '.join(f'{n} {kind}' for kind, n in why.most_common()) or '0'} |"
        )
        parts += [f"\n## Survivors in {room}\n", *(told(known, record) for record in sorted(survivors, key=place))]
    table = [
        "| room | places | drawn | timeout | uncovered | same or no program | decided | killed | share | "
        "without equivalent ones | survivors |",
        f"|{' --- |' * 11}",
    ]
    head = HEAD.format(sample=sample, seed=seed, when=when(here))
    (here / "RESULTS.md").write_text(
        head + "\n".join([*table, *rows]) + "\n" + (here / "eight.md").read_text() + "\n".join(parts) + "\n"
    )


def percent(part: int, of: int) -> str:
    return f"{100 * part / max(of, 1):.1f} %"


def when(here: Path) -> str:
    """The commit of the sources and the day of the last record."""
    commit = subprocess.run(
        ["git", "log", "-1", "--format=%h"], cwd=here, capture_output=True, text=True, check=True
    ).stdout
    days = [datetime.fromtimestamp(file.stat().st_mtime, UTC) for file in (here / "out").glob("*.jsonl")]
    return f" on {max(days):%-d %B %Y}, commit {commit.strip()}" if days else ""


def latest(file: Path) -> list[Record]:
    """The last record of each mutant."""
    lines = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
    return list({(r["file"], r["before"], r["after"], r["same"]): r for r in lines}.values())


def place(record: Record) -> tuple[str, int]:
    return record["file"], record["line"]


def reason(known: dict[tuple[str, str, str], Record], record: Record) -> tuple[str, str]:
    """The kind of survivor and the reason why it survives."""
    found = known.get((record["file"], record["before"], record["after"]))
    return (found["kind"], found["why"]) if found else ("unexplained", "not yet looked at")


def told(known: dict[tuple[str, str, str], Record], record: Record) -> str:
    kind, why = reason(known, record)
    file = record["file"].removeprefix("src/antivenom/")
    return f"- {file}: `{record['before']}` → `{record['after']}`. {kind.capitalize()}: {why}"
