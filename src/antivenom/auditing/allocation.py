"""Spends seeds where the verdict is open, and confirms on fresh seeds what was selected.

After every round, each open cell gets a block of further seeds, together with the clean twins that it is compared with. The
deployed defences and the undefended cells, which are the positive controls, come first; the other cells get seeds once none
of the former can have more. When no cell can have more, the cells that the first page shows (the worst attacks and the best
defences) get seeds that no cell has had. The counts follow from the plan and the records alone, so that an audit which was
killed goes on with the same ones. Stopping when a verdict has fallen is sound because the bounds hold after any number of
seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from antivenom.auditing.counts import Counts
from antivenom.auditing.grid import label
from antivenom.auditing.plan import Cell, Plan
from antivenom.auditing.results import Id, Summary, id_of
from antivenom.auditing.stopping import open_cells
from antivenom.auditing.trial import Record

BLOCK = 4  # seeds that an open cell gets in a round


class Step(NamedTuple):
    """A new record, and how many trials this run has been asked for so far. The number grows from round to round."""

    record: Record
    total: int


def grow(plan: Plan, counts: Counts, summary: Summary) -> Counts:
    """The number of seeds of each cell after one more round; the same numbers if no cell gets more.

    Args:
        plan: the audit's plan.
        counts: the number of seeds of each cell so far.
        summary: of the records with these seeds.
    """
    if plan.more is None or any(counts.fresh):
        return counts
    still_open = open_cells(summary.cells)
    waiting = [i for i, cell in enumerate(plan.cells) if _name(cell) in still_open and counts.seeds[i] < plan.more.most]
    urgent = [i for i in waiting if plan.cells[i].deployed or plan.cells[i].defence is None]
    kept = len(_confirming(plan, counts, summary, plan.more.confirm)[1])
    for some in (urgent, [i for i in waiting if i not in urgent]):
        grown = _with_blocks(plan, plan.more.most, counts, some, kept)
        if grown != counts:
            return grown
    return _confirmed(plan, counts, summary)


def _confirmed(plan: Plan, counts: Counts, summary: Summary) -> Counts:
    """The counts with as many fresh seeds for each selected cell as the budget allows, at most `confirm`."""
    assert plan.more is not None
    left = math.inf if plan.more.trials is None else plan.more.trials - len(plan.asked(counts))
    for size in range(plan.more.confirm, 0, -1):
        grown, new = _confirming(plan, counts, summary, size)
        if len(new) <= left:
            return grown
    return counts


def _confirming(plan: Plan, counts: Counts, summary: Summary, size: int) -> tuple[Counts, set[str]]:
    """The counts with `size` fresh seeds for the selected cells and their clean twins, and the keys of the new trials."""
    places = _places(plan)
    selected = {i for cell in summary.selected for i in _with_twins(places, id_of(cell))}
    grown = replace(counts, fresh=tuple(size if i in selected else 0 for i in range(len(plan.cells))))
    return grown, {plan.key(i, place) for i in selected for place in grown.fresh_places(i)}


def _with_blocks(plan: Plan, most: int, counts: Counts, cells: Iterable[int], kept: int) -> Counts:
    """The counts with one more block for each of these cells, as far as the budget reaches without its `kept` trials."""
    budget = plan.more.trials if plan.more is not None else None
    places = _places(plan)
    asked = {*plan.asked(counts)}
    grown = list(counts.seeds)
    for i in cells:
        together = _with_twins(places, _name(plan.cells[i]))
        for size in range(min(BLOCK, most - counts.seeds[i]), 0, -1):
            end = counts.seeds[i] + size
            new = {plan.key(j, place) for j in together for place in range(grown[j], end)} - asked
            if budget is None or len(asked) + len(new) + kept <= budget:
                asked |= new
                for j in together:
                    grown[j] = max(grown[j], end)
                break
    return replace(counts, seeds=tuple(grown))


def _with_twins(places: dict[Id, int], name: Id) -> set[int]:
    """The cell of that name and its clean twins, with the same defence and without one."""
    group, _, defence = name
    return {places[name], places[group, "none", defence], places[group, "none", "none"]}


def _places(plan: Plan) -> dict[Id, int]:
    return {_name(cell): i for i, cell in enumerate(plan.cells)}


def _name(cell: Cell) -> Id:
    return cell.group, label(cell.attack), label(cell.defence)
