"""Makes a Summary of the records: a state for every cell, a row for every access level, and an exit code.

Terminal, JSON and HTML are views of one Summary. The rules are:

- Only finished trials enter a number. A harm that is not known keeps a cell from HELD.
- Harm is measured against the clean twin with the same seed and the same defence. For HELD, the harm against the clean twin
  without a defence must be small as well, so that a defence that ruins the model does not count as one that held.
- A cell is HELD only with a positive control: the same attack breaches the pipeline without the defence.
- The worst attacks and the best defences are selected without the fresh seeds, on which they are then confirmed. Verdicts rest
  on all seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from antivenom.auditing.judging import Harms, can_be_held, error_of, more_seeds, numbers, verdict
from antivenom.auditing.plan import COST
from antivenom.auditing.records import Store
from antivenom.auditing.results import CellResult, Confirmed, Id, LevelResult, State, Summary, id_of, number
from antivenom.auditing.statistics import Interval
from antivenom.auditing.trial import Record
from antivenom.core.threat import Goal

FAILED_AT_MOST = 0.1  # share of the trials that may end in an error or a timeout before the audit counts as failed


def summary_of(store: Store) -> Summary:
    """The summary of the records in an audit folder.

    Raises:
        StoreError: the folder holds no plan, or a line that is no record.
    """
    summary = summarise(store.plan(), store.trials(), store.foreign())
    return replace(
        summary,
        bad_lines=tuple(store.bad_lines()),
        given=next(iter(store.beside("given")), None),
        searches=tuple(store.beside("search")),
        suspects=next(iter(store.beside("suspects")), None),
        floor=next(iter(store.beside("floor")), None),
    )


def summarise(plan: Record, records: Mapping[str, Record], foreign: int = 0) -> Summary:
    """The summary of a plan's record and the trials' records.

    Args:
        plan: the plan's record.
        records: trials' records by key. Those that the plan does not name are ignored.
        foreign: the number of records that are not genuine, which is only passed on.
    """
    judged = _Judged(plan, records)
    selecting = judged.results(("keys",))
    final = judged.results(("keys", "fresh")) if any(cell.get("fresh") for cell in plan["cells"]) else selecting
    cells = tuple(final.values())
    levels = tuple(_level(step, selecting, final) for step in plan["levels"])
    keys = {key for cell in plan["cells"] for key in (*cell["keys"], *cell.get("fresh", ()))}
    statuses = [records[key]["status"] if key in records else "missing" for key in keys]
    names = ("ok", "error", "timeout", "not-applicable", "missing")
    present = [records[key] for key in keys if key in records]
    ran = sum("run" in plan and record.get("run") == plan["run"] for record in present)
    trials = {"planned": len(keys), **{name: statuses.count(name) for name in names}}
    trials |= {"reused": len(present) - ran, "run": ran}
    code, reason = _exit(plan, cells, trials)
    return Summary(plan, cells, levels, trials, foreign, code, reason)


def _id(cell: Mapping[str, Any]) -> Id:
    return cell["group"], cell["attack"], cell["defence"]


@dataclass(frozen=True)
class _Judged:
    """Judges the cells of a plan by the trials' records.

    Parts of a cell are "keys", the seeds of the selection, and "fresh", those of the confirmation.
    """

    plan: Record
    records: Mapping[str, Record]

    @cached_property
    def planned(self) -> dict[Id, Record]:
        """The plan's cells."""
        return {_id(cell): cell for cell in self.plan["cells"]}

    @cached_property
    def _numbers(self) -> dict[str, dict[str, float]]:
        """The metrics of the finished trials that were used so far, by key: a clean twin serves many cells."""
        return {}

    @cached_property
    def error(self) -> float:
        """The error of each bound."""
        return error_of(sum(cell["attack"] != "none" for cell in self.plan["cells"]))

    def results(self, parts: tuple[str, ...]) -> dict[Id, CellResult]:
        """The result of every cell by these parts of its seeds."""
        undefended = {
            key: self._result(cell, parts, positive_control=None)
            for key, cell in self.planned.items()
            if cell["defence"] == "none"
        }
        return {
            key: undefended[key]
            if key in undefended
            else self._result(cell, parts, undefended.get((cell["group"], cell["attack"], "none")))
            for key, cell in self.planned.items()
        }

    def _result(self, cell: Record, parts: tuple[str, ...], positive_control: CellResult | None) -> CellResult:
        """The result of one cell; `positive_control` is that of the same attack without a defence."""
        limit = float(self.plan["limits"][cell["goal"]])
        twin = self.planned[(cell["group"], "none", cell["defence"])]
        bare = self.planned[(cell["group"], "none", "none")]
        keys = [key for part in parts for key in cell.get(part, ())]
        found = [self.records.get(key) for key in keys]
        finished = tuple(record for record in found if record is not None and record["status"] == "ok")
        failed = [r for r in found if r is not None and r["status"] in ("error", "timeout")]
        refused = [r for r in found if r is not None and r["status"] == "not-applicable"]
        harms = self._harms(cell, twin, parts)
        total = harms if twin is bare else self._harms(cell, bare, parts)
        harm = None if cell["attack"] == "none" else harms.interval(self.error)
        control = None if positive_control is None else positive_control.state
        undefended = cell["defence"] == "none"
        state, reason = _unjudged(cell, found, failed, refused) or verdict(
            harms, total, limit, self.error, undefended, control
        )
        before, after = self._ends(cell, twin, parts)
        judged = state is State.INCONCLUSIVE and harm is not None and harm.n == len(keys)
        held = judged and can_be_held(harms, total, limit, self.error, control)
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
            keys=tuple(keys),
            state=state,
            reason=reason,
            limit=limit,
            harm=harm,
            clean_accuracy=Interval.of([number(r["metrics"].get("clean_accuracy")) for r in finished], (0.0, 1.0)),
            accuracy_lost=self._lost(cell, twin, parts),
            cost=None if cell["defence"] == "none" else self._lost(twin, bare, parts),
            before=before,
            after=after,
            hits=harms.hits(limit),
            finished=len(finished),
            planned=len(keys),
            fresh=len(cell.get("fresh", ())) if "fresh" in parts else 0,
            can_be_held=held,
            more=more_seeds(harms, total, limit, self.error, held) if judged else None,
            confirmed=self._confirmed(cell, twin, bare, harm) if "fresh" in parts else None,
            records=finished,
            errors=tuple(record["error"] for record in failed),
        )

    def _confirmed(self, cell: Record, twin: Record, bare: Record, harm: Interval | None) -> Confirmed | None:
        """What the cell shows on its fresh seeds alone, given its harm on all seeds."""
        known = self._harms(cell, twin, ("fresh",)).known
        if harm is None or not known:
            return None
        mean = sum(known) / len(known)
        cost = None if cell["defence"] == "none" else self._lost(twin, bare, ("fresh",))
        return Confirmed(Interval(mean, min(harm.low, mean), max(harm.high, mean), len(known), known), cost)

    def _pairs(self, cell: Record, other: Record, parts: tuple[str, ...]) -> list[tuple[Record, Record] | None]:
        """The cell's record and the other's for each seed of the cell; None where one of the two did not finish.

        Keys are in the order of the plan's seeds. A twin was asked for at least as many seeds as the cells that it serves.
        """
        keys = [pair for p in parts for pair in zip(cell.get(p, ()), other.get(p, ()), strict=False)]
        found = [(self.records.get(own), self.records.get(twin)) for own, twin in keys]
        return [
            (own, twin) if own and twin and own["status"] == "ok" and twin["status"] == "ok" else None
            for own, twin in found
        ]

    def _harms(self, cell: Record, twin: Record, parts: tuple[str, ...]) -> Harms:
        """The harm of every seed of these parts against the clean twin."""
        pairs = self._pairs(cell, twin, parts)
        return Harms.of(Goal(cell["goal"]).metric, [pair and (self._of(pair[0]), self._of(pair[1])) for pair in pairs])

    def _ends(self, cell: Record, twin: Record, parts: tuple[str, ...]) -> tuple[float, float]:
        """The goal's share without the attack and with it, on the fresh seeds if they are known there; else on all seeds."""
        metric = Goal(cell["goal"]).metric
        if metric.ends is None or cell["attack"] == "none":
            return math.nan, math.nan
        for some in (("fresh",), parts) if "fresh" in parts else (parts,):
            pairs = [pair for pair in self._pairs(cell, twin, some) if pair is not None]
            ends = [metric.ends(self._of(own), self._of(clean)) for own, clean in pairs]
            known = [both for both in ends if not any(map(math.isnan, both))]
            if known:
                return sum(b for b, _ in known) / len(known), sum(a for _, a in known) / len(known)
        return math.nan, math.nan

    def _of(self, record: Record) -> dict[str, float]:
        """The metrics of a finished trial."""
        key = record["key"]
        if key not in self._numbers:
            self._numbers[key] = numbers(record)
        return self._numbers[key]

    def _lost(self, cell: Record, other: Record, parts: tuple[str, ...]) -> Interval | None:
        """How much less accurate the cell is than the other one, paired by seed."""
        pairs = [pair for pair in self._pairs(cell, other, parts) if pair is not None]
        return Interval.of([_accuracy(twin) - _accuracy(own) for own, twin in pairs])


def _accuracy(record: Record) -> float:
    return number(record["metrics"]["clean_accuracy"])


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


def _level(step: Mapping[str, Any], selecting: Mapping[Id, CellResult], final: Mapping[Id, CellResult]) -> LevelResult:
    """The result of one step of the ladder.

    Args:
        step: the step, from the plan's record.
        selecting: the results of all cells without the fresh seeds. The shown cells are selected by them.
        final: the results of all cells.
    """
    own = [
        c
        for c in selecting.values()
        if c.level == step["name"] and not c.is_clean_twin and c.state is not State.NOT_APPLICABLE
    ]
    deployed = max((c for c in own if c.deployed), key=severity, default=None)
    selected = {
        "deployed": deployed,
        "undefended": max((c for c in own if c.defence == "none"), key=severity, default=None),
        "best": None if deployed is None else _best([c for c in own if c.group == deployed.group]),
    }
    results = [final[id_of(c)] for c in own]
    return LevelResult(
        level=step["name"],
        about=step["about"],
        access=tuple(step["access"]),
        add=step["add"],
        **{name: None if c is None else final[id_of(c)] for name, c in selected.items()},
        state=max((c.state for c in results if c.deployed), key=_RANK.__getitem__, default=State.NOT_MEASURED),
        severity=(-1.0, -1.0) if deployed is None else severity(deployed),
        planned=len(own),
        conclusive=sum(c.state.is_conclusive for c in results),
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
    """The exit code and its reason. A breach outranks missing evidence, which outranks trials that failed elsewhere."""
    if trials["ok"] == 0:
        return 2, f"the audit failed: none of {trials['planned']} trials finished"
    failed, missing = trials["error"] + trials["timeout"], trials["missing"]
    too_many = failed > FAILED_AT_MOST * trials["planned"]
    gaps = f"the audit failed: {failed} of {trials['planned']} trials ended in an error or a timeout"
    gaps = gaps if too_many else f"the audit is not complete: {missing} of {trials['planned']} trials are missing"
    if not plan["fail_if"]:
        if too_many or missing:
            return 2, gaps
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
    if too_many or missing:
        return 2, gaps
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
