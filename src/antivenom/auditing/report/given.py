"""What the user gave, as the audit saw it, and which of the given rows look poisoned already."""

from __future__ import annotations

from antivenom.auditing.formatting import percent
from antivenom.auditing.naming import short
from antivenom.auditing.results import Summary

_MOST = 40  # columns or classes that are listed


def given(summary: Summary) -> dict[str, object] | None:
    """The data, the model, and what is tried with them; None if the audit is one of a scenario file."""
    record = summary.given
    if record is None:
        return None
    data, model = record["data"], record["model"]
    closed = [column["name"] for column in data["columns"] if not column["editable"]]
    facts = [
        ("Data", f"{data['name']}: {data['rows']:,} rows ({data['form']}), {data['test_rows']:,} test rows"),
        ("Classes", _listed([f"{c['name']} {c['rows']:,} rows" for c in data["classes"]])),
        ("Duplicates", f"{data['duplicates']:,} rows" if data["duplicates"] else "none"),
        ("Missing values", f"{data['missing']:,}" if data["missing"] else "none"),
        ("Closed to the attacker", _listed(closed) if closed else "no column"),
        ("Model", f"{model['name']}, {'chosen by antivenom' if model['chosen'] else 'as given'}" + _why(model["why"])),
        ("One fit", f"{record['fit_seconds']:.2g} s"),
        (
            "Accuracy",
            f"{percent(record['accuracy'])} on test rows; the most frequent class has {percent(record['chance'])}",
        ),
    ]
    return {
        "facts": facts,
        "columns": [(c["name"], c["kind"], "yes" if c["editable"] else "no") for c in data["columns"][:_MOST]],
        "more_columns": max(len(data["columns"]) - _MOST, 0),
        "tried": [
            (
                t["level"],
                t["goal"],
                _listed(list(map(short, t["attacks"]))),
                _listed([short(d, "no defence") for d in t["defences"]]),
            )
            for t in record["tried"]
        ],
        "untried": [(u["what"], u["why"]) for u in record["untried"]],
    }


def suspects(summary: Summary) -> dict[str, object] | None:
    """The rows to examine; None if the given rows were not examined."""
    record = summary.suspects
    if record is None:
        return None
    flagged, rows, expected = record["flagged"], record["rows"], record["expected_false_alarms"]
    share = percent(flagged / rows) if rows else "0%"
    if record["warning"]:
        answer = "Not answered: the result is not plausible."
    elif flagged > 2 * expected:
        answer = "Perhaps: more rows are suspicious than false alarms would explain."
    else:
        answer = "Nothing points to it: no more rows are suspicious than false alarms would explain."
    return {
        "answer": answer,
        "warning": record["warning"],
        "said": (
            f"{record['method'][:1].upper()}{record['method'][1:]} flags {flagged:,} of {rows:,} rows ({share}). On clean rows about {expected:,.3g} false "
            f"alarms are expected. A flagged row is one to examine; it need not be poisoned."
        ),
        "rows": [
            {
                "row": s["row"],
                "why": s["why"],
                "label": s["label"] + (f" → {s['suggested']}" if s["suggested"] else ""),
                "cells": list(s.get("cells", {}).items()),
            }
            for s in record["sample"]
        ],
        "flagged": flagged,
    }


def _why(why: str) -> str:
    return f": {why}" if why else ""


def _listed(items: list[str]) -> str:
    shown = ", ".join(items[:_MOST]) or "none"
    return shown if len(items) <= _MOST else f"{shown} and {len(items) - _MOST} more"
