"""Tells whether more seeds could decide a cell, and why a cell got no more of them."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable

from antivenom.auditing.results import CellResult, Id, State, Summary, id_of


def is_open(cell: CellResult) -> bool:
    """Whether more seeds could decide a cell all of whose trials have ended.

    Failed trials need their cause removed rather than more seeds. A cell that cannot be HELD (see `judging.can_be_held`) is
    open until its harm is shown to be below the limit, because until then it may turn out BREACHED.
    """
    if cell.is_clean_twin or cell.state is not State.INCONCLUSIVE or cell.errors or cell.harm is None:
        return False
    return cell.can_be_held or cell.harm.high >= cell.limit


def open_cells(results: Iterable[CellResult]) -> set[Id]:
    """Group, attack and defence of every cell that more seeds could decide."""
    return {id_of(cell) for cell in results if is_open(cell)}


class Stop(enum.StrEnum):
    """Why a cell got no more seeds; the value is how the reports say it."""

    DECIDED = "decided"
    MOST = "the most seeds that a cell may have"
    BUDGET = "the budget of trials is spent"
    CLOSED = "more seeds of this cell alone cannot decide it"


def stops(summary: Summary) -> dict[Id, Stop]:
    """Group, attack and defence of each cell with an attack -> why it got no more seeds.

    A cell is absent if it can still get more when the audit goes on, and if the plan gives no cell more seeds than the first.
    """
    more = summary.plan.get("more")
    if more is None:
        return {}
    results = {id_of(cell): cell for cell in summary.cells}
    still_open = open_cells(summary.cells)
    confirmed = any(cell.fresh for cell in summary.cells)  # which ends the audit
    found = {}
    for key, cell in results.items():
        twins = {(key[0], "none", key[2]), (key[0], "none", "none")}
        left = math.inf if more["trials"] is None else more["trials"] - summary.trials["planned"]
        ended = cell.finished + len(cell.errors) == cell.planned or cell.state is State.NOT_APPLICABLE
        if cell.is_clean_twin or not ended:
            continue
        if cell.state.is_conclusive:
            found[key] = Stop.DECIDED
        elif key not in still_open:
            found[key] = Stop.CLOSED
        elif cell.planned - cell.fresh >= more["most"]:
            found[key] = Stop.MOST
        elif confirmed or left < 1 + sum(results[twin].planned <= cell.planned for twin in twins):
            found[key] = Stop.BUDGET
    return found
