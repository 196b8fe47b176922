"""The steps of the report's ladder: which kinds of attacker the known scenarios can measure."""

from __future__ import annotations

from dataclasses import dataclass

from antivenom.core.registry.entry import Entry, Kind, entries
from antivenom.core.threat import Access, Level


@dataclass(frozen=True)
class Step:
    """One step and how to get a number for it.

    Fields:
        level: who stands on it.
        add: what a scenario file must say to measure it.
    """

    level: Level
    add: str


def ladder() -> tuple[Step, ...]:
    """Every step that a registered scenario stands on: the access levels in their own order, then the others by name."""
    found: dict[str, Step] = {}
    for entry in sorted(entries(Kind.SCENARIO), key=_preference):
        levels = _levels(entry)
        for level in levels:
            also = f", access: {level.name}" if len(levels) > 1 else ""
            found.setdefault(level.name, Step(level, f"kind: {entry.name}{also}"))
    first = [str(access) for access in Access]
    return tuple(found[name] for name in [*(n for n in first if n in found), *sorted(found.keys() - {*first})])


def _preference(entry: Entry) -> tuple[bool, int, str]:
    """Where several scenarios measure a step, the report names the central one, else the one with the fewest steps."""
    return entry.name != "central", len(_levels(entry)), entry.name


def _levels(entry: Entry) -> tuple[Level, ...]:
    return entry.traits.levels if entry.traits is not None else ()
