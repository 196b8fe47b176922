"""An audit in the terminal: progress on stderr, results on stdout, plain text in a pipe or a log file."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from antivenom.auditing.allocation import Step
from antivenom.auditing.changes import lines_of
from antivenom.auditing.comparing import Comparison
from antivenom.auditing.formatting import (
    accuracy,
    bounds,
    not_measured,
    percent,
    seeds_of,
    shown,
    stealth,
    unconfirmed,
)
from antivenom.auditing.grades import grade
from antivenom.auditing.grid import label
from antivenom.auditing.naming import short
from antivenom.auditing.plan import Plan
from antivenom.auditing.repairing import Repair, repairs
from antivenom.auditing.results import CellResult, Id, LevelResult, State, Summary, id_of
from antivenom.auditing.sentences import do_first, floor_of, needs, next_step, on, sentence
from antivenom.auditing.standards import touched
from antivenom.auditing.statistics import Interval
from antivenom.auditing.stopping import Stop, is_open, stops
from antivenom.auditing.trial import Record, Trial, plain
from antivenom.auditing.untried import untried
from antivenom.core.terminal import COLUMNS, console

STYLE = {State.BREACHED: "bold magenta", State.HELD: "bold blue", State.INCONCLUSIVE: "yellow", State.ERROR: "red"}


def cell_name(spec: Any) -> str:
    """A trial in one line, as "scenario: attack against defence, seed 0"."""
    trial = Trial.from_spec(spec)
    kind = spec["scenario"]["kind"]
    return shown(f"{kind}: {label(trial.attack)} against {label(trial.defence)}, seed {trial.seed}")


def watch(steps: Iterator[Step], total: int, quiet: bool, verbose: bool) -> Iterator[Record]:
    """Yield the records and report progress on stderr.

    Args:
        steps: the new records, as their trials end, with the number of records to expect so far.
        total: the number of records to expect from the first round.
        quiet: whether to report nothing.
        verbose: whether to print a line for every trial, if stderr is not a terminal.
    """
    if quiet:
        yield from (step.record for step in steps)
    elif sys.stderr.isatty():
        yield from _with_bar(steps, total)
    else:
        yield from _with_lines(steps, verbose)


def _with_bar(steps: Iterator[Step], total: int) -> Iterator[Record]:
    columns = (TextColumn("{task.description}"), *COLUMNS, TextColumn("{task.fields[last]}"))
    errors = 0
    with Progress(*columns, console=console(sys.stderr), transient=True) as progress:
        task = progress.add_task("auditing", total=total, last="")
        for record, so_far in steps:
            errors += record["status"] in ("error", "timeout")
            last = cell_name(record["spec"])[:40] + (f" ({errors} errors)" if errors else "")
            progress.update(task, advance=1, total=so_far, last=last)
            yield record


def _with_lines(steps: Iterator[Step], verbose: bool) -> Iterator[Record]:
    """Print a line for every failure, and one for the progress at most every five seconds."""
    started = last_line = time.monotonic()
    for done, (record, total) in enumerate(steps, start=1):
        now = time.monotonic()
        failed = record["status"] in ("error", "timeout")
        if failed or verbose or done == total or now - last_line >= 5:
            last_line = now
            tail = f": {shown(record['error'])}" if record["error"] else ""
            print(
                f"[{done}/{total}] {now - started:.0f} s {cell_name(record['spec'])} {record['status']}{tail}",
                file=sys.stderr,
            )
        yield record


def print_plan(plan: Plan, missing: int, asked: int) -> None:
    """Print what --dry-run shows: the cells, and how many trials are on disk and missing.

    Args:
        plan: the plan.
        missing: the number of trials to run in the round that the records have reached.
        asked: the number of trials up to that round, those on disk included.
    """
    out = console(sys.stdout)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("scenario", "level", "attack", "defence"):
        table.add_column(column, overflow="fold")
    for cell in plan.cells:
        table.add_row(shown(cell.group), cell.level, shown(label(cell.attack)), shown(label(cell.defence)))
    out.print(table)
    cells, done = f"{len(plan.cells)} cells", asked - missing
    if plan.more is None:
        out.print(f"{cells}, {len(plan.seeds)} seeds, {asked} trials: {done} on disk, {missing} to run")
    else:
        seeds = f"{len(plan.seeds)} to {plan.more.most} seeds"
        at_most = plan.most - done
        out.print(f"{cells}, {seeds}: {done} trials on disk, {missing} to run at first, at most {at_most}")


def print_summary(summary: Summary, files: list[str], comparison: Comparison | None = None) -> None:
    """Print the table of access levels, what was not measured, the most useful change, and the exit code.

    Args:
        summary: what to print.
        files: paths that were written, printed one per line.
        comparison: what changed since the baseline; None if there is none.
    """
    out = console(sys.stdout)
    counts = summary.trials
    head = f"{summary.plan['name']}: {counts['ok']} of {counts['planned']} trials finished, {seeds_of(summary)}"
    failed = counts["error"] + counts["timeout"]
    head += f", {failed} failed" if failed else ""
    out.print(shown(f"{head}; {counts['reused']} reused, {counts['run']} run"))
    titles = f"{'access level':<17} {'verdict':<14} {'accuracy':<12} harm (interval)"
    out.print(titles, style="bold")
    stopped = stops(summary)
    for level in sorted(summary.levels, key=lambda row: list(State).index(row.state)):
        _print_level(out, level, summary, stopped)
    if caution := unconfirmed(summary):
        _print_wrapped(out, caution)
    for gap in not_measured(summary):
        _print_wrapped(out, f"Not measured: {gap}")
    if floor := floor_of(summary):
        _print_wrapped(out, floor)
    if gap := untried(summary):
        _print_wrapped(out, f"{gap}. `antivenom list attacks` names them.")
    _print_wrapped(out, f"Do first: {do_first(summary)}")
    for repair in repairs(summary)[:1]:
        _print_repair(out, repair)
    for line in lines_of(comparison) if comparison is not None else ():
        out.print(line, soft_wrap=True)
    for file in files:
        out.print(file, soft_wrap=True)
    out.print(f"Exit {summary.exit_code}: {shown(summary.exit_reason)}")


def _print_repair(out: Console, repair: Repair) -> None:
    """Print the defence to deploy, as code to paste, and the command that tests it again."""
    _print_wrapped(out, f"Repair: {repair.said}")
    for line in repair.python.splitlines():
        out.print(Text(f"    {shown(line)}".rstrip()), soft_wrap=True)
    out.print(Text(f"Test it again: {shown(repair.command)}"), soft_wrap=True)


def _print_level(out: Console, level: LevelResult, summary: Summary, stopped: Mapping[Id, Stop]) -> None:
    """Print one row of the table, and below it the worst attack, its visibility, and the best defence."""
    worst = level.deployed
    name, verdict = f"{level.level:<17} ", f"{level.state.symbol} {level.state}"
    if worst is None:
        out.print(name + verdict)
        return
    numbers = f"{accuracy(worst):<12} {_success(worst)}"
    out.print(Text(name) + Text(f"{verdict:<14} ", style=STYLE.get(level.state, "")) + Text(numbers))
    why = stopped.get(id_of(worst))
    number = needs(level, summary)
    for text in (
        sentence(level),
        f"needs: {number}" if number else "",
        f"{short(worst.attack)} on {on(worst)}" + (f"; {worst.planned} seeds: {why}" if why else "") + _fresh(worst),
        f"stealth: {stealth(worst, summary)}",
        grade(level, summary).said,
        f"next: {next_step(level, summary)}",
    ):
        if text:
            _print_wrapped(out, text, indent="  ", style="dim")


def _fresh(cell: CellResult) -> str:
    """From how many fresh seeds the shown mean comes."""
    return "" if cell.confirmed is None else f"; mean of {cell.confirmed.harm.n} fresh seeds"


def _print_wrapped(out: Console, text: str, indent: str = "", style: str = "") -> None:
    """Print a text in lines of the console's width, without the trailing spaces that rich would add."""
    for line in textwrap.wrap(shown(text), out.width, initial_indent=indent, subsequent_indent=indent):
        out.print(Text(line, style=style))


def _success(cell: CellResult) -> str:
    """The harm, such as "99% (97 to 100) ASR". The number of seeds is added if some are missing."""
    value = cell.shown_harm
    if value is None or cell.harm is None:
        return "not measured"
    span = f"({bounds(value)})" if cell.harm.n > 1 else "(1 seed)"
    fewer = f", {cell.harm.n} seeds" if 1 < cell.harm.n < cell.planned else ""
    return f"{percent(value.mean)} {span} {cell.metric.short or cell.metric.word}{fewer}"


def print_quiet(summary: Summary) -> None:
    """Print one line: the state of every planned level, and the exit code."""
    states = [f"{level.level} {level.state}" for level in summary.levels if level.planned]
    print(f"{', '.join(states) or 'no attack was planned'}; exit {summary.exit_code}")


def print_json(summary: Summary, files: list[str], comparison: Comparison | None = None) -> None:
    """Print the summary, and what changed since the baseline, as one JSON document."""
    stopped = stops(summary)
    document = {
        "schema": summary.plan["schema"],
        "name": summary.plan["name"],
        "trials": summary.trials,
        "levels": [
            {
                "level": level.level,
                "state": str(level.state),
                "said": sentence(level),
                "needs": needs(level, summary),
                "next": next_step(level, summary),
                "grade": asdict(grade(level, summary)),
                "deployed": _cell_json(level.deployed, stopped),
                "undefended": _cell_json(level.undefended, stopped),
                "best_defence": _cell_json(level.best, stopped),
            }
            for level in summary.levels
        ],
        "cells": [_cell_json(cell, stopped) for cell in summary.attacks],
        "do_first": do_first(summary),
        "floor": summary.floor,
        "repairs": [asdict(repair) for repair in repairs(summary)],
        "not_measured": not_measured(summary),
        "not_tried": untried(summary),
        "baseline": None if comparison is None else comparison.record(),
        "standards": [entry.record() for entry in touched(summary)],
        "ignored_records": summary.foreign,
        "files": files,
        "exit_code": summary.exit_code,
        "exit_reason": summary.exit_reason,
    }
    print(json.dumps(plain(document), indent=1))


def _cell_json(cell: CellResult | None, stopped: Mapping[Id, Stop]) -> dict[str, object] | None:
    if cell is None:
        return None
    named = (
        "group",
        "level",
        "goal",
        "attack",
        "defence",
        "deployed",
        "reason",
        "limit",
        "hits",
        "finished",
        "planned",
    )
    values: dict[str, Any] = {name: getattr(cell, name) for name in named}
    values["state"] = str(cell.state)
    values["stopped"] = stopped.get(id_of(cell))
    for name in ("harm", "clean_accuracy", "accuracy_lost", "cost"):
        values[name] = _interval_json(getattr(cell, name))
    values |= {"before": cell.before, "after": cell.after}
    values["more_seeds"] = cell.more if is_open(cell) else None
    found = cell.confirmed
    values["confirmed"] = found and {"harm": _interval_json(found.harm), "cost": _interval_json(found.cost)}
    return values | {"keys": list(cell.keys), "errors": list(cell.errors)}


def _interval_json(value: Interval | None) -> dict[str, object] | None:
    return None if value is None else {"mean": value.mean, "low": value.low, "high": value.high, "n": value.n}
