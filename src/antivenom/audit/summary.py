"""From records to what may be said: a state in words for every cell, a row per access level, an exit code.

Everything shown (terminal, JSON, HTML) is a view of one Summary. Rules: only finished trials enter a number; harm is
measured against the clean twin with the same seed and the same defence; a cell is HELD only if the attack is shown to
bite without the defence; zero successes are a bound, not a zero.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from antivenom.audit.records import Store
from antivenom.audit.statistics import Interval, excluded_at_most
from antivenom.audit.trial import Record
from antivenom.core.goals import Metric
from antivenom.core.threat import Goal


class State(enum.StrEnum):
    """What the evidence says of a cell."""

    BREACHED = "BREACHED"
    HELD = "HELD"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_MEASURED = "NOT MEASURED"
    ERROR = "ERROR"
    NOT_APPLICABLE = "N/A"

    @property
    def symbol(self) -> str:
        return {"BREACHED": "✗", "HELD": "✓", "INCONCLUSIVE": "?", "NOT MEASURED": "·", "ERROR": "!", "N/A": "–"}[
            self.value
        ]

    @property
    def is_conclusive(self) -> bool:
        return self in (State.BREACHED, State.HELD)


@dataclass(frozen=True)
class CellResult:
    """One scenario, attack and defence over all seeds.

    Fields:
        group, level, goal, scenario, attack, defence, deployed, knowledge, budget, keys: as planned. `budget` is empty
            where it is a number of rows, which is measured.
        state, reason: what may be said, and the rule or number behind it.
        limit: harm (0 to 1) from which the cell counts as breached.
        harm: by the goal's metric, the clean twin subtracted; None if no pair of trials finished.
        clean_accuracy: on untouched test rows, under attack.
        accuracy_lost: clean twin's accuracy minus the attacked one's, same defence.
        cost: accuracy that the defence costs without any attack.
        hits: seeds in which the attack succeeded, by the goal's metric, of those finished.
        finished, planned: number of seeds.
        records: the finished records, in the order of the seeds.
        errors: one line per failed seed.
    """

    group: str
    level: str
    goal: str
    scenario: Mapping[str, Any]
    attack: str
    defence: str
    deployed: bool
    knowledge: str
    budget: str
    keys: tuple[str, ...]
    state: State
    reason: str
    limit: float
    harm: Interval | None
    clean_accuracy: Interval | None
    accuracy_lost: Interval | None
    cost: Interval | None
    hits: int
    finished: int
    planned: int
    records: tuple[Record, ...]
    errors: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The registered name of the scenario."""
        return str(self.scenario["kind"])

    @property
    def metric(self) -> Metric:
        """How success at the goal is measured and worded."""
        return Goal(self.goal).metric

    @property
    def is_clean_twin(self) -> bool:
        return self.attack == "none"

    def mean(self, metric: str) -> float:
        """The mean of a metric over the finished seeds; nan if it is defined in none."""
        values = [number(record["metrics"].get(metric)) for record in self.records]
        defined = [value for value in values if not math.isnan(value)]
        return sum(defined) / len(defined) if defined else math.nan


@dataclass(frozen=True)
class LevelResult:
    """One step of the ladder: the worst attack against no defence, against the deployed one, and the best defence found.

    Fields:
        level: its name: an access level, or a word of a scenario's own.
        about: what an attacker at this level does, as a clause.
        access: the access levels that defences against it are listed under.
        add: what a scenario file must say to measure it.
        undefended: the worst undefended cell, or None if the level was not planned.
        deployed: the worst cell under what the user runs.
        best: in the scenario of `deployed`, the worst cell of the defence whose worst cell is least bad, over attacks that
            bite without it; None if no defence was tried.
        planned, finished: number of attack cells planned, and conclusive.
    """

    level: str
    about: str
    access: tuple[str, ...]
    add: str
    undefended: CellResult | None
    deployed: CellResult | None
    best: CellResult | None
    planned: int
    conclusive: int

    @property
    def state(self) -> State:
        return State.NOT_MEASURED if self.deployed is None else self.deployed.state


@dataclass(frozen=True)
class Summary:
    """An audit as far as it has got.

    Fields:
        plan: the plan's record.
        cells: every planned cell, clean twins included.
        levels: one row for each level that a known scenario can measure.
        trials: planned, ok, error, timeout, not-applicable, missing -> number of distinct trials; and of those with a
            record: reused from before this run of the audit, and run in it.
        foreign: records in the folder whose key does not follow from their content; they are ignored.
        exit_code: 0 within limits or nothing gated, 1 breach, 2 no trustworthy result, 3 not enough evidence.
        exit_reason: one sentence.
    """

    plan: Record
    cells: tuple[CellResult, ...]
    levels: tuple[LevelResult, ...]
    trials: dict[str, int]
    foreign: int
    exit_code: int
    exit_reason: str

    @property
    def attacks(self) -> tuple[CellResult, ...]:
        """The cells with an attack."""
        return tuple(cell for cell in self.cells if not cell.is_clean_twin)


def summary_of(store: Store) -> Summary:
    """What the records of an audit say.

    Raises:
        StoreError: no plan there.
    """
    return summarise(store.plan(), store.trials(), store.foreign())


def summarise(plan: Record, records: Mapping[str, Record], foreign: int = 0) -> Summary:
    """Judge every planned cell from the records; records that the plan does not ask for are ignored."""
    planned = {_id(cell): cell for cell in plan["cells"]}
    undefended = {
        key: _judge(cell, plan, planned, records, positive_control=None)
        for key, cell in planned.items()
        if cell["defence"] == "none"
    }
    cells = tuple(
        undefended[key]
        if key in undefended
        else _judge(cell, plan, planned, records, undefended.get((cell["group"], cell["attack"], "none")))
        for key, cell in planned.items()
    )
    levels = tuple(_level(step, cells) for step in plan["levels"])
    keys = {key for cell in plan["cells"] for key in cell["keys"]}
    statuses = [records[key]["status"] if key in records else "missing" for key in keys]
    names = ("ok", "error", "timeout", "not-applicable", "missing")
    there = [records[key] for key in keys if key in records]
    ran = sum("run" in plan and record.get("run") == plan["run"] for record in there)
    trials = {"planned": len(keys), **{name: statuses.count(name) for name in names}}
    trials |= {"reused": len(there) - ran, "run": ran}
    code, reason = _exit(plan, cells, trials)
    return Summary(plan, cells, levels, trials, foreign, code, reason)


def _id(cell: Mapping[str, Any]) -> tuple[str, str, str]:
    return cell["group"], cell["attack"], cell["defence"]


def number(value: Any) -> float:
    """A metric as a float; what is missing or was not finite is nan."""
    return math.nan if value is None else float(value)


def _judge(
    cell: Record,
    plan: Record,
    planned: Mapping[tuple[str, str, str], Record],
    records: Mapping[str, Record],
    positive_control: CellResult | None,
) -> CellResult:
    limit = float(plan["limits"][cell["goal"]])
    twin = planned[(cell["group"], "none", cell["defence"])]["keys"]
    bare = planned[(cell["group"], "none", "none")]["keys"]
    found = [records.get(key) for key in cell["keys"]]
    finished = tuple(record for record in found if record is not None and record["status"] == "ok")
    failed = [r for r in found if r is not None and r["status"] in ("error", "timeout")]
    refused = [r for r in found if r is not None and r["status"] == "not-applicable"]

    def paired(measure: Any, others: list[str]) -> list[float]:
        """`measure(trial, twin)` for every seed in which both finished."""
        pairs = zip(cell["keys"], others, strict=True)
        both = [(records[a]["metrics"], records[b]["metrics"]) for a, b in pairs if _ok(records, a) and _ok(records, b)]
        return [measure(own, other) for own, other in both]

    metric = Goal(cell["goal"]).metric
    harms = _harms(metric, cell["keys"], twin, records)
    resolution = _resolution(metric, finished)
    harm = None if cell["attack"] == "none" else Interval.of(list(harms.values()), resolution=resolution)
    hits = sum(metric.success(_numbers(records[key]), done, limit) for key, done in harms.items())
    state, reason = _state(cell, harm, limit, found, failed, refused, hits, len(finished), positive_control)

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
        hits=hits,
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
    lost: Any,
) -> Interval | None:
    """Accuracy that the defence costs without attack, paired by seed."""
    if cell["defence"] == "none":
        return None
    defended = planned[(cell["group"], "none", cell["defence"])]["keys"]
    pairs = [(a, b) for a, b in zip(defended, bare, strict=True) if _ok(records, a) and _ok(records, b)]
    return Interval.of([lost(records[a]["metrics"], records[b]["metrics"]) for a, b in pairs])


def _harms(metric: Metric, keys: list[str], twins: list[str], records: Mapping[str, Record]) -> dict[str, float]:
    """By key of every finished trial: what the attack did in that seed; nan if its clean twin has not finished."""
    return {
        key: metric.value(_numbers(records[key]), _numbers(records[twin])) if _ok(records, twin) else math.nan
        for key, twin in zip(keys, twins, strict=True)
        if _ok(records, key)
    }


def _numbers(record: Record) -> dict[str, float]:
    return {name: number(value) for name, value in record["metrics"].items()}


def _resolution(metric: Metric, finished: tuple[Record, ...]) -> float:
    """The standard error that one seed's rate has from its finite test set if it is 0 or 1: half a row in m + 1."""
    if metric.rows is None:
        return 0.0
    sizes = [number(record["metrics"].get(metric.rows)) for record in finished]
    known = [size for size in sizes if not math.isnan(size)]
    if not known:
        return 0.0
    share = 0.5 / (min(known) + 1)
    return math.sqrt(share * (1 - share) / min(known))


def _state(
    cell: Record,
    harm: Interval | None,
    limit: float,
    found: list[Record | None],
    failed: list[Record],
    refused: list[Record],
    hits: int,
    finished: int,
    control: CellResult | None,
) -> tuple[State, str]:
    """The state and the reason for it."""
    n = len(found)
    if refused:
        return State.NOT_APPLICABLE, refused[0]["error"]
    if not finished and failed:
        return State.ERROR, f"{len(failed)} of {n} seeds failed: {failed[0]['error']}"
    if not finished:
        return State.NOT_MEASURED, "planned, not run"
    if cell["attack"] == "none":
        return (State.INCONCLUSIVE, "clean twin: no attack to judge")
    if harm is None:
        return State.INCONCLUSIVE, "no clean twin finished with the same seed"
    if harm.n < 2:
        return State.INCONCLUSIVE, "one seed gives no interval: use --seeds 3 or more"
    if harm.low > limit:
        return State.BREACHED, f"{hits} of {finished} seeds; lower bound {harm.low:.0%} above the limit {limit:.0%}"
    if harm.high >= limit:
        return State.INCONCLUSIVE, f"the interval {harm.low:.0%} to {harm.high:.0%} spans the limit {limit:.0%}"
    if finished < n:
        return State.INCONCLUSIVE, f"only {finished} of {n} seeds finished"
    if cell["defence"] == "none":
        return State.INCONCLUSIVE, f"the attack does not bite: {_bound(hits, finished)}"
    if control is None or control.state is not State.BREACHED:
        return State.INCONCLUSIVE, "no positive control: the attack is not shown to bite without the defence"
    return State.HELD, f"upper bound {harm.high:.0%} below the limit {limit:.0%}; {_bound(hits, finished)}"


def _bound(hits: int, n: int) -> str:
    """How often the attack succeeded; no success is stated as what it does not exclude."""
    if hits:
        return f"{hits} of {n} seeds succeeded"
    return f"0 of {n} seeds succeeded, up to {excluded_at_most(n):.0%} of runs not excluded (one-sided 95%)"


_RANK = {
    State.BREACHED: 5,
    State.INCONCLUSIVE: 3,
    State.ERROR: 2,
    State.NOT_MEASURED: 1,
    State.HELD: 0,
    State.NOT_APPLICABLE: -1,
}


def severity(cell: CellResult) -> tuple[float, float]:
    """Sorts cells, worst last: by state, then by harm as a multiple of its limit."""
    return _RANK[cell.state], cell.harm.mean / max(cell.limit, 1e-9) if cell.harm else -1.0


def _level(step: Mapping[str, Any], cells: tuple[CellResult, ...]) -> LevelResult:
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
    """The worst cell of the best defence, over the attacks that bite without one; over all attacks if none does."""
    biting = {c.attack for c in group if c.defence == "none" and c.state is State.BREACHED}
    defended = [c for c in group if c.defence != "none" and (c.attack in biting or not biting)]
    names = sorted({c.defence for c in defended})
    return min((max((c for c in defended if c.defence == n), key=severity) for n in names), key=_regret, default=None)


def _regret(cell: CellResult) -> tuple[bool, float, float]:
    """Sorts defences, best first: measured ones, then by the harm they leave and the accuracy they cost."""
    cost = cell.cost.mean if cell.cost else 0.0
    return cell.harm is None, (cell.harm.mean if cell.harm else 1.0) + max(cost, 0.0), cost


def _exit(plan: Record, cells: tuple[CellResult, ...], trials: dict[str, int]) -> tuple[int, str]:
    """The exit code and its reason; a breach outranks missing evidence."""
    if trials["ok"] == 0:
        return 2, f"the audit failed: none of {trials['planned']} trials finished"
    if not plan["fail_if"]:
        return 0, "nothing is gated: the scenario has no fail_if"
    gated = [c for c in cells if c.deployed and not c.is_clean_twin and c.goal in plan["fail_if"]]
    gated = [c for c in gated if c.state is not State.NOT_APPLICABLE]
    breached = [c for c in gated if c.state is State.BREACHED]
    if breached:
        worst = max(breached, key=severity)
        return (
            1,
            f"breach: {worst.attack} against {worst.defence} in {worst.group} ({len(breached)} of {len(gated)} cells)",
        )
    open_cells = [c for c in gated if not c.state.is_conclusive]
    if open_cells or not gated:
        first = (
            f": {open_cells[0].attack} against {open_cells[0].defence}, {open_cells[0].reason}" if open_cells else ""
        )
        return 3, f"not enough evidence for {len(open_cells)} of {len(gated)} gated cells{first}"
    return 0, f"all {len(gated)} gated cells are within their limits"
