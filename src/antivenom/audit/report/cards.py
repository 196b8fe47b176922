"""The card of a breached level: the worst case in full, with a scenario file that runs it again."""

from __future__ import annotations

import math
from collections.abc import Mapping

from antivenom.audit.formatting import effect, headline, percent, points, stealth
from antivenom.audit.report.replay import replay
from antivenom.audit.results import CellResult, LevelResult, Summary
from antivenom.audit.statistics import Interval
from antivenom.core.registry import split_fields


def card(level: LevelResult, summary: Summary) -> dict[str, object]:
    """The worst case of a level as values for the template."""
    cell = level.deployed
    assert cell is not None
    attack = cell.records[0]["spec"]["attack"] if cell.records else {}
    return {
        "cell": cell,
        "headline": headline(cell),
        "facts": [
            ("Access", f"{cell.level}: {level.about}"),
            ("Goal", f"{cell.goal}, measured as {cell.metric.word}"),
            ("Knowledge", cell.knowledge),
            ("Budget", cell.budget or _rows(cell)),
            ("Attack", _fields(attack)),
            (
                "Effect",
                f"{cell.metric.word} {effect(cell)}; clean accuracy {_mean(cell.clean_accuracy)}, lost {lost(cell.accuracy_lost)}",
            ),
            ("Stealth", stealth(cell, summary)),
            ("Against", "no defence, as deployed" if cell.defence == "none" else f"{cell.defence}, as deployed"),
        ],
        "notes": sorted({note for record in cell.records for note in record["notes"]})[:5],
        "replay": replay(cell, summary.plan),
    }


def _rows(cell: CellResult) -> str:
    """The share and number of training rows that the attack touched."""
    rows = cell.mean("poisoned_rows")
    if not rows > 0:
        return "not measured" if math.isnan(rows) else "no row touched"
    return f"{percent(cell.mean('poisoned_rate'))} of the training rows ({rows:.0f} rows)"


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


def _mean(value: Interval | None) -> str:
    return "not measured" if value is None else percent(value.mean)


def lost(value: Interval | None) -> str:
    """A difference of accuracies in percentage points, or "not measured"."""
    return "not measured" if value is None else points(value.mean)
