"""The results of an audit as values: a state for every cell, the worst cells of every level, and the exit code."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from antivenom.auditing.statistics import Interval
from antivenom.auditing.trial import Record
from antivenom.core.goals import Metric
from antivenom.core.threat import Goal

Id = tuple[str, str, str]  # group, attack and defence of a cell


def number(value: Any) -> float:
    """A record's metric as a float. Records hold None for a number that was not finite; it becomes nan."""
    return math.nan if value is None else float(value)


class State(enum.StrEnum):
    """What the evidence says about a cell; docs/guide/report.md has the rules."""

    BREACHED = "BREACHED"
    HELD = "HELD"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_MEASURED = "NOT MEASURED"
    ERROR = "ERROR"
    NOT_APPLICABLE = "N/A"

    @property
    def symbol(self) -> str:
        """One character that stands for the state, beside its name."""
        return {"BREACHED": "✗", "HELD": "✓", "INCONCLUSIVE": "?", "NOT MEASURED": "·", "ERROR": "!", "N/A": "–"}[
            self.value
        ]

    @property
    def is_conclusive(self) -> bool:
        """Whether the evidence decides between breached and held."""
        return self in (State.BREACHED, State.HELD)


@dataclass(frozen=True)
class Confirmed:
    """What a selected cell shows on seeds that had no part in the selection.

    Fields:
        harm: the mean over the fresh seeds. Its bounds are the cell's own, from all its seeds, which hold for every
            selection; they are wider if the mean lies outside of them.
        cost: the accuracy that the defence costs, on the fresh seeds; None without a defence.
    """

    harm: Interval
    cost: Interval | None


@dataclass(frozen=True)
class CellResult:
    """The result of one combination of scenario, attack and defence over all seeds.

    Fields:
        group, level, goal, scenario, attack, defence, deployed, knowledge: as in the plan's record.
        keys: of the trials, in the order of the seeds; those with fresh seeds come last.
        budget: the attacker's budget in words; empty if it is a number of rows, which the trials measure.
        state: what the evidence says.
        reason: the number or rule behind the state.
        limit: the harm (0 to 1) above which the cell counts as breached.
        harm: the harm by the goal's metric, relative to the clean twin; None if no trial finished together with its twin.
        clean_accuracy: the attacked model's accuracy on untouched test rows.
        accuracy_lost: the accuracy of the clean twin with the same defence minus that of the attacked model.
        cost: the accuracy that the defence costs without any attack; None without a defence.
        before, after: the goal's share without the attack, in the clean twin, and with it: means over the fresh seeds if they
            are known there, or else over all seeds. nan if the goal has no such share or it was not measured.
        hits: the number of finished seeds in which the attack succeeded by the goal's metric.
        finished: the number of seeds that finished.
        planned: the number of seeds that were planned.
        fresh: how many of them were kept for confirmation.
        can_be_held: whether more seeds can still show that the cell is HELD; see `judging.can_be_held`.
        more: about how many more seeds give a verdict, if they are like those so far; see `judging.more_seeds`. None if it has
            a verdict, a trial failed, or the number is too large to be foreseen.
        confirmed: harm and cost on the fresh seeds alone; None if there are none, or none of them has a known harm.
        records: the finished records, in the order of the seeds.
        errors: one line for each failed seed.
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
    before: float
    after: float
    hits: int
    finished: int
    planned: int
    fresh: int
    can_be_held: bool
    more: int | None
    confirmed: Confirmed | None
    records: tuple[Record, ...]
    errors: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The registered name of the scenario."""
        return str(self.scenario["kind"])

    @property
    def metric(self) -> Metric:
        """The goal's metric."""
        return Goal(self.goal).metric

    @property
    def is_clean_twin(self) -> bool:
        """Whether the cell has no attack."""
        return self.attack == "none"

    @property
    def shown_harm(self) -> Interval | None:
        """The harm to show where the cell was selected: the confirmed one, or else that of all seeds."""
        return self.harm if self.confirmed is None else self.confirmed.harm

    @property
    def shown_cost(self) -> Interval | None:
        """The defence's cost to show where the cell was selected: the confirmed one, or else that of all seeds."""
        return self.cost if self.confirmed is None else self.confirmed.cost

    def mean(self, metric: str) -> float:
        """The mean of a metric over the finished seeds in which it is defined; nan if there is none."""
        values = [number(record["metrics"].get(metric)) for record in self.records]
        defined = [value for value in values if not math.isnan(value)]
        return sum(defined) / len(defined) if defined else math.nan


def id_of(cell: CellResult) -> Id:
    """The cell's group, attack and defence."""
    return cell.group, cell.attack, cell.defence


@dataclass(frozen=True)
class LevelResult:
    """One step of the ladder: the worst attack without a defence and with the deployed one, and the best defence found.

    Fields:
        level: the name of the step: an access level, or a name that a scenario defines.
        about: what an attacker at this level does, such as "adds rows of their own".
        access: the access levels under which the report lists defences against it.
        add: what to write into a scenario file to measure the level.
        undefended: the worst cell without a defence, or None if no attack at this level was planned.
        deployed: the worst cell with the deployed defence, or None if no attack at this level was planned.
        best: the worst cell of the best defence in the group of `deployed`; None if no defence was tried. The best defence
            is the one whose worst cell is least bad, over the attacks that breach the undefended pipeline. All three are
            selected without the fresh seeds.
        state: the worst state of a cell with the deployed defence.
        severity: the order of levels, worst last; see `summary.severity`. It comes from the seeds of the selection.
        planned: the number of planned cells with an attack.
        conclusive: how many of them are BREACHED or HELD.
    """

    level: str
    about: str
    access: tuple[str, ...]
    add: str
    undefended: CellResult | None
    deployed: CellResult | None
    best: CellResult | None
    state: State
    severity: tuple[float, float]
    planned: int
    conclusive: int

    @property
    def improves(self) -> bool:
        """Whether the best defence held, or left less harm than the deployed one."""
        best, now = self.best, self.deployed
        if best is None or now is None or best.defence == now.defence:
            return False
        left, before = best.shown_harm, now.shown_harm
        return best.state is State.HELD or (left is not None and before is not None and left.mean < before.mean)

    @property
    def selected(self) -> tuple[CellResult, ...]:
        """The cells of this level that the first page shows, each once."""
        found = [self.deployed, self.undefended, self.best]
        return tuple({id(cell): cell for cell in found if cell is not None and cell.harm is not None}.values())


@dataclass(frozen=True)
class Summary:
    """The results of an audit, which may still be incomplete.

    Fields:
        plan: the plan's record.
        cells: every planned cell, clean twins included.
        levels: one result for each level that a registered scenario can measure.
        trials: numbers of distinct trials: "planned", by status "ok", "error", "timeout", "not-applicable" and "missing",
            and, of those with a record, "reused" from earlier runs of the audit and "run" in the last one.
        foreign: the number of records in the folder that are not genuine (see `identity.is_genuine`); they are ignored.
        exit_code: 0 within the limits, or no limit decides; 1 breach; 2 no trial finished; 3 not enough evidence.
        exit_reason: one sentence that explains the exit code.
        bad_lines: one message for each line of the file that is no record; they are ignored.
        given: what the user gave and what was tried with it; None for an audit of a scenario file.
        searches: what each search for the worst case found.
        suspects: which of the given rows look poisoned already; None if they were not examined.
        floor: how many rows cannot change an answer, by proof, or why that is not known; None if it was not asked.
    """

    plan: Record
    cells: tuple[CellResult, ...]
    levels: tuple[LevelResult, ...]
    trials: dict[str, int]
    foreign: int
    exit_code: int
    exit_reason: str
    bad_lines: tuple[str, ...] = ()
    given: Record | None = None
    searches: tuple[Record, ...] = ()
    suspects: Record | None = None
    floor: Record | None = None

    @property
    def selected(self) -> tuple[CellResult, ...]:
        """The cells that the first page shows."""
        return tuple(cell for level in self.levels for cell in level.selected)

    @property
    def attacks(self) -> tuple[CellResult, ...]:
        """The cells with an attack."""
        return tuple(cell for cell in self.cells if not cell.is_clean_twin)
