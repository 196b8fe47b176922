"""The worst case of an access level in full: who, what, how, to what effect, and the file that runs it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antivenom.audit.formatting import HARM, headline, interval, percent, points, stealth
from antivenom.audit.report.replay import replay
from antivenom.audit.statistics import Interval
from antivenom.audit.summary import CellResult, Summary

ABOUT = {
    "logic-corruption": "changes the training code and sees no row",
    "data-manipulation": "changes rows or labels that are there",
    "data-injection": "adds rows of their own",
    "transfer-learning": "hands out the pretrained model",
    "federated": "controls agents of a federation and the updates they send",
}
KNOWLEDGE = {
    "logic-corruption": "the batch in hand while it is trained on; not the defence",
    "data-manipulation": "the training rows; not the model, not the defence",
    "data-injection": "the training rows; not the model, not the defence",
    "transfer-learning": "the provider's rows and the model handed out; not the user's rows, not the defence",
    "federated": "its own rows, the global model of each round it takes part in, the aggregation weights; not the others' "
    "rows or current updates, not the defence",
    "privacy": "the records asked about, how the model is trained, rows like its own, the finished model's confidences; not "
    "who is in the training set",
}


def card(cell: CellResult | None, summary: Summary) -> dict[str, Any]:
    """The worst case of a level in full."""
    assert cell is not None
    attack = cell.records[0]["spec"]["attack"] if cell.records else {}
    return {
        "cell": cell,
        "headline": headline(cell),
        "facts": [
            ("Access", f"{cell.level}: {ABOUT[cell.level]}"),
            ("Goal", f"{cell.goal}, measured as {HARM[cell.goal]}"),
            ("Knowledge", KNOWLEDGE["privacy" if cell.goal == "privacy" else cell.level]),
            ("Budget", _budget(cell)),
            ("Attack", _fields(attack)),
            (
                "Effect",
                f"{HARM[cell.goal]} {interval(cell.harm)}; clean accuracy {_mean(cell.clean_accuracy)}, lost {lost(cell.accuracy_lost)}",
            ),
            ("Stealth", stealth(cell, summary)),
            ("Against", "no defence, as deployed" if cell.defence == "none" else f"{cell.defence}, as deployed"),
        ],
        "notes": sorted({note for record in cell.records for note in record["notes"]})[:5],
        "replay": replay(cell, summary.plan),
    }


def _budget(cell: CellResult) -> str:
    scenario = cell.scenario
    if cell.level == "federated":
        federation = scenario.get("federation", {})
        malicious, agents = federation.get("num_malicious", "?"), federation.get("num_agents", "?")
        return f"{malicious} of {agents} agents, in {federation.get('rounds', '?')} rounds"
    if cell.level in ("logic-corruption", "transfer-learning"):
        return "no row touched"
    return f"{percent(cell.mean('poisoned_rate'))} of the training rows ({cell.mean('poisoned_rows'):.0f} rows)"


def _fields(spec: Mapping[str, Any] | None) -> str:
    """A plugin with all its fields, in words."""
    if not spec:
        return "not measured"
    inner = ", ".join(
        f"{name} {_fields(value) if isinstance(value, Mapping) else value}"
        for name, value in spec.items()
        if name != "name"
    )
    named = spec.get("name")
    return f"({inner})" if named is None else f"{named}: {inner}" if inner else str(named)


def _mean(value: Interval | None) -> str:
    return "not measured" if value is None else percent(value.mean)


def lost(value: Interval | None) -> str:
    """Points of accuracy, or that they were not measured."""
    return "not measured" if value is None else points(value.mean)
