"""RESULTS.md from the records of the claims: a table per claim, over seeds, next to the published numbers.

A claim keeps the table that RESULTS.md has if that was made of more records than are on this machine.
"""

from __future__ import annotations

import math
import os
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from antivenom.auditing.grid import label
from antivenom.auditing.plan import Cell, Plan, read_plan
from antivenom.auditing.records import Store
from antivenom.data.files import OFFLINE
from antivenom.scenarios.federated import Federated

TITLES = {
    "census": "Census (UCI Adult), the paper's own setting",
    "fashion-small": "Fashion-MNIST, small scale",
    "fashion-paper": "Fashion-MNIST, the paper's scale",
    "availability": "Availability of centralised models",
    "backdoors": "Backdoors and targeted poison of centralised models",
}
ROUNDS = (1, 2, 3, 4, 5, 8, 11, 20, 40)
GAMMA, KAPPA = 0.1, 5.0
Record = dict[str, Any]


def write_results(folder: Path, target: Path) -> None:
    """Findings (written by hand) and tables (from the records) in one file."""
    # The keys of trials hold the fingerprint of their data. Data that is not at hand would be downloaded for each trial, and
    # no record of this machine can have been made with it.
    os.environ[OFFLINE] = "1"
    before = _sections(target)
    parts = [(folder / "FINDINGS.md").read_text(encoding="utf-8").rstrip()]
    for name, title in TITLES.items():
        store = Store(folder / "out" / name)
        if not store.path.exists():
            never = f"Not run on this machine. The commands stand in `benchmarks/claims/{name}/`."
            parts.append(f"## {title}\n\n{before.get(title, never)}")
            continue
        records = store.trials()
        plans = [read_plan(file) for file in sorted((folder / name).glob("*.yaml"))]
        opening, *claims = before.get(title, "").split("### ")
        kept = {claim.partition("\n")[0].strip(): "### " + claim.strip() for claim in claims}
        old = {plan.name for plan in plans if _is_fuller(kept.get(plan.name), plan, records)}
        parts.append(f"## {title}\n\n{_opening(opening.strip()) if old else ''}".strip())
        parts += [kept[plan.name] if plan.name in old else _claim(plan, records) for plan in plans]
    target.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(target)


def _opening(conditions: str) -> str:
    """The conditions that a section states once for all of its tables, for those that were measured then."""
    older = "Tables that name no conditions of their own are older: "
    return conditions if not conditions or conditions.startswith(older) else older + conditions


def _sections(target: Path) -> dict[str, str]:
    """Title -> text of the sections that the file has."""
    text = target.read_text(encoding="utf-8") if target.exists() else ""
    parts = [part.partition("\n") for part in text.split("\n## ")[1:]]
    return {title.strip(): body.strip() for title, _, body in parts}


def _is_fuller(table: str | None, plan: Plan, records: dict[str, Record]) -> bool:
    """Whether the table that RESULTS.md has was made of more trials than there are here; all, if it does not say of how many."""
    if table is None:
        return False
    stated = re.search(r"(\d+) trials", table)
    return sum(trial.key in records for trial in plan.trials()) < (int(stated[1]) if stated else plan.size)


def _conditions(plan: Plan, records: dict[str, Record]) -> str:
    wanted = {trial.key for trial in plan.trials()}
    records = {key: record for key, record in records.items() if key in wanted}
    done = [r for r in records.values() if r["status"] == "ok"]
    if not done:
        return f"None of {len(records)} trials finished."
    versions = done[0]["versions"]
    seconds = sum(r["seconds"] for r in done)
    shown = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "machine")
    return f"{len(done)} trials, {seconds / 60:.1f} minutes in all; {versions['machine']}; {shown}."


def _claim(plan: Plan, records: dict[str, Record]) -> str:
    lines = [f"### {plan.name}", "", f"Published: {plan.claim['published']}. Tolerance: {plan.claim['tolerance']}."]
    lines += [
        "",
        f"`{plan.claim['command']}`, seeds {', '.join(map(str, plan.seeds))}; mean [least, greatest] over seeds. "
        + _conditions(plan, records),
    ]
    if not all(isinstance(cell.scenario, Federated) for cell in plan.cells):
        return "\n".join([*lines, "", *_central(plan, records)])
    summary = [
        "cell",
        "accuracy",
        "target confidence",
        "targets hit",
        "alone within 10 pt",
        "range below 5",
        "range",
        "picked",
    ]
    table: list[Sequence[str]] = []
    curves: list[Sequence[str]] = []
    for cell, name, _, done in _cells(plan, records):
        if not done:
            table.append([name, "not measured", *[""] * 6])
            continue
        table.append([name, *_numbers(done, attacked=cell.attack is not None)])
        curves += _curves(name, done, attacked=cell.attack is not None)
    rounds = _rounds(_longest(plan))
    header = ["cell", "per round", *map(str, rounds)]
    return "\n".join(
        [*lines, "", *_markdown(summary, table), "", *_markdown(header, [c[: len(header)] for c in curves])]
    )


def _cells(plan: Plan, records: dict[str, Record]) -> Iterator[tuple[Cell, str, list[Record], list[Record]]]:
    """Every cell with the name of its row, its records, and those of them that finished."""
    several = len({cell.group for cell in plan.cells}) > 1
    for cell in plan.cells:
        keys = [cell.trial(seed).key for seed in plan.seeds]
        found = [records[key] for key in keys if key in records]
        done = [record for record in found if record["status"] == "ok"]
        name = f"{label(cell.attack)} / {label(cell.defence)}" + (f" ({cell.group})" if several else "")
        if len(done) < len(plan.seeds):  # the heading names all seeds: a row of fewer must say so
            name += f", {len(done)} of {len(plan.seeds)} seeds"
        yield cell, name, found, done


def _central(plan: Plan, records: dict[str, Record]) -> list[str]:
    """A row per cell of a claim about one model: test error, the metrics that the claim names, rows removed, seconds."""
    names = [name.strip() for name in plan.claim.get("metrics", "").split(",") if name.strip()]
    table: list[Sequence[str]] = []
    for _, name, found, done in _cells(plan, records):
        if not done:
            refused = next((r["error"] for r in found if r["error"]), "not measured")
            table.append([name, refused.replace("|", "/"), *[""] * (len(names) + 2)])
            continue
        error = [1 - r["metrics"]["clean_accuracy"] for r in done]
        kept = [[r["metrics"][n] for r in done if r["metrics"].get(n) is not None] for n in names]
        rows = statistics.mean(r["metrics"]["poisoned_rows"] for r in done)
        removed = statistics.mean(r["metrics"]["removed_rows"] for r in done)
        seconds = statistics.mean(r["seconds"] for r in done)
        table.append(
            [
                name,
                _spread(error),
                *(_spread(k) if k else "" for k in kept),
                f"{rows:.0f} / {removed:.0f}",
                f"{seconds:.1f}",
            ]
        )
    return _markdown(["cell", "test error", *names, "rows poisoned / removed", "seconds"], table)


def _rounds(longest: int) -> list[int]:
    """Every round of a short run, some of a long one."""
    return list(range(1, longest + 1)) if longest <= 12 else [r for r in ROUNDS if r <= longest]


def _longest(plan: Plan) -> int:
    return max(cell.scenario.federation.rounds for cell in plan.cells)


def _numbers(done: list[Record], attacked: bool) -> list[str]:
    def last(name: str) -> list[float]:
        return [r["metrics"][name] for r in done]

    picked = _spread([_share(r, "malicious_selected", lambda v: v > 0.5) for r in done]) if attacked else ""
    stealth = ["", "", ""]
    if attacked:
        statistics_ = [_defined(r, "range_statistic") for r in done]
        stealth = [
            _spread([_share(r, "accuracy_gap", lambda v: v <= GAMMA) for r in done]),
            _spread([_share(r, "range_statistic", lambda v: v < KAPPA) for r in done]),
            f"{min(map(min, statistics_)):.1f} to {max(map(max, statistics_)):.1f}, median "
            f"{statistics.median([v for s in statistics_ for v in s]):.1f}",
        ]
    return [
        _spread(last("clean_accuracy")),
        _spread(last("target_confidence")),
        _spread(last("targets_hit")),
        *stealth,
        picked,
    ]


def _curves(name: str, done: list[Record], attacked: bool) -> list[list[str]]:
    wanted = {"accuracy": "global accuracy", "target_confidence": "target confidence"}
    if attacked:
        wanted["malicious_accuracy"] = "malicious alone"
    longest = max(len(r["curves"]["accuracy"]) for r in done)
    rows = []
    for curve, text in wanted.items():
        cells = []
        for number in _rounds(longest):
            values = [r["curves"][curve][number - 1] for r in done if len(r["curves"][curve]) >= number]
            cells.append(_spread([v for v in values if v is not None], short=True))
        rows.append([name, text, *cells])
    return rows


def _defined(record: Record, curve: str) -> list[float]:
    return [v for v in record["curves"][curve] if v is not None] or [math.nan]


def _share(record: Record, curve: str, test: Callable[[float], bool]) -> float:
    """The share of rounds in which a curve passes a test."""
    values = _defined(record, curve)
    return sum(test(v) for v in values) / len(values)


def _spread(values: list[float], short: bool = False) -> str:
    if not values:
        return "not measured"
    mean = f"{statistics.mean(values):.2f}" if short else f"{statistics.mean(values):.3f}"
    return f"{mean} [{min(values):.2f}, {max(values):.2f}]"


def _markdown(header: Sequence[str], rows: list[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
