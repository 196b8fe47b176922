"""Every pair of attack and defence: the matrices, the list with values per seed, and the command that runs one again."""

from __future__ import annotations

from collections.abc import Mapping

from antivenom.auditing.formatting import accuracy, bounds, interval, percent
from antivenom.auditing.naming import details, short, shorts
from antivenom.auditing.results import CellResult, Id, State, Summary, id_of
from antivenom.auditing.stopping import Stop
from antivenom.auditing.summary import severity

MOST_CELLS = 2000  # a page with more becomes slow in a browser; then only
WORST_CELLS = 200  # so many cells of each level are shown, the worst ones


def shown_of(summary: Summary) -> list[CellResult]:
    """All cells with an attack, or the worst of each level if there are too many for a page."""
    if len(summary.attacks) <= MOST_CELLS:
        return list(summary.attacks)
    ranked = sorted(summary.attacks, key=severity, reverse=True)
    return [c for level in summary.levels for c in [c for c in ranked if c.level == level.level][:WORST_CELLS]]


def matrix(name: str, shown: list[CellResult], places: Mapping[Id, int]) -> dict[str, object]:
    """A level's tables of attacks against defences, one for each group, the worst rows and columns first.

    Args:
        name: the level.
        shown: the cells of the page.
        places: the number of each cell in the list of all pairs, to which the tables refer.
    """
    by_group: dict[str, list[CellResult]] = {}
    for cell in shown:
        if cell.level == name:
            by_group.setdefault(cell.group, []).append(cell)
    groups = sorted(by_group, key=lambda group: _worst(by_group[group]), reverse=True)
    return {"level": name, "tables": [_table(group, by_group[group], places) for group in groups]}


def _table(group: str, own: list[CellResult], places: Mapping[Id, int]) -> dict[str, object]:
    cells = {(c.attack, c.defence): c for c in own}
    by_attack: dict[str, list[CellResult]] = {}
    by_defence: dict[str, list[CellResult]] = {}
    for cell in own:
        by_attack.setdefault(cell.attack, []).append(cell)
        by_defence.setdefault(cell.defence, []).append(cell)
    attacks = sorted(by_attack, key=lambda attack: _worst(by_attack[attack]), reverse=True)
    defences = sorted(by_defence, key=lambda d: (d == "none", _worst(by_defence[d])), reverse=True)
    names = shorts((*attacks, *defences)) | {"none": "no defence"}
    rows = [
        {
            "name": names[attack],
            "details": details(attack),
            "states": " ".join(sorted({c.state.split(" ")[0].replace("/", "") for c in by_attack[attack]})),
            "cells": [
                (cells[attack, d], places[id_of(cells[attack, d])], said(cells[attack, d]))
                if (attack, d) in cells
                else None
                for d in defences
            ],
        }
        for attack in attacks
    ]
    return {
        "group": group,
        "goal": own[0].goal,
        "word": own[0].metric.word,
        "defences": [(names[d], details(d)) for d in defences],
        "rows": rows,
    }


def _worst(cells: list[CellResult]) -> tuple[float, float]:
    return max(map(severity, cells))


def said(cell: CellResult) -> str:
    """The text of a matrix cell below its state."""
    if cell.harm is None:
        return f"{cell.finished} of {cell.planned} seeds"
    if cell.harm.n != cell.planned or cell.harm.n < 2:
        return interval(cell.harm)
    return f"{percent(cell.harm.mean)} ({bounds(cell.harm)})"


def row(cell: CellResult, stopped: Mapping[Id, Stop]) -> dict[str, object]:
    """A cell with its value per seed and its record ids."""
    values = "" if cell.harm is None else ", ".join(percent(value) for value in cell.harm.values)
    why = stopped.get(id_of(cell))
    return {
        "cell": cell,
        "attack": short(cell.attack, "no attack"),
        "defence": short(cell.defence, "no defence"),
        "details": [text for text in (details(cell.attack), details(cell.defence)) if text],
        "values": values,
        "seeds": f"{cell.planned} seeds" + (f": {why}" if why else ""),
        "accuracy": accuracy(cell),
        "replay": cell.keys[0] if cell.records else "",
    }


def clean(summary: Summary) -> list[CellResult]:
    """The clean twins, as many as a page holds."""
    return [cell for cell in summary.cells if cell.is_clean_twin][:MOST_CELLS]


def counts(summary: Summary) -> list[tuple[State, int]]:
    """How many pairs are in each state."""
    return [(state, sum(c.state is state for c in summary.attacks)) for state in State]
