"""Makes a Summary of the records: a state for every cell, a row for every access level, and an exit code.

Terminal, JSON and HTML are views of one Summary. The rules are:

- Only finished trials enter a number. A harm that is not known keeps a cell from HELD.
- Harm is measured against the clean twin with the same seed and the same defence. For HELD, the harm against the clean twin
  without a defence must be small as well, so that a defence that ruins the model does not count as one that held.
- A cell is HELD only with a positive control: the same attack breaches the pipeline without the defence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from antivenom.audit.judging import Harms, error_of, numbers, verdict
from antivenom.audit.plan import COST
from antivenom.audit.records import Store
from antivenom.audit.results import CellResult, LevelResult, State, Summary, number
from antivenom.audit.statistics import Interval
from antivenom.audit.trial import Record
from antivenom.core.threat import Goal


def summary_of(store: Store) -> Summary:
    """The summary of the records in an audit folder.

    Raises:
        StoreError: the folder holds no plan, or a line that is no record.
    """
    summary = summarise(store.plan(), store.trials(), store.foreign())
    return replace(summary, bad_lines=tuple(store.bad_lines()))


def summarise(plan: Record, records: Mapping[str, Record], foreign: int = 0) -> Summary:
    """The summary of a plan's record and the trials' records.

    Args:
        plan: the plan's record.
        records: trials' records by key. Those that the plan does not name are ignored.
        foreign: the number of records that are not genuine, which is only passed on.
    """
    planned = {_id(cell): cell for cell in plan["cells"]}
    error = error_of(sum(cell["attack"] != "none" for cell in plan["cells"]))
    undefended = {
        key: _result(cell, plan, planned, records, error, positive_control=None)
        for key, cell in planned.items()
        if cell["defence"] == "none"
    }
    cells = tuple(
        undefended[key]
        if key in undefended
        else _result(cell, plan, planned, records, error, undefended.get((cell["group"], cell["attack"], "none")))
        for key, cell in planned.items()
    )
    levels = tuple(_level(step, cells) for step in plan["levels"])
    keys = {key for cell in plan["cells"] for key in cell["keys"]}
    statuses = [records[key]["status"] if key in records else "missing" for key in keys]
    names = ("ok", "error", "timeout", "not-applicable", "missing")
    present = [records[key] for key in keys if key in records]
    ran = sum("run" in plan and record.get("run") == plan["run"] for record in present)
    trials = {"planned": len(keys), **{name: statuses.count(name) for name in names}}
    trials |= {"reused": len(present) - ran, "run": ran}
    code, reason = _exit(plan, cells, trials)
    return Summary(plan, cells, levels, trials, foreign, code, reason)


def _id(cell: Mapping[str, Any]) -> tuple[str, str, str]:
    return cell["group"], cell["attack"], cell["defence"]


def _result(
    cell: Record,
    plan: Record,
    planned: Mapping[tuple[str, str, str], Record],
    records: Mapping[str, Record],
    error: float,
    positive_control: CellResult | None,
) -> CellResult:
    """The result of one cell. `error` is that of each bound, `positive_control` the same attack without a defence."""
    limit = float(plan["limits"][cell["goal"]])
    twin = planned[(cell["group"], "none", cell["defence"])]["keys"]
    bare = planned[(cell["group"], "none", "none")]["keys"]
    found = [records.get(key) for key in cell["keys"]]
    finished = tuple(record for record in found if record is not None and record["status"] == "ok")
    failed = [r for r in found if r is not None and r["status"] in ("error", "timeout")]
    refused = [r for r in found if r is not None and r["status"] == "not-applicable"]

    def paired(measure: Callable[[Record, Record], float], others: list[str]) -> list[float]:
        """`measure(trial, twin)` for every seed in which both finished."""
        pairs = zip(cell["keys"], others, strict=False)
        both = [(records[a]["metrics"], records[b]["metrics"]) for a, b in pairs if _ok(records, a) and _ok(records, b)]
        return [measure(own, other) for own, other in both]

    harms, total = (_harms(cell, others, records) for others in (twin, bare))
    harm = None if cell["attack"] == "none" else harms.interval(error)
    state, reason = _unjudged(cell, found, failed, refused) or verdict(
        harms,
        total,
        limit,
        error,
        undefended=cell["defence"] == "none",
        control=None if positive_control is None else positive_control.state,
    )

    def lost(own: Mapping[str, object], other: Mapping[str, object]) -> float:
        return number(other["clean_accuracy"]) - number(own["clean_accuracy"])

    return CellResult(
        group=cell["group"],
        level=cell["level"],
        goal=cell["goal"],
        scenario=cell["scenario"],
        attack=cell["attack"],
        defence=cell["defence"],
        deployed=cell["deployed"],
        knowledge=cell["knowledge"],
        budget=cell["budget"],
        keys=tuple(cell["keys"]),
        state=state,
        reason=reason,
        limit=limit,
        harm=harm,
        clean_accuracy=Interval.of([number(r["metrics"].get("clean_accuracy")) for r in finished], (0.0, 1.0)),
        accuracy_lost=Interval.of(paired(lost, twin)),
        cost=_cost(planned, records, cell, bare, lost),
        hits=harms.hits(limit),
        finished=len(finished),
        planned=len(cell["keys"]),
        records=finished,
        errors=tuple(record["error"] for record in failed),
    )


def _ok(records: Mapping[str, Record], key: str) -> bool:
    return key in records and records[key]["status"] == "ok"


def _cost(
    planned: Mapping[tuple[str, str, str], Record],
    records: Mapping[str, Record],
    cell: Record,
    bare: list[str],
    lost: Callable[[Record, Record], float],
) -> Interval | None:
    """The accuracy that the defence costs without an attack, paired by seed; None without a defence."""
    if cell["defence"] == "none":
        return None
    defended = planned[(cell["group"], "none", cell["defence"])]["keys"]
    pairs = [(a, b) for a, b in zip(defended, bare, strict=False) if _ok(records, a) and _ok(records, b)]
    return Interval.of([lost(records[a]["metrics"], records[b]["metrics"]) for a, b in pairs])


def _harms(cell: Record, twins: list[str], records: Mapping[str, Record]) -> Harms:
    """The harm of every seed against the clean twins with these keys.

    Keys are in the order of the plan's seeds. A twin was asked for at least as many seeds as the cells that it serves.
    """
    return Harms.of(
        Goal(cell["goal"]).metric,
        [
            (numbers(records[key]), numbers(records[twin])) if _ok(records, key) and _ok(records, twin) else None
            for key, twin in zip(cell["keys"], twins, strict=False)
        ],
    )


def _unjudged(
    cell: Record, found: list[Record | None], failed: list[Record], refused: list[Record]
) -> tuple[State, str] | None:
    """State and reason of a cell that has nothing to judge, else None.

    Args:
        cell: the planned cell.
        found: the cell's record for each seed, or None where it is missing.
        failed: those with status error or timeout.
        refused: those with status not-applicable.
    """
    if refused:
        return State.NOT_APPLICABLE, refused[0]["error"]
    if not any(record is not None and record["status"] == "ok" for record in found):
        if failed:
            return State.ERROR, f"{len(failed)} of {len(found)} seeds failed: {failed[0]['error']}"
        return State.NOT_MEASURED, "planned, not run"
    if cell["attack"] == "none":
        return State.INCONCLUSIVE, "clean twin: no attack to judge"
    return None


_RANK = {  # how bad a state is; a state without evidence outranks HELD, so that it is not overlooked
    State.BREACHED: 5,
    State.INCONCLUSIVE: 3,
    State.ERROR: 2,
    State.NOT_MEASURED: 1,
    State.HELD: 0,
    State.NOT_APPLICABLE: -1,
}


def severity(cell: CellResult) -> tuple[float, float]:
    """A sort key for cells, worst last: the state, then the harm as a multiple of its limit."""
    return _RANK[cell.state], cell.harm.mean / max(cell.limit, 1e-9) if cell.harm else -1.0


def _level(step: Mapping[str, Any], cells: tuple[CellResult, ...]) -> LevelResult:
    """The result of one step of the ladder."""
    own = [c for c in cells if c.level == step["name"] and not c.is_clean_twin and c.state is not State.NOT_APPLICABLE]
    deployed = max((c for c in own if c.deployed), key=severity, default=None)
    return LevelResult(
        level=step["name"],
        about=step["about"],
        access=tuple(step["access"]),
        add=step["add"],
        undefended=max((c for c in own if c.defence == "none"), key=severity, default=None),
        deployed=deployed,
        best=None if deployed is None else _best([c for c in own if c.group == deployed.group]),
        planned=len(own),
        conclusive=sum(c.state.is_conclusive for c in own),
    )


def _best(group: list[CellResult]) -> CellResult | None:
    """The worst cell of the best defence. Only attacks that breach the undefended pipeline count, unless none does."""
    effective = {c.attack for c in group if c.defence == "none" and c.state is State.BREACHED}
    defended = [c for c in group if c.defence != "none" and (c.attack in effective or not effective)]
    names = sorted({c.defence for c in defended})
    return min((max((c for c in defended if c.defence == n), key=severity) for n in names), key=_regret, default=None)


def _regret(cell: CellResult) -> tuple[bool, bool, float]:
    """A sort key for the worst cells of defences, best first: those that held by their cost, then by harm left plus cost."""
    cost = cell.cost.mean if cell.cost else 0.0
    held = cell.state is State.HELD
    left = cell.harm.mean if cell.harm else 1.0
    return not held, cell.harm is None, cost if held else left + max(cost, 0.0)


def _exit(plan: Record, cells: tuple[CellResult, ...], trials: dict[str, int]) -> tuple[int, str]:
    """The exit code and its reason; a breach outranks missing evidence."""
    if trials["ok"] == 0:
        return 2, f"the audit failed: none of {trials['planned']} trials finished"
    if not plan["fail_if"]:
        return 0, "nothing is gated: the scenario has no fail_if"
    gated = [c for c in cells if c.deployed and not c.is_clean_twin and c.goal in plan["fail_if"]]
    gated = [c for c in gated if c.state is not State.NOT_APPLICABLE]
    too_dear, unpriced = _prices(plan, cells)
    breached = [c for c in gated if c.state is State.BREACHED]
    if breached:
        worst = max(breached, key=severity)
        return (
            1,
            f"breach: {worst.attack} against {worst.defence} in {worst.group} ({len(breached)} of {len(gated)} cells)",
        )
    if too_dear:
        return 1, too_dear
    open_cells = [c for c in gated if not c.state.is_conclusive]
    if open_cells or not (gated or COST in plan["fail_if"]):
        first = (
            f": {open_cells[0].attack} against {open_cells[0].defence}, {open_cells[0].reason}" if open_cells else ""
        )
        return 3, f"not enough evidence for {len(open_cells)} of {len(gated)} gated cells{first}"
    if unpriced:
        return 3, unpriced
    within = [f"all {len(gated)} gated cells are"] if gated else []
    within += ["the cost of the deployed defence is"] if COST in plan["fail_if"] else []
    return 0, f"{' and '.join(within)} within the limits"


def _prices(plan: Record, cells: tuple[CellResult, ...]) -> tuple[str, str]:
    """Why the deployed defences cost too much accuracy, and why that cannot be said of one; empty if neither is so."""
    if COST not in plan["fail_if"]:
        return "", ""
    limit, dear, unclear = float(plan["fail_if"][COST]), "", ""
    for cell in (c for c in cells if c.deployed and c.is_clean_twin and c.defence != "none"):
        cost = cell.cost
        if cost is None or cost.n < 2:
            unclear = unclear or f"not enough evidence for the cost of {cell.defence}: fewer than two seeds finished"
        elif cost.low > limit:
            dear = dear or f"{cell.defence} costs {cost.mean:.1%} of accuracy, above the limit {limit:.1%}"
        elif cost.high >= limit:
            unclear = unclear or (
                f"not enough evidence for the cost of {cell.defence}: {cost.low:.1%} to {cost.high:.1%} of accuracy"
            )
    return dear, unclear
