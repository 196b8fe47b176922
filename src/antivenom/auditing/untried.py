"""Counts the attacks of the catalogue that an audit did not run, for each level and goal that it measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from antivenom.auditing.results import CellResult, Summary
from antivenom.core.registry import Entry, Kind, entries
from antivenom.core.threat import Access

_NULL = "NoAttack"  # an attack that does nothing


def untried(summary: Summary) -> str:
    """What was not tried, as one sentence; empty if no attack was planned.

    An attack counts as run if a trial of it finished, also as part of another attack. Attacks of the catalogue are those of
    the registry that the scenarios of the level take, at the level's access.
    """
    parts = [part for level in summary.levels for part in _level(level.level, level.access, summary)]
    return f"Not tried, of the attacks in the catalogue: {'; '.join(parts)}" if parts else ""


def _level(name: str, access: tuple[str, ...], summary: Summary) -> Iterator[str]:
    """The part of the sentence about one level; nothing if no attack was planned there."""
    cells = [cell for cell in summary.attacks if cell.level == name]
    if not cells:
        return
    ran = {part for cell in cells for part in _parts(cell)}
    known = _catalogue(cells, access if name in [*Access] else None)
    goals = dict.fromkeys(cell.goal for cell in cells)
    counts = []
    for goal in goals:
        able = {entry.name for entry in known if goal in entry.goals}
        if able:
            counts.append(f"{len(able - ran)} of {len(able)} for {goal}")
    others = {entry.name for entry in known if not {*goals} & {*entry.goals}} - ran
    counts += [f"{len(others)} for other goals"] if others else []
    if counts:
        yield f"{name} {', '.join(counts)}"


def _catalogue(cells: list[CellResult], access: tuple[str, ...] | None) -> list[Entry]:
    """The registered attacks that the cells' scenarios take, with one of these access levels; None for any.

    A report may be made without the plugin that defines a scenario, whose attacks are then not counted.
    """
    wanted = {cell.scenario.get("kind") for cell in cells}
    taken = [
        entry.traits.arrows for entry in entries(Kind.SCENARIO) if entry.name in wanted and entry.traits is not None
    ]
    kinds = dict.fromkeys(kind for arrows in taken for kind in arrows if kind.is_attack)
    found = [entry for entry in entries(*kinds) if entry.name != _NULL] if kinds else []
    return [entry for entry in found if access is None or {*access} & {*entry.access}]


def _parts(cell: CellResult) -> Iterator[str]:
    """The names of the cell's attack and of all plugins in its fields, if a trial of it finished."""
    if cell.records:
        yield from _names(cell.records[0].get("spec", {}).get("attack"))


def _names(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("name"), str):
            yield value["name"]
        for part in value.values():
            yield from _names(part)
    elif isinstance(value, list):
        for part in value:
            yield from _names(part)
