"""What was tested and what was not: numbers from the catalogue to conclusions, and gaps with what would close them."""

from __future__ import annotations

from collections.abc import Mapping

from antivenom.auditing.formatting import not_measured, outlook
from antivenom.auditing.naming import short
from antivenom.auditing.results import CellResult, Id, State, Summary, id_of
from antivenom.auditing.stopping import Stop, is_open

MOST_GAPS = 200  # rows


def funnel(summary: Summary) -> list[tuple[str, int, str]]:
    """(stage, number, where it comes from), from all attacks in the catalogue down to pairs with a conclusive result."""
    from antivenom.auditing.catalogue import rows

    catalogue = len(rows("attacks", None, None))
    counts = summary.trials
    attacks = {(c.attack) for c in summary.attacks}
    ran = [c for c in summary.attacks if c.finished]
    conclusive = [c for c in summary.attacks if c.state.is_conclusive]
    return [
        ("attacks in the catalogue", catalogue, "antivenom list attacks"),
        ("attacks in this audit, each setting counted", len(attacks), "attacks, in the scenario file"),
        ("pairs of attack and defence planned", len(summary.attacks), "its grid"),
        (
            "pairs with a finished trial",
            len(ran),
            f"{counts['ok']} of {counts['planned']} trials, clean twins included",
        ),
        ("pairs with a conclusive answer", len(conclusive), "BREACHED or HELD"),
    ]


def gaps(summary: Summary, stopped: Mapping[Id, Stop]) -> dict[str, object]:
    """(what is not known, why, what would close the gap) for everything planned without a conclusive result."""
    found = [
        (gap, "not in the scenario file, or not run", "add it, or start the audit again")
        for gap in not_measured(summary)
    ]
    for cell in summary.attacks:
        if not cell.state.is_conclusive:
            pair = f"{short(cell.attack)} against {short(cell.defence, 'no defence')} in {cell.group}"
            found.append((pair, cell.reason, remedy(cell, stopped)))
    return {"rows": found[:MOST_GAPS], "number": len(found)}


def remedy(cell: CellResult, stopped: Mapping[Id, Stop]) -> str:
    """What would give the cell a verdict."""
    if cell.state is State.NOT_APPLICABLE:
        return "nothing: the two cannot be combined"
    if cell.state is State.NOT_MEASURED or cell.finished < cell.planned:
        return "run the same command again"
    if cell.state is State.ERROR:
        return "remove the cause named in the appendix, then run again"
    if stopped.get(id_of(cell)) in (Stop.MOST, Stop.BUDGET):
        field = "most" if stopped[id_of(cell)] is Stop.MOST else "trials"
        return f"{outlook(cell)}: raise {field} under `seeds` in the scenario file"
    if is_open(cell):
        return f"{outlook(cell)}: --seeds"
    return "a stronger attack: a higher rate, boost or number of agents"
