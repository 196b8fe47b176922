"""Numbers and results as text, the same in terminal and report."""

from __future__ import annotations

import math

from antivenom.auditing.judging import MOST_FORESEEN
from antivenom.auditing.results import CellResult, Summary
from antivenom.auditing.statistics import Interval
from antivenom.auditing.stopping import is_open

_SHOWN_LINES = 5  # of the lines that are no records


def shown(text: str) -> str:
    """Text from data, models or plugins with control characters replaced, so that it cannot steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def percent(share: float) -> str:
    """A share in percent, with one decimal below 1 %; "not measured" for nan.

    >>> percent(0.834), percent(0.0042), percent(float("nan"))
    ('83%', '0.4%', 'not measured')
    """
    if math.isnan(share):
        return "not measured"
    points = 100 * share
    return f"{points:.1f}%" if 0.05 <= abs(points) < 1 else f"{points:.0f}%".replace("-0%", "0%")


def interval(value: Interval | None) -> str:
    """A mean with its interval, such as "83% (71 to 92, 5 seeds)"; for a single seed the text says that it has none."""
    if value is None:
        return "not measured"
    if value.n < 2:
        return f"{percent(value.mean)} (1 seed, no interval)"
    return f"{percent(value.mean)} ({bounds(value)}, {value.n} seeds)"


def effect(cell: CellResult) -> str:
    """The harm of a cell that was selected: the mean on fresh seeds, with the interval from all seeds, if there are any."""
    if cell.confirmed is None or cell.harm is None:
        return interval(cell.harm)
    value = cell.confirmed.harm
    return f"{percent(value.mean)} on {value.n} fresh seeds ({bounds(value)}, {cell.harm.n} seeds)"


def accuracy(cell: CellResult) -> str:
    """The accuracy of the clean twin and of the attacked model, such as "95% → 68%"."""
    if cell.clean_accuracy is None:
        return "not measured"
    after, lost = cell.clean_accuracy.mean, cell.accuracy_lost
    return percent(after) if lost is None else f"{percent(after + lost.mean)} → {percent(after)}"


def bounds(value: Interval) -> str:
    """The ends of an interval in percent, such as "71 to 92"."""
    return f"{percent(value.low)} to {percent(value.high)}".replace("%", "")


def stealth(cell: CellResult, summary: Summary) -> str:
    """How visible the attack is.

    In a federation this is how much worse the global model is with one malicious update than with the benign ones. Otherwise it is what the detector that
    tells poisoned from clean items best (largest difference of its rates) finds and falsely flags.
    """
    if any("accuracy_gap" in record["metrics"] for record in cell.records):
        gap = cell.mean("accuracy_gap")
        if math.isnan(gap):
            return "not measured"
        effect = f"lowers the accuracy by {100 * gap:.1f} points" if gap >= 0.0005 else "does not lower the accuracy"
        return f"one malicious update alone {effect}"
    same = [c for c in summary.attacks if (c.group, c.attack) == (cell.group, cell.attack)]
    found = [(c.mean("detection_tpr"), c.mean("detection_fpr")) for c in same]
    judged = [(tpr, fpr) for tpr, fpr in found if not math.isnan(tpr)]
    if judged:
        tpr, fpr = max(judged, key=lambda pair: pair[0] - pair[1])
        return f"{percent(tpr)} found, {percent(fpr)} false"
    return "no row touched" if cell.mean("poisoned_rows") == 0 else "not measured"


def not_measured(summary: Summary) -> list[str]:
    """One line for each thing that a reader might believe to be measured but that was not."""
    gaps = [f"{level.level} (no scenario for it)" for level in summary.levels if level.planned == 0]
    if summary.trials["missing"]:
        gaps.append(f"{summary.trials['missing']} of {summary.trials['planned']} trials (interrupted)")
    if summary.foreign:
        gaps.append(f"{summary.foreign} records whose key does not follow from their content; they were ignored")
    gaps += summary.bad_lines[:_SHOWN_LINES]
    if len(summary.bad_lines) > _SHOWN_LINES:
        gaps.append(f"{len(summary.bad_lines) - _SHOWN_LINES} more lines that are no records; they were ignored")
    return gaps


def outlook(cell: CellResult) -> str:
    """About how many more seeds an open cell needs; empty if it has a verdict or more seeds cannot decide it."""
    if not is_open(cell):
        return ""
    if cell.more is None:
        return f"more than {MOST_FORESEEN} more seeds for a verdict, if they are like these"
    return f"about {cell.more} more seed{'s' * (cell.more > 1)} for a verdict, if they are like these"


def unconfirmed(summary: Summary) -> str:
    """What to know of means that were not confirmed on fresh seeds; empty if all of the first page were."""
    shown = [level for level in summary.levels if level.selected]
    absent = [level.level for level in shown if any(cell.confirmed is None for cell in level.selected)]
    if not absent:
        return ""
    more = summary.plan.get("more")
    if more is None:
        remedy = "seeds: {first: 4, most: 40} in the scenario file adds fresh seeds"
    elif any(cell.fresh for cell in summary.cells) or summary.trials["missing"]:
        remedy = "some trials with fresh seeds did not finish"
    else:
        remedy = "the file asks for none" if not more["confirm"] else "the budget of trials is spent"
    where = "" if len(absent) == len(shown) else f" at {', '.join(absent)}"
    return (
        f"Not confirmed on fresh seeds{where}: the means are those of the seeds on which the worst attack and the best defence "
        f"were selected, and so are likely to be too extreme ({remedy})."
    )


def seeds_of(summary: Summary) -> str:
    """The number of seeds of each cell, such as "5 seeds" or "4 to 24 seeds"."""
    numbers = sorted({cell.planned for cell in summary.cells})
    return f"{numbers[0]} to {numbers[-1]} seeds" if len(numbers) > 1 else f"{len(summary.plan['seeds'])} seeds"
