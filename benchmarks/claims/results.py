"""RESULTS.md from the records of the claims: a table per claim, over seeds, next to the published numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from antivenom.audit.grid import label
from antivenom.audit.plan import Plan, read_plan
from antivenom.audit.store import Store

TITLES = {
    "census": "Census (UCI Adult), the paper's own setting",
    "fashion-small": "Fashion-MNIST, small scale",
    "fashion-paper": "Fashion-MNIST, the paper's scale",
}
ROUNDS = (1, 2, 3, 4, 5, 8, 11, 20, 40)
GAMMA, KAPPA = 0.1, 5.0
Record = dict[str, Any]


def write_results(folder: Path, target: Path) -> None:
    """Findings (written by hand) and tables (from the records) in one file."""
    parts = [(folder / "FINDINGS.md").read_text(encoding="utf-8").rstrip()]
    for name, title in TITLES.items():
        store = Store(folder / "out" / name)
        if not store.path.exists():
            parts.append(f"## {title}\n\nNot run on this machine. The commands stand in `benchmarks/claims/{name}/`.")
            continue
        records = store.trials()
        plans = [read_plan(file) for file in sorted((folder / name).glob("*.yaml"))]
        parts.append(f"## {title}\n\n{_conditions(records)}")
        parts += [_claim(plan, records) for plan in plans]
    target.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(target)


def _conditions(records: dict[str, Record]) -> str:
    done = [r for r in records.values() if r["status"] == "ok"]
    if not done:
        return f"None of {len(records)} trials finished."
    versions = done[0]["versions"]
    seconds = sum(r["seconds"] for r in done)
    shown = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "machine")
    return f"{len(done)} trials, {seconds / 60:.0f} minutes of training in all; {versions['machine']}; {shown}."


def _claim(plan: Plan, records: dict[str, Record]) -> str:
    lines = [f"### {plan.name}", "", f"Published: {plan.claim['published']}. Tolerance: {plan.claim['tolerance']}."]
    lines += [
        "",
        f"`{plan.claim['command']}`, seeds {', '.join(map(str, plan.seeds))}; mean [least, greatest] over seeds.",
    ]
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
    several = len({cell.group for cell in plan.cells}) > 1
    for cell in plan.cells:
        found = [records.get(cell.trial(seed).key) for seed in plan.seeds]
        done = [r for r in found if r is not None and r["status"] == "ok"]
        name = f"{label(cell.attack)} / {label(cell.defence)}" + (f" ({cell.group})" if several else "")
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
