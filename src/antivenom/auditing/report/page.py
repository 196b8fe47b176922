"""The content of the page, section by section, as plain values for the template. All numbers come from the Summary."""

from __future__ import annotations

import math

from antivenom.auditing.changes import since
from antivenom.auditing.comparing import Comparison
from antivenom.auditing.formatting import interval, percent, seeds_of, unconfirmed
from antivenom.auditing.grades import profile, required
from antivenom.auditing.naming import short
from antivenom.auditing.repairing import repairs
from antivenom.auditing.report.budget import curves, searches
from antivenom.auditing.report.cards import card, nearest
from antivenom.auditing.report.certified import certified
from antivenom.auditing.report.coverage import funnel, gaps
from antivenom.auditing.report.front import audited, banner, rung, verdict
from antivenom.auditing.report.given import given, suspects
from antivenom.auditing.report.inputs import inputs
from antivenom.auditing.report.pairs import clean, counts, matrix, row, shown_of
from antivenom.auditing.report.repair import changes, prices
from antivenom.auditing.report.rounds import rounds
from antivenom.auditing.results import State, Summary, id_of
from antivenom.auditing.sentences import do_first
from antivenom.auditing.standards import editions, touched
from antivenom.auditing.stopping import stops
from antivenom.auditing.summary import severity
from antivenom.auditing.trial import Record
from antivenom.auditing.untried import untried
from antivenom.core.threat import Goal

_SECTIONS = {
    "verdict": "What an attacker can do",
    "todo": "What to do",
    "worst": "Worst case",
    "budget": "How much is needed",
    "suspects": "Did it happen already?",
    "given": "What was looked at",
    "coverage": "Coverage",
    "pairs": "Attack and defence",
    "rounds": "Rounds",
    "price": "Price of defence",
    "certified": "Certified floor",
    "detection": "Detection",
    "inputs": "Inputs",
    "baseline": "Change since the baseline",
    "standards": "Published lists",
    "absent": "Not measured",
    "method": "Method and limits",
    "appendix": "Appendix",
}
_ONLY_IF_PRESENT = ("baseline", "standards", "suspects", "given", "certified", "rounds", "inputs", "detection")


def contents(summary: Summary, sha256: str, comparison: Comparison | None = None) -> dict[str, object]:
    """All values that the template uses. `sha256` is the hash of records.jsonl, or empty."""
    shown = shown_of(summary)
    stopped = stops(summary)
    goals = [Goal(goal).metric for goal in dict.fromkeys(cell.goal for cell in summary.cells)]
    levels = sorted(summary.levels, key=lambda level: (list(State).index(level.state), [-n for n in level.severity]))
    every = sorted(shown, key=severity, reverse=True)
    places = {id_of(cell): number for number, cell in enumerate(every, start=1)}
    breached = [level for level in levels if level.state is State.BREACHED]
    entries = touched(summary)
    found: dict[str, object] = {
        "budgets": curves(summary),
        "searches": searches(summary),
        "suspects": suspects(summary),
        "given": given(summary),
        "certified": certified(summary),
        "rounds": rounds(summary),
        "detection": _detection(summary),
        "inputs": inputs(summary),
        "baseline": None if comparison is None else since(comparison),
        "standards": [entry for entry in entries if entry.evidence is not None],
    }
    return found | {
        "name": summary.plan["name"],
        "date": _date(summary),
        "sections": [s for s in _SECTIONS.items() if s[0] not in _ONLY_IF_PRESENT or found[s[0]]],
        "summary": summary,
        "banner": banner(summary),
        "verdict": verdict(levels, bool(summary.attacks)),
        "audited": audited(summary),
        "levels": [rung(level, summary) for level in levels],
        "do_first": do_first(summary),
        "unconfirmed": unconfirmed(summary),
        "untried": untried(summary),
        "funnel": funnel(summary),
        "states": counts(summary),
        "gaps": gaps(summary, stopped),
        "cards": [card(level, summary) for level in breached],
        "nearest": nearest(sorted(levels, key=lambda level: level.severity, reverse=True)),
        "changes": [changes(level, summary) for level in breached],
        "repairs": repairs(summary),
        "matrices": [
            matrix(level.level, shown, places) for level in levels if any(c.level == level.level for c in shown)
        ],
        "left_out": len(summary.attacks) - len(shown),
        "price": prices(summary),
        "every": [row(cell, stopped) for cell in every],
        "clean": clean(summary),
        "facts": _facts(summary, sha256),
        "errors": sorted({(c.group, error) for c in summary.cells for error in c.errors}),
        "text": {"interval": interval, "percent": percent, "seeds": seeds_of, "short": short},
        "editions": editions(),
        "unmapped": [f"{entry.id} {entry.name}" for entry in entries if entry.evidence is None],
        "profile": profile(),
        "required": required(),
        "State": State,
        "harms": "; or ".join(f"{metric.about}" for metric in goals),
        "terms": dict(term for metric in goals for term in metric.terms),
    }


def _detection(summary: Summary) -> list[dict[str, str]]:
    """The detection rates of sanitizers and detectors for every attack, and their false alarms on clean data."""
    twins = {(c.group, c.defence): c for c in summary.cells if c.is_clean_twin}
    rows = []
    for cell in summary.attacks:
        tpr, fpr, auroc = (cell.mean(f"detection_{name}") for name in ("tpr", "fpr", "auroc"))
        if math.isnan(fpr):
            continue
        rows.append(
            {
                "group": cell.group,
                "attack": short(cell.attack),
                "defence": short(cell.defence),
                "tpr": percent(tpr) if not math.isnan(tpr) else "undefined: the attack leaves nothing to find",
                "fpr": percent(fpr),
                "clean": percent(twins[cell.group, cell.defence].mean("detection_fpr")),
                "auroc": f"{auroc:.2f}" if not math.isnan(auroc) else "undefined: no poison present",
            }
        )
    return rows


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


def _date(summary: Summary) -> str:
    """The day of the last trial, or empty."""
    return max((record["started"] for cell in summary.cells for record in cell.records), default="")[:10]
