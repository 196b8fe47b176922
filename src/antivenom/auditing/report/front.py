"""The first screen: what was audited, and for every access level what an attacker can do, and what to do next."""

from __future__ import annotations

from antivenom.auditing.formatting import bounds, effect, percent
from antivenom.auditing.grades import grade
from antivenom.auditing.naming import about, details, of_value, short
from antivenom.auditing.results import CellResult, LevelResult, State, Summary
from antivenom.auditing.sentences import needs, next_step, on, sentence, severity_of

_MOST_AUDITED = 4  # pipelines on the first screen


def banner(summary: Summary) -> str | None:
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


def verdict(levels: list[LevelResult], refused: bool = False) -> str:
    """The first sentence of the page. `refused` says that attacks were planned and that none of them applies."""
    tried = [level for level in levels if level.planned]
    breached = [level for level in tried if level.state is State.BREACHED]
    if not tried:
        why = "No attack that was planned applies here" if refused else "No attack was planned"
        return f"{why}, so nothing is known."
    if all(level.state is State.ERROR for level in tried):
        return "Nothing is known, because the trials failed."
    held = all(level.state is State.HELD for level in tried)
    if len(tried) == 1:
        state = (
            "is breached as deployed"
            if breached
            else "held in this test"
            if held
            else "is not shown to be breached or to hold"
        )
        return f"The one access level that was tried {state}."
    if breached:
        are = "is" if len(breached) == 1 else "are"
        return f"{len(breached)} of {len(tried)} access levels that were tried {are} breached as deployed."
    if held:
        return f"All {len(tried)} access levels that were tried held in this test."
    return f"No breach is shown at the {len(tried)} access levels that were tried; not all of them are shown to hold."


def audited(summary: Summary) -> dict[str, object]:
    """What was audited: (data, model, deployed defence) of every pipeline, each once."""
    found = dict.fromkeys(
        (of_value(c.scenario.get("data")), of_value(c.scenario.get("model")), short(c.defence, "no defence"))
        for c in summary.cells
        if c.deployed
    )
    rows = list(found)[:_MOST_AUDITED]
    return {"rows": rows, "more": len(found) - len(rows)}


def rung(level: LevelResult, summary: Summary) -> dict[str, object]:
    """One access level of the first screen."""
    worst = level.deployed
    return {
        "name": level.level,
        "about": level.about,
        "add": level.add,
        "state": level.state,
        "sentence": sentence(level),
        "severity": severity_of(None if worst is None else worst.shown_harm),
        "needs": needs(level, summary),
        "next": next_step(level, summary),
        "worst": None if worst is None else _worst(worst),
        "strip": None if worst is None else strip(worst, level.undefended, level.best),
        "grade": grade(level, summary),
        "planned": level.planned,
        "conclusive": level.conclusive,
    }


def _worst(cell: CellResult) -> dict[str, str]:
    """The worst attack of a level with its names and numbers."""
    return {
        "attack": short(cell.attack),
        "about": about(cell.attack),
        "details": details(cell.attack),
        "on": on(cell),
        "harm": effect(cell),
        "limit": percent(cell.limit),
    }


def strip(worst: CellResult, undefended: CellResult | None, best: CellResult | None) -> dict[str, object]:
    """The positions of a level's marks on its scale from 0 to 100 % harm, in percent of the width; clipped at the ends."""

    def at(value: float) -> float:
        return round(100 * min(max(value, 0.0), 1.0), 2)

    def mark(cell: CellResult | None) -> float | None:
        return None if cell is None or cell.shown_harm is None else at(cell.shown_harm.mean)

    harm = worst.shown_harm
    spans = worst.harm is not None and worst.harm.n > 1
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
        "ends": (at(harm.low), at(harm.high)) if harm is not None and spans else None,
        "limit": at(worst.limit),
        "said": said,
        "span": f"{bounds(harm)}%" if harm is not None and spans else "",
    }
