"""The steps of the report's ladder: the kinds of attacker that the registered scenarios can measure."""

from __future__ import annotations

from dataclasses import dataclass

from antivenom.core.registry.entry import Entry, Kind, entries
from antivenom.core.threat import Access, Level


@dataclass(frozen=True)
class Step:
    """One step of the ladder, and how to measure it.

    Fields:
        level: the attacker on this step.
        add: what to write into a scenario file to measure it, such as "kind: federated".
    """

    level: Level
    add: str


def ladder() -> tuple[Step, ...]:
    """The steps of all registered scenarios: first the access levels in their own order, then the others by name.

    If several scenarios measure a step, `add` names one of antivenom's own, and among these the one that takes the most
    kinds of plugins per level, because it is the most general.
    """
    found: dict[str, Step] = {}
    for entry in sorted(entries(Kind.SCENARIO), key=_precedence):
        assert entry.traits is not None
        for level in entry.traits.levels:
            also = f", access: {level.name}" if len(entry.traits.levels) > 1 else ""
            found.setdefault(level.name, Step(level, f"kind: {entry.name}{also}"))
    first = [str(access) for access in Access]
    return tuple(found[name] for name in [*(n for n in first if n in found), *sorted(found.keys() - {*first})])


def _precedence(entry: Entry) -> tuple[bool, float, str]:
    assert entry.traits is not None
    return entry.origin != "antivenom", -len(entry.traits.arrows) / len(entry.traits.levels), entry.name
