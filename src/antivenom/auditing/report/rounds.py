"""The curves over the rounds of a federation: figures, and the same numbers in tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from antivenom.auditing.formatting import percent
from antivenom.auditing.naming import short, shorts
from antivenom.auditing.report.figures import Line, Panel, curves
from antivenom.auditing.results import CellResult, Summary
from antivenom.auditing.summary import severity
from antivenom.core.outcome import Chart, Curve

MOST_FIGURES = 12
Values = list[float | None]


def rounds(summary: Summary) -> dict[str, Any]:
    """A figure and a table for each of the worst attacks whose trials have curves, and how many are left out; empty without any."""
    own = [c for c in summary.attacks if any(record["curves"] for record in c.records)]
    bare = sorted((c for c in own if c.defence == "none"), key=severity, reverse=True)
    shown = [_one(cell, own, summary.plan["curves"][cell.kind], i) for i, cell in enumerate(bare[:MOST_FIGURES])]
    shown = [one for one in shown if one["rows"]]
    return {"shown": shown, "left_out": max(len(bare) - MOST_FIGURES, 0)} if shown else {}


def _one(cell: CellResult, own: list[CellResult], declared: dict[str, Any], number: int) -> dict[str, Any]:
    """The section of one attack: a panel of the goal's curve for every defence, then the scenario's charts without defence.

    Args:
        cell: the attack without a defence.
        own: all cells with curves.
        declared: the charts and table columns of the cell's scenario, as the plan's record holds them.
        number: the section's number, for unique ids.
    """
    goal = cell.metric
    panels, said = [], []
    if goal.curve is not None:
        family = [cell] + [c for c in own if (c.group, c.attack) == (cell.group, cell.attack) and c.defence != "none"]
        labels = shorts(c.defence for c in family)
        names = ["no defence" if c.defence == "none" else labels[c.defence] for c in family]
        lines = [_line(n, c, goal.curve, i, band=i == 0) for i, (n, c) in enumerate(zip(names, family, strict=True))]
        level = cell.limit if goal.limit_in_curve else None
        panels.append(Panel(goal.curve.words, lines, goal.curve.share, level))
        said.append(f"{goal.curve.words.capitalize()} ends at {_last(lines[0])} without defence")
    for chart in map(_chart, declared["charts"]):
        lines = [_drawn(cell, curve, i) for i, curve in enumerate(chart.curves)]
        panels.append(Panel(chart.title, lines, all(curve.share for curve in chart.curves)))
        ends = ", ".join(f"{line.name} {_last(line)}" for line in lines)
        if panels[-1].percent:
            said.append(f"{chart.title} in the last round: {ends}")
    title = f"{short(cell.attack)} in {cell.group}, round by round"
    columns = {curve.name: curve for curve in (*goal.curves, *(Curve(**curve) for curve in declared["table"]))}
    rows = list(zip(*(_table(cell, curve) for curve in columns.values()), strict=True))
    description = "; ".join([*said, "the table below has every round"]) + "."
    return {
        "title": title,
        "figure": curves(panels, f"rounds{number}", title, description) if panels else "",
        "heads": [curve.words for curve in columns.values()],
        "rows": rows,
        "seeds": cell.finished,
    }


def _chart(declared: dict[str, Any]) -> Chart:
    return Chart(declared["title"], tuple(Curve(**curve) for curve in declared["curves"]))


def _table(cell: CellResult, curve: Curve) -> list[str]:
    means = _over_seeds(cell, curve.name, _mean)
    return ["not measured" if v is None else percent(v) if curve.share else f"{v:.2f}" for v in means]


def _line(name: str, cell: CellResult, curve: Curve, series: int, band: bool) -> Line:
    low = _over_seeds(cell, curve.name, min) if band else None
    high = _over_seeds(cell, curve.name, max) if band else None
    return Line(name, _over_seeds(cell, curve.name, _mean), low, high, series)


def _drawn(cell: CellResult, curve: Curve, series: int) -> Line:
    """A line with a band.

    For a single curve the band spans the extremes over the seeds. For a minimum and a maximum curve (`Curve.band`), the
    edges are their means over the seeds, and the line is halfway between.
    """
    if not curve.band:
        return _line(curve.words, cell, curve, series, band=True)
    low, high = (_over_seeds(cell, f"{curve.name}_{end}", _mean) for end in ("min", "max"))
    middle: Values = [None if a is None or b is None else (a + b) / 2 for a, b in zip(low, high, strict=True)]
    return Line(curve.words, middle, low, high, series)


def _over_seeds(cell: CellResult, curve: str, fold: Callable[[list[float]], float]) -> Values:
    """One value per round, folded over the seeds in which it is defined; None if there is none."""
    found = [record["curves"].get(curve, []) for record in cell.records]
    longest = max((max(map(len, record["curves"].values()), default=0) for record in cell.records), default=0)
    per_round = [[c[i] for c in found if i < len(c) and c[i] is not None] for i in range(longest)]
    return [fold(values) if values else None for values in per_round]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _last(line: Line) -> str:
    value = line.mean[-1] if line.mean else None
    return "not measured" if value is None else percent(value)
