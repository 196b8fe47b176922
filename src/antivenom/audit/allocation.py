"""Spends seeds where the verdict is open: which cells of an audit get more.

After every round, each open cell gets a block of further seeds, together with the clean twins that it is compared with. The
deployed defences and the undefended cells, which are the positive controls, come first; the other cells get seeds once none
of the former can have more. The counts follow from the plan and the records alone, so that an audit which was killed goes
on with the same ones. Stopping when a verdict has fallen is sound because the bounds hold after any number of seeds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from antivenom.audit.grid import label
from antivenom.audit.plan import Cell, Counts, Plan
from antivenom.audit.results import CellResult
from antivenom.audit.stopping import Id, open_cells
from antivenom.audit.trial import Record

BLOCK = 4  # seeds that an open cell gets in a round


class Step(NamedTuple):
    """A new record, and how many trials this run has been asked for so far. The number grows from round to round."""

    record: Record
    total: int


def grow(plan: Plan, counts: Counts, results: Iterable[CellResult]) -> Counts:
    """The number of seeds of each cell after one more round; the same numbers if no cell gets more.

    Args:
        plan: the audit's plan.
        counts: the number of seeds of each cell so far.
        results: the results of the cells with these seeds.
    """
    if plan.more is None:
        return counts
    still_open = open_cells(results)
    waiting = [i for i, cell in enumerate(plan.cells) if _name(cell) in still_open and counts[i] < plan.more.most]
    urgent = [i for i in waiting if plan.cells[i].deployed or plan.cells[i].defence is None]
    for some in (urgent, [i for i in waiting if i not in urgent]):
        grown = _with_blocks(plan, plan.more.most, counts, some)
        if grown != counts:
            return grown
    return counts


def _with_blocks(plan: Plan, most: int, counts: Counts, cells: list[int]) -> Counts:
    """The counts with one more block for each of these cells, as far as the budget reaches."""
    budget = plan.more.trials if plan.more is not None else None
    places = {_name(cell): i for i, cell in enumerate(plan.cells)}
    asked = {*plan.asked(counts)}
    grown = list(counts)
    for i in cells:
        group, _, defence = _name(plan.cells[i])
        together = {i, places[group, "none", defence], places[group, "none", "none"]}
        for size in range(min(BLOCK, most - counts[i]), 0, -1):
            end = counts[i] + size
            new = {plan.key(j, place) for j in together for place in range(grown[j], end)} - asked
            if budget is None or len(asked) + len(new) <= budget:
                asked |= new
                for j in together:
                    grown[j] = max(grown[j], end)
                break
    return tuple(grown)


def _name(cell: Cell) -> Id:
    return cell.group, label(cell.attack), label(cell.defence)
