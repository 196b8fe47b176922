"""The content of the page, section by section, as plain values for the template. All numbers come from the Summary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from antivenom.audit.formatting import (
    bounds,
    do_first,
    effect,
    headline,
    interval,
    not_measured,
    outlook,
    percent,
    points,
    seeds_of,
    stealth,
    unconfirmed,
)
from antivenom.audit.report.cards import card, lost
from antivenom.audit.report.inputs import inputs
from antivenom.audit.report.rounds import price_figure, rounds
from antivenom.audit.results import CellResult, Id, LevelResult, State, Summary, id_of
from antivenom.audit.stopping import Stop, is_open, stops
from antivenom.audit.summary import severity
from antivenom.audit.trial import Record
from antivenom.audit.untried import untried
from antivenom.core.threat import Goal

MOST_CELLS = 2000  # a page with more becomes slow in a browser; then only
WORST_CELLS = 200  # so many cells of each level are shown, the worst ones


def contents(summary: Summary, sha256: str) -> dict[str, object]:
    """All values that the template uses. `sha256` is the hash of records.jsonl, or empty."""
    shown = _shown(summary)
    stopped = stops(summary)
    goals = [Goal(goal).metric for goal in dict.fromkeys(cell.goal for cell in summary.cells)]
    levels = sorted(summary.levels, key=lambda level: list(State).index(level.state))
    return {
        "name": summary.plan["name"],
        "summary": summary,
        "banner": _banner(summary),
        "verdict": _verdict(levels),
        "levels": [_level(level, summary) for level in levels],
        "do_first": do_first(summary),
        "unconfirmed": unconfirmed(summary),
        "untried": untried(summary),
        "funnel": _funnel(summary),
        "states": [(state, sum(c.state is state for c in summary.attacks)) for state in State],
        "gaps": _gaps(summary, stopped),
        "cards": [card(level, summary) for level in levels if level.state is State.BREACHED],
        "nearest": next((level.deployed for level in sorted(levels, key=_level_severity, reverse=True)), None),
        "changes": [_changes(level, summary) for level in levels if level.state is State.BREACHED],
        "matrices": [
            _matrix(level.level, shown) for level in summary.levels if any(c.level == level.level for c in shown)
        ],
        "left_out": len(summary.attacks) - len(shown),
        "rounds": rounds(summary),
        "price": _price(summary),
        "detection": _detection(summary),
        "pictures": inputs(summary),
        "every": [_row(cell, stopped) for cell in sorted(shown, key=severity, reverse=True)],
        "clean": [_row(cell, stopped) for cell in summary.cells if cell.is_clean_twin][: MOST_CELLS + 1],
        "facts": _facts(summary, sha256),
        "errors": sorted({(c.group, error) for c in summary.cells for error in c.errors}),
        "text": {
            "interval": interval,
            "effect": effect,
            "outlook": outlook,
            "percent": percent,
            "points": points,
            "headline": headline,
            "seeds": seeds_of,
            "harm": lambda goal: Goal(goal).metric.word,
            "cell": _cell_text,
            "split": lambda label: label.rstrip(")").split("(", 1),
        },
        "State": State,
        "harms": "; or ".join(f"{metric.about}" for metric in goals),
        "terms": dict(term for metric in goals for term in metric.terms),
    }


def _shown(summary: Summary) -> list[CellResult]:
    """All cells with an attack, or the worst of each level if there are too many for a page."""
    if len(summary.attacks) <= MOST_CELLS:
        return list(summary.attacks)
    ranked = sorted(summary.attacks, key=severity, reverse=True)
    return [c for level in summary.levels for c in [c for c in ranked if c.level == level.level][:WORST_CELLS]]


def _banner(summary: Summary) -> str | None:
    """A warning at the top of the page if the audit is incomplete, or None."""
    counts = summary.trials
    parts = []
    if counts["missing"]:
        parts.append(f"Interrupted: {counts['planned'] - counts['missing']} of {counts['planned']} trials were run.")
    failed = counts["error"] + counts["timeout"]
    if failed:
        parts.append(f"{failed} of {counts['planned']} trials failed; the appendix lists their errors.")
    if len(summary.plan["seeds"]) == 1:
        parts.append("One seed shows nothing to be breached or held.")
    return " ".join(parts) or None


def _verdict(levels: list[LevelResult]) -> str:
    """The first sentence of the page."""
    tried = [level for level in levels if level.planned]
    breached = [level for level in tried if level.state is State.BREACHED]
    if not tried:
        return "No attack was planned, so nothing is known."
    if breached:
        return f"{len(breached)} of {len(tried)} access levels that were tried are breached as deployed."
    if all(level.state is State.HELD for level in tried):
        return f"All {len(tried)} access levels that were tried held in this test."
    return f"No breach is shown at the {len(tried)} access levels that were tried; not all of them are shown to hold."


def _level(level: LevelResult, summary: Summary) -> dict[str, object]:
    worst = level.deployed
    return {
        "name": level.level,
        "about": level.about,
        "add": level.add,
        "state": level.state,
        "worst": worst,
        "undefended": level.undefended,
        "best": level.best,
        "stealth": "" if worst is None else stealth(worst, summary),
        "strip": None if worst is None else _strip(worst, level.undefended, level.best),
        "planned": level.planned,
        "conclusive": level.conclusive,
    }


def _strip(worst: CellResult, undefended: CellResult | None, best: CellResult | None) -> dict[str, object]:
    """The positions of a level's marks on its scale from 0 to 100 % harm, in percent of the width; clipped at the ends."""

    def at(value: float) -> float:
        return round(100 * min(max(value, 0.0), 1.0), 2)

    def mark(cell: CellResult | None) -> float | None:
        return None if cell is None or cell.shown_harm is None else at(cell.shown_harm.mean)

    harm = worst.shown_harm
    spans = worst.harm is not None and worst.harm.n > 1
    ends = (at(harm.low), at(harm.high)) if harm is not None and spans else None
    said = (
        f"{worst.metric.word}: deployed {effect(worst)}"
        + (f", undefended {effect(undefended)}" if undefended is not None else "")
        + (f", best defence tried {effect(best)}" if best is not None else "")
        + f"; limit {percent(worst.limit)}"
    )
    return {
        "deployed": mark(worst),
        "undefended": mark(undefended),
        "best": mark(best),
        "ends": ends,
        "limit": at(worst.limit),
        "said": said,
    }


def _funnel(summary: Summary) -> list[tuple[str, int, str]]:
    """(stage, number, where it comes from), from all attacks in the catalogue down to pairs with a conclusive result."""
    from antivenom.audit.catalogue import rows

    catalogue = len(rows("attacks", None, None))
    counts = summary.trials
    attacks = {(c.attack) for c in summary.attacks}
    ran = [c for c in summary.attacks if c.finished]
    conclusive = [c for c in summary.attacks if c.state.is_conclusive]
    return [
        ("attacks in the catalogue", catalogue, "antivenom list attacks"),
        ("attacks in this scenario, each setting counted", len(attacks), "attacks, in the scenario file"),
        ("pairs of attack and defence planned", len(summary.attacks), "its grid"),
        (
            "pairs with a finished trial",
            len(ran),
            f"{counts['ok']} of {counts['planned']} trials, clean twins included",
        ),
        ("pairs with a conclusive answer", len(conclusive), "BREACHED or HELD"),
    ]


def _gaps(summary: Summary, stopped: Mapping[Id, Stop]) -> list[tuple[str, str, str]]:
    """(what is not known, why, what would close the gap) for everything planned without a conclusive result."""
    found = [
        (gap, "not in the scenario file, or not run", "add it, or start the audit again")
        for gap in not_measured(summary)
    ]
    for cell in summary.attacks:
        if not cell.state.is_conclusive:
            found.append((f"{cell.attack} against {cell.defence} in {cell.group}", cell.reason, _remedy(cell, stopped)))
    return found


def _remedy(cell: CellResult, stopped: Mapping[Id, Stop]) -> str:
    if cell.state is State.NOT_APPLICABLE:
        return "nothing: the two cannot be combined"
    if cell.state is State.NOT_MEASURED or cell.finished < cell.planned:
        return "run the same command again"
    if cell.state is State.ERROR:
        return "remove the cause named in the appendix, then run again"
    if stopped.get(id_of(cell)) in (Stop.MOST, Stop.BUDGET):
        field = "most" if stopped[id_of(cell)] is Stop.MOST else "trials"
        return f"{outlook(cell)}: raise {field} under `seeds` in the scenario file"
    if is_open(cell):
        return f"{outlook(cell)}: --seeds"
    return "a stronger attack: a higher rate, boost or number of agents"


def _changes(level: LevelResult, summary: Summary) -> dict[str, object]:
    """All defences tried against the worst attack of a level, with the harm that each leaves and what it costs."""
    worst = level.deployed
    assert worst is not None
    tried = [
        c for c in summary.attacks if (c.group, c.attack) == (worst.group, worst.attack) and c.defence != worst.defence
    ]
    tried.sort(key=lambda c: c.harm.mean if c.harm else 2.0)
    rows = [
        {
            "defence": c.defence,
            "before": interval(worst.harm),
            "after": interval(c.harm),
            "state": c.state,
            "cost": lost(c.cost),
            "time": _slower(c, summary),
        }
        for c in tried
    ]
    access = " or ".join(level.access)
    return {"level": level.level, "access": access, "group": worst.group, "attack": worst.attack, "rows": rows}


def _slower(cell: CellResult, summary: Summary) -> str:
    """The defence's cost in time: the mean over the seeds of (seconds of the clean trial with it / without it)."""

    def seconds(defence: str) -> dict[int, float]:
        twin = next(
            (c for c in summary.cells if c.is_clean_twin and (c.group, c.defence) == (cell.group, defence)), None
        )
        return {} if twin is None else {r["spec"]["seed"]: r["seconds"] for r in twin.records}

    with_it, without = seconds(cell.defence), seconds("none")
    ratios = [with_it[s] / without[s] for s in with_it if without.get(s)]
    return f"{sum(ratios) / len(ratios):.1f}x" if ratios else "not measured"


def _matrix(name: str, shown: list[CellResult]) -> dict[str, object]:
    """A level's tables of attacks against defences, one for each group, the worst rows and columns first."""
    tables = []
    groups = sorted(
        {c.group for c in shown if c.level == name},
        key=lambda g: _worst([c for c in shown if c.group == g]),
        reverse=True,
    )
    for group in groups:
        cells = {(c.attack, c.defence): c for c in shown if (c.level, c.group) == (name, group)}
        attacks = sorted(
            {a for a, _ in cells}, key=lambda a: _worst([c for c in cells.values() if c.attack == a]), reverse=True
        )
        defences = sorted(
            {d for _, d in cells},
            key=lambda d: (d == "none", _worst([c for c in cells.values() if c.defence == d])),
            reverse=True,
        )
        first = next(iter(cells.values()))
        tables.append({"group": group, "goal": first.goal, "attacks": attacks, "defences": defences, "cells": cells})
    return {"level": name, "tables": tables}


def _level_severity(level: LevelResult) -> tuple[float, float]:
    return level.severity


def _worst(cells: list[CellResult]) -> tuple[float, float]:
    return max(map(severity, cells))


def _cell_text(cell: CellResult) -> str:
    """The text of a matrix cell below its state."""
    if cell.harm is None:
        return f"{cell.finished} of {cell.planned} seeds"
    if cell.harm.n != cell.planned or cell.harm.n < 2:
        return interval(cell.harm)
    return f"{percent(cell.harm.mean)} ({bounds(cell.harm)})"


def _price(summary: Summary) -> dict[str, object]:
    """The accuracy cost of each defence without an attack, and the harm that the worst effective attack does despite it."""
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    for group in dict.fromkeys(c.group for c in summary.attacks):
        own = [c for c in summary.attacks if c.group == group]
        effective = {c.attack for c in own if c.defence == "none" and c.state is State.BREACHED}
        for defence in dict.fromkeys(c.defence for c in own if c.defence != "none"):
            cells = [c for c in own if c.defence == defence and c.attack in effective and c.harm is not None]
            if not cells or cells[0].cost is None:
                left_out.append(f"{defence} in {group}")
                continue
            worst = max(cells, key=severity)
            rows.append(
                {
                    "number": str(len(rows) + 1),
                    "group": group,
                    "defence": defence,
                    "worst": worst,
                    "cost": cells[0].cost,
                }
            )
    return {"rows": rows, "left_out": left_out, "figure": price_figure(rows)}


def _detection(summary: Summary) -> list[dict[str, str]]:
    """The detection rates of sanitizers and detectors for every attack, and their false alarms on clean data."""
    rows = []
    for cell in summary.attacks:
        tpr, fpr, auroc = (cell.mean(f"detection_{name}") for name in ("tpr", "fpr", "auroc"))
        if math.isnan(fpr):
            continue
        twin = next(c for c in summary.cells if c.is_clean_twin and (c.group, c.defence) == (cell.group, cell.defence))
        rows.append(
            {
                "group": cell.group,
                "attack": cell.attack,
                "defence": cell.defence,
                "tpr": percent(tpr) if not math.isnan(tpr) else "undefined: the attack leaves nothing to find",
                "fpr": percent(fpr),
                "clean": percent(twin.mean("detection_fpr")),
                "auroc": f"{auroc:.2f}" if not math.isnan(auroc) else "undefined: no poison present",
            }
        )
    return rows


def _row(cell: CellResult, stopped: Mapping[Id, Stop]) -> dict[str, object]:
    values = "" if cell.harm is None else ", ".join(percent(value) for value in cell.harm.values)
    why = stopped.get(id_of(cell))
    return {"cell": cell, "values": values, "seeds": f"{cell.planned} seeds" + (f": {why}" if why else "")}


def _facts(summary: Summary, sha256: str) -> list[tuple[str, str]]:
    records = [record for cell in summary.cells for record in cell.records]
    libraries = sorted(
        {f"{name} {value}" for r in records for name, value in r["versions"].items() if name != "machine"}
    )
    machines = sorted({r["versions"]["machine"] for r in records})
    devices = sorted({r["device"] for r in records})
    distinct = {r["key"]: r["seconds"] for r in records}
    return [
        ("Command", summary.plan["command"]),
        ("Scenario", summary.plan["source"]),
        ("Seeds", ", ".join(map(str, summary.plan["seeds"]))),
        ("Fresh seeds", ", ".join(map(str, summary.plan.get("fresh", ()))) or "none"),
        ("Limits", "; ".join(f"{goal} {percent(limit)}" for goal, limit in summary.plan["limits"].items())),
        ("Gates", "; ".join(f"{goal} {percent(limit)}" for goal, limit in summary.plan["fail_if"].items()) or "none"),
        ("Exit code", f"{summary.exit_code}: {summary.exit_reason}"),
        ("Versions", ", ".join(libraries) or "not measured"),
        ("Machine", f"{'; '.join(machines) or 'not measured'}; {', '.join(devices)}"),
        ("First and last trial", _span(records)),
        ("Time in trials", f"{sum(distinct.values()):.0f} s in {len(distinct)} trials"),
        ("Records", "records.jsonl" + (f", SHA-256 {sha256}" if sha256 else "")),
    ]


def _span(records: list[Record]) -> str:
    started = sorted(record["started"] for record in records)
    return f"{started[0]} to {started[-1]}" if started else "not measured"
