"""The catalogue as `antivenom list` and `antivenom show` print it."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from antivenom.audit.grid import label
from antivenom.core.errors import ScenarioError, did_you_mean
from antivenom.core.registry import ATTACKS, DEFENCES, Entry, Kind, entries, fields_of, find
from antivenom.core.threat import Access
from antivenom.data import DATASETS

_KINDS: dict[str, tuple[Kind, ...]] = {
    "attacks": ATTACKS,
    "defences": DEFENCES,
    "models": (Kind.ARCHITECTURE, Kind.ESTIMATOR),
    "scenarios": (Kind.SCENARIO,),
    "goals": (Kind.GOAL,),
    "data": (),
    "all": tuple(Kind),
}


def rows(
    what: str = "all", access: str | None = None, goal: str | None = None, kind: str | None = None
) -> list[dict[str, Any]]:
    """One mapping per plugin and data set that matches; a kind may be its last word, as `detector` for every detector.

    Raises:
        ScenarioError: an unknown word; with the nearest right one.
    """
    by_word = {word: [k for k in Kind if word in (k, k.split()[-1])] for k in Kind for word in (str(k), k.split()[-1])}
    for value, known, name in (
        (what, _KINDS, "what"),
        (access, list(Access), "access"),
        (goal, [entry.name for entry in entries(Kind.GOAL)], "goal"),
        (kind, by_word, "kind"),
    ):
        if value is not None and value not in {str(k) for k in known}:
            raise ScenarioError(
                f"{name}: {', '.join(map(str, known))}", repr(value), did_you_mean(value, map(str, known))
            )
    kinds = [k for k in _KINDS[what] if kind is None or k in by_word[kind]]
    found = [_row(entry) for entry in entries(*kinds) if _matches(entry, access, goal)] if kinds else []
    if what in ("data", "all") and access is None and goal is None and kind is None:
        found += [{"kind": "data", "name": data.name, "about": data.about} for data in DATASETS.values()]
    return found


def _matches(entry: Entry, access: str | None, goal: str | None) -> bool:
    return (access is None or access in entry.access) and (goal is None or goal in entry.goals)


def _row(entry: Entry) -> dict[str, object]:
    return {
        "kind": str(entry.kind),
        "name": entry.name,
        "about": entry.about,
        "access": [str(level) for level in entry.access],
        "goals": [str(goal) for goal in entry.goals],
        "reference": entry.cite,
        "origin": entry.origin,
    }


def page(name: str) -> str:
    """Everything known of one plugin or data set, as text."""
    if name in DATASETS:
        data = DATASETS[name]
        places = [f"  {source.filename}: {source.url}" for source in data.files] or [
            "  no file: comes with scikit-learn"
        ]
        return "\n".join([f"{data.name} (data)", "", data.about, "", *places])
    entry = find(name)
    lines = [f"{entry.name} ({entry.kind}, from {entry.origin})", "", inspect.getdoc(entry.cls) or "", ""]
    lines += _fields(entry.cls)
    if entry.access:
        lines += ["", f"Access: {', '.join(entry.access)}"]
    if entry.goals:
        lines.append(f"Goals: {', '.join(entry.goals)}")
    if entry.traits is not None:
        lines += ["", f"Takes: {', '.join(entry.traits.arrows)}"]
        lines += [f"Level {level.name}: {level.about}" for level in entry.traits.levels]
    return "\n".join([*lines, f"Reference: {entry.cite}"] if entry.cite else lines)


def _fields(cls: type) -> list[str]:
    """A line per field: name, type, default."""
    hints = fields_of(cls)
    found = []
    for field in dataclasses.fields(cls):
        type_name = getattr(hints[field.name], "__name__", str(hints[field.name]))
        default = "required" if field.default is dataclasses.MISSING else f"default {label(field.default)}"
        found.append(f"  {field.name}: {type_name}, {default}")
    return found
