"""What may be said of an audit: a state for every cell, the worst cells of every level, and the exit code."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from antivenom.audit.statistics import Interval
from antivenom.audit.trial import Record
from antivenom.core.goals import Metric
from antivenom.core.threat import Goal


def number(value: Any) -> float:
    """A metric as a float; what is missing or was not finite is nan."""
    return math.nan if value is None else float(value)


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
