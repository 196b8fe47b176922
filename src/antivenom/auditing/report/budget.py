"""How much an attacker needs: harm against the share of poisoned rows, from the cells of the audit and from searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antivenom.auditing.evidence import fall
from antivenom.auditing.formatting import percent
from antivenom.auditing.naming import parts_of, short
from antivenom.auditing.report.figures import Points, budget_plot
from antivenom.auditing.results import CellResult, Summary
from antivenom.auditing.sentences import on
from antivenom.core.threat import Goal

MOST = 8  # figures
_LINES = 5  # of a figure
_ATTEMPTS = 100  # rows of a search's table


@dataclass(frozen=True)
class _Point:
    """The harm at one budget. It is a breach if the interval lies above the limit."""

    share: float
    rows: float
    harm: float
    low: float
    high: float
    seeds: int


def curves(summary: Summary) -> list[dict[str, object]]:
    """A figure with its numbers for every attack that was run with several shares of rows, by scenario."""
    found: dict[tuple[str, str], dict[str, list[CellResult]]] = {}
    for cell in summary.attacks:
        if cell.harm is not None and cell.harm.n > 1 and cell.mean("poisoned_rows") > 0:
            lines = found.setdefault((cell.level, cell.group), {})
            lines.setdefault(f"{_family(cell)}, {short(cell.defence, 'no defence')}", []).append(cell)
    figures: list[dict[str, object]] = []
    for (level, group), lines in found.items():
        several = {name: own for name, own in lines.items() if len({c.mean("poisoned_rate") for c in own}) > 1}
        if several:
            chosen = dict(sorted(several.items(), key=lambda line: not line[1][0].deployed)[:_LINES])
            cell = next(iter(chosen.values()))[0]
            points = {name: sorted(map(_of_cell, own), key=lambda p: p.share) for name, own in chosen.items()}
            title = f"{level}: {group}, on {on(cell).rsplit(', ', 1)[0]}"
            figures.append(_figure(title, points, cell.limit, cell.metric.word, f"budget{len(figures)}"))
    return figures[:MOST]


def searches(summary: Summary) -> list[dict[str, object]]:
    """What each search for the worst case found, with the curve of harm against the share of rows."""
    shown: list[dict[str, object]] = []
    for number, search in enumerate(summary.searches[:MOST]):
        metric = Goal(search["goal"]).metric
        limit = float(summary.plan["limits"].get(search["goal"], metric.limit))
        points = {"worst attack found": [_of_record(point) for point in search["curve"]]}
        title = f"{search['level']}: {search['group']}, {short(search['defence'], 'no defence')}"
        drawn = _figure(title, points, limit, metric.word, f"search{number}") if search["curve"] else None
        attempts = [
            (short(a["attack"]), percent(a["share"]), f"{a['rows']:,}", _harm(a["harm"]), a["stage"])
            for a in sorted(search["attempts"], key=lambda a: -1.0 if a["harm"] is None else a["harm"], reverse=True)
        ]
        shown.append(
            {
                "title": title,
                "said": _found(search, metric.word),
                "least": _least(search, limit),
                "figure": drawn,
                "attempts": attempts[:_ATTEMPTS],
                "number": f"{len(attempts)} attempt{'s' * (len(attempts) != 1)}",
            }
        )
    return shown


def _found(search: Mapping[str, Any], word: str) -> str:
    worst, trials = search["worst"], f"{search['trials']} trial{'s' * (search['trials'] != 1)}"
    if worst is None:
        return f"A search of {trials} found no attack that can be judged."
    span = f"{percent(worst['low'])} to {percent(worst['high'])}"
    fresh = worst["confirmed"]
    confirmed = "it was not run on fresh seeds" if fresh is None else f"on fresh seeds {percent(fresh)} ({span})"
    return (
        f"Of {trials}, the worst attack found is {short(worst['attack'])}: {percent(worst['harm'])} {word} on the seeds of the "
        f"search; {confirmed}."
    )


def _least(search: Mapping[str, Any], limit: float) -> str:
    least = search["smallest"]
    more = _fall(search["curve"])
    if least is None:
        return f"No number of rows within the budget was found to break it: the harm stays at or below the limit {percent(limit)}.{more}"
    return f"The smallest number of rows found that breaks it: {least['rows']:,} ({percent(least['share'])}), with a harm of {percent(least['harm'])}.{more}"


def _fall(curve: Sequence[Mapping[str, Any]]) -> str:
    """What is to be said where more rows are shown to do less harm."""
    places = fall([point["low"] for point in curve], [point["high"] for point in curve])
    if places is None:
        return ""
    few, many = (curve[place] for place in places)
    return f" More rows are not always worse: {many['rows']:,} did less harm ({percent(many['harm'])}) than {few['rows']:,} ({percent(few['harm'])}), beyond chance."


def _harm(value: float | None) -> str:
    return "not measured" if value is None else percent(value)


def _family(cell: CellResult) -> str:
    """The attack without its share of rows."""
    return parts_of(cell.attack).name


def _of_cell(cell: CellResult) -> _Point:
    assert cell.harm is not None
    rate, rows, harm = cell.mean("poisoned_rate"), cell.mean("poisoned_rows"), cell.harm
    return _Point(rate, rows, harm.mean, harm.low, harm.high, harm.n)


def _of_record(point: Mapping[str, Any]) -> _Point:
    low, high = (min(max(point[end], 0.0), 1.0) for end in ("low", "high"))
    return _Point(point["share"], point["rows"], min(max(point["harm"], 0.0), 1.0), low, high, point["seeds"])


def _figure(title: str, lines: Mapping[str, list[_Point]], limit: float, word: str, name: str) -> dict[str, object]:
    """The figure of some lines, the table of their numbers, and where each crosses the limit."""
    crossings = {label: next((p for p in points if p.low > limit), None) for label, points in lines.items()}
    said = [
        f"{label}: breached from {percent(p.share)} on ({p.rows:,.0f} rows)" if p else f"{label}: no breach is shown"
        for label, p in crossings.items()
    ]
    drawn = [
        Points(
            label,
            [p.share for p in points],
            [p.harm for p in points],
            [p.low for p in points],
            [p.high for p in points],
            None if (crossing := crossings[label]) is None else crossing.share,
        )
        for label, points in lines.items()
    ]
    rows = [
        (
            label,
            percent(p.share),
            f"{p.rows:,.0f}",
            f"{percent(p.harm)} ({percent(p.low)} to {percent(p.high)}, {p.seeds} seeds)",
            "breached" if p.low > limit else "below the limit" if p.high < limit else "not decided",
        )
        for label, points in lines.items()
        for p in points
    ]
    description = "; ".join(said) + ". The table below has the numbers."
    figure = budget_plot(drawn, limit, name, f"{title}: {word}", description)
    return {"title": title, "word": word, "figure": figure, "said": said, "rows": rows}
