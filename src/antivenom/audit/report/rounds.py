"""What a federation did round by round, as figures with the same numbers in tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from antivenom.audit.formatting import percent
from antivenom.audit.report.figures import Line, Panel, curves, price
from antivenom.audit.summary import CellResult, State, Summary, severity

MOST_FIGURES = 12
Values = list[float | None]


def federations(summary: Summary) -> dict[str, Any]:
    """A figure and a table for each attack on a federation, the worst first."""
    own = [c for c in summary.attacks if c.level == "federated" and c.records and c.records[0]["curves"]]
    bare = sorted((c for c in own if c.defence == "none"), key=severity, reverse=True)
    shown = [_one(cell, own, i) for i, cell in enumerate(bare[:MOST_FIGURES])]
    return {"shown": shown, "left_out": len(bare) - len(shown)}


def _one(cell: CellResult, own: list[CellResult], number: int) -> dict[str, Any]:
    family = [cell] + [c for c in own if (c.group, c.attack) == (cell.group, cell.attack) and c.defence != "none"]
    names = ["no defence" if c.defence == "none" else c.defence for c in family]
    curve, what = WANTED[cell.goal]
    wanted = [_line(n, c, curve, i, band=i == 0) for i, (n, c) in enumerate(zip(names, family, strict=True))]
    accuracy = [
        _line("global model", cell, "accuracy", 0, band=True),
        _line("malicious model alone", cell, "malicious_accuracy", 1, band=True),
    ]
    apart = [
        _range("between benign updates", cell, "benign_distance", 2),
        _range("malicious to benign", cell, "malicious_distance", 1),
    ]
    panels = [
        Panel(what, wanted, level=None if curve == "accuracy" else cell.limit),
        Panel("test accuracy", accuracy),
        Panel("L2 distance of updates", apart, percent=False),
    ]
    title = f"{cell.attack} in {cell.group}, round by round"
    said = (
        f"{what.capitalize()} ends at {_last(wanted[0])} without defence; the malicious model alone has a test accuracy "
        f"of {_last(accuracy[1])} in the last round, the global model {_last(accuracy[0])}. The table below has every round."
    )
    heads = {curve: head for curve, head in TABLE.items() if curve not in UNWANTED[cell.goal]}
    rows = list(zip(*(_table(cell, curve) for curve in heads), strict=True))
    return {
        "title": title,
        "figure": curves(panels, f"rounds{number}", title, said),
        "heads": list(heads.values()),
        "rows": rows,
        "seeds": cell.finished,
    }


# The curve of what the attacker wants, by goal, and its name.
WANTED = {
    "targeted": ("target_confidence", "target confidence"),
    "backdoor": ("asr", "attack success rate"),
    "availability": ("accuracy", "test accuracy by defence"),
}
TABLE = {
    "asr": "attack success rate",
    "target_confidence": "target confidence",
    "targets_hit": "targets hit",
    "accuracy": "global accuracy",
    "malicious_accuracy": "malicious model alone",
    "range_statistic": "range statistic of the malicious update",
    "benign_range_statistic": "greatest range statistic of a benign update",
}
# Curves that have no meaning under a goal.
UNWANTED = {
    "targeted": ("asr",),
    "backdoor": ("target_confidence", "targets_hit"),
    "availability": ("asr", "target_confidence", "targets_hit"),
}


def _table(cell: CellResult, curve: str) -> list[str]:
    shares = curve not in ("range_statistic", "benign_range_statistic")
    means = _over_seeds(cell, curve, _mean)
    return ["not measured" if v is None else percent(v) if shares else f"{v:.2f}" for v in means]


def _line(name: str, cell: CellResult, curve: str, series: int, band: bool) -> Line:
    low = _over_seeds(cell, curve, min) if band else None
    high = _over_seeds(cell, curve, max) if band else None
    return Line(name, _over_seeds(cell, curve, _mean), low, high, series)


def _range(name: str, cell: CellResult, curve: str, series: int) -> Line:
    """From the least to the greatest distance, each the mean over seeds; the line is their middle."""
    low, high = (_over_seeds(cell, f"{curve}_{end}", _mean) for end in ("min", "max"))
    middle: Values = [None if a is None or b is None else (a + b) / 2 for a, b in zip(low, high, strict=True)]
    return Line(name, middle, low, high, series)


def _over_seeds(cell: CellResult, curve: str, fold: Callable[[list[float]], float]) -> Values:
    """One value per round over the seeds that got so far; None where it is defined in none."""
    found = [record["curves"].get(curve, []) for record in cell.records]
    longest = max((len(record["curves"].get("accuracy", [])) for record in cell.records), default=0)
    per_round = [[c[i] for c in found if i < len(c) and c[i] is not None] for i in range(longest)]
    return [fold(values) if values else None for values in per_round]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _last(line: Line) -> str:
    value = line.mean[-1] if line.mean else None
    return "not measured" if value is None else percent(value)


def price_figure(rows: Sequence[dict[str, Any]]) -> str | None:
    """Clean accuracy that each defence costs against the harm it leaves; None without a defence to show."""
    if not rows:
        return None
    marks = [(row["number"], 100 * row["cost"].mean, row["worst"].harm.mean) for row in rows]
    held = sum(row["worst"].state is State.HELD for row in rows)
    said = f"{len(rows)} defences, {held} of which held against every attack that bites without them; the table has the numbers."
    return price(marks, "price", "Price of defence", said)
