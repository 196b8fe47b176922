"""The card of a breached level: the worst case in full, with sample inputs and a scenario file that runs it again."""

from __future__ import annotations

import math
from collections.abc import Mapping

from antivenom.auditing.formatting import accuracy, effect, percent, stealth
from antivenom.auditing.naming import about, short
from antivenom.auditing.report.replay import replay
from antivenom.auditing.report.samples import samples
from antivenom.auditing.results import CellResult, LevelResult, Summary
from antivenom.auditing.sentences import change, on, rows_of, severity_of
from antivenom.core.registry import split_fields


def card(level: LevelResult, summary: Summary) -> dict[str, object]:
    """The worst case of a level as values for the template."""
    cell = level.deployed
    assert cell is not None
    attack = cell.records[0]["spec"]["attack"] if cell.records else {}
    return {
        "cell": cell,
        "title": f"{cell.level}: {short(cell.attack)}",
        "about": about(cell.attack),
        "change": change(cell),
        "facts": [
            ("Where", f"{on(cell)} (scenario “{cell.group}”)"),
            ("Access", f"an attacker who {level.about}"),
            ("Goal", f"{cell.goal}, measured as {cell.metric.word}"),
            ("Knowledge", cell.knowledge),
            ("Budget", rows_of(cell) or _untouched(cell)),
            ("Harm", f"{effect(cell)} {cell.metric.word}; severity {severity_of(cell.shown_harm)}; {cell.reason}"),
            ("Accuracy", f"{accuracy(cell)}, without the attack → with it"),
            ("Stealth", stealth(cell, summary)),
        ],
        "settings": _fields(attack),
        "notes": sorted({note for record in cell.records for note in record["notes"]})[:5],
        "samples": samples(cell),
        "replay": replay(cell, summary.plan),
        "key": cell.keys[0] if cell.records else "",
    }


def _untouched(cell: CellResult) -> str:
    return "not measured" if math.isnan(cell.mean("poisoned_rows")) else "no row touched"


def _fields(spec: Mapping[str, object] | None) -> str:
    """A plugin with all its fields as text, from its specification."""
    if not spec:
        return "not measured"
    inner = ", ".join(
        f"{name} {_fields(value) if isinstance(value, Mapping) else value}"
        for name, value in split_fields(spec).items()
    )
    named = spec.get("name")
    return f"({inner})" if named is None else f"{named}: {inner}" if inner else str(named)


def nearest(levels: list[LevelResult]) -> str:
    """The worst case of an audit without a breach, as a sentence."""
    cell = next((level.deployed for level in levels if level.deployed is not None), None)
    if cell is None:
        return "none, because no attack was run"
    harm = f"{effect(cell)} {cell.metric.word}" if cell.harm else "not measured"
    return f"{cell.state}: {short(cell.attack)} on {on(cell)}, harm {harm}; {cell.reason}; limit {percent(cell.limit)}"
