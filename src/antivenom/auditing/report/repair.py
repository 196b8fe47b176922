"""What to do: every defence that was tried against the worst attack, its effect and its price."""

from __future__ import annotations

from typing import Any

from antivenom.auditing.formatting import interval
from antivenom.auditing.naming import about, short, shorts
from antivenom.auditing.report.figures import price as price_plot
from antivenom.auditing.results import LevelResult, State, Summary
from antivenom.auditing.sentences import change, on, price, price_range, time_ratio
from antivenom.auditing.summary import severity


def changes(level: LevelResult, summary: Summary) -> dict[str, object]:
    """All defences tried against the worst attack of a level, with the harm that each leaves and what it costs."""
    worst = level.deployed
    assert worst is not None
    tried = [
        c for c in summary.attacks if (c.group, c.attack) == (worst.group, worst.attack) and c.defence != worst.defence
    ]
    tried.sort(key=lambda c: c.harm.mean if c.harm else 2.0)
    names = shorts(c.defence for c in tried)
    rows = [
        {
            "defence": "no defence" if c.defence == "none" else names[c.defence],
            "about": about(c.defence),
            "effect": change(c),
            "harm": interval(c.harm),
            "state": c.state,
            "cost": price(c.cost) if c.defence != "none" else "costs nothing",
            "range": price_range(c.cost),
            "time": "not measured" if (ratio := time_ratio(c, summary)) is None else f"{ratio:.1f} times",
        }
        for c in tried
    ]
    return {
        "level": level.level,
        "access": " or ".join(level.access),
        "on": on(worst),
        "attack": short(worst.attack),
        "before": change(worst),
        "harm": interval(worst.harm),
        "rows": rows,
    }


def prices(summary: Summary) -> dict[str, object]:
    """The accuracy cost of each defence without an attack, and the harm that the worst effective attack does despite it."""
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    for group in dict.fromkeys(c.group for c in summary.attacks):
        own = [c for c in summary.attacks if c.group == group]
        effective = {c.attack for c in own if c.defence == "none" and c.state is State.BREACHED}
        for defence in dict.fromkeys(c.defence for c in own if c.defence != "none"):
            cells = [c for c in own if c.defence == defence and c.attack in effective and c.harm is not None]
            if not cells or cells[0].cost is None:
                left_out.append(f"{short(defence)} in {group}")
                continue
            worst = max(cells, key=severity)
            number, cost = str(len(rows) + 1), cells[0].cost
            rows.append(
                {
                    "number": number,
                    "group": group,
                    "defence": defence,
                    "name": short(defence),
                    "worst": worst,
                    "cost": cost,
                    "price": price(cost),
                    "range": price_range(cost),
                }
            )
    return {"rows": rows, "left_out": left_out, "figure": price_figure(rows)}


def price_figure(rows: list[dict[str, Any]]) -> str | None:
    """The figure of the defences' clean accuracy cost against the harm they leave; None without rows."""
    if not rows:
        return None
    marks = [(row["number"], 100 * row["cost"].mean, row["worst"].harm.mean) for row in rows]
    held = sum(row["worst"].state is State.HELD for row in rows)
    said = f"{len(rows)} defences, {held} of which held against every attack that bites without them; the table has the numbers."
    return price_plot(marks, "price", "Price of defence", said)
