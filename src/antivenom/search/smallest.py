"""The smallest number of rows with which an attack breaks a model, and its harm as a curve over the number of rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antivenom.auditing.evidence import ERROR, fall
from antivenom.auditing.judging import Harms
from antivenom.auditing.trial import Record
from antivenom.core.errors import ScenarioError
from antivenom.core.threat import Goal
from antivenom.scenarios.central import Central
from antivenom.search.budgets import limited, rows_of, with_rows
from antivenom.search.space import mean_of
from antivenom.search.trials import MOST, TIMEOUT, Attempt, Limits, Progress, Trials, aimed

TRIALS = 160  # without a limit
FIRST = 2  # seeds that every number of rows gets
BLOCK = 2  # seeds that an undecided number of rows gets at a time
ERRORS, LEAST_FALL = 3.0, 0.05  # a fall is looked at if it exceeds so many standard errors, and this harm


@dataclass(frozen=True)
class Point:
    """The harm of an attack with one number of rows.

    Fields:
        rows: the number of rows that the attacker may change or add.
        share: the same as a share of the clean training rows.
        harm: the mean harm over the seeds; nan if every trial failed.
        low, high: bounds on the mean harm, with negative harms counted as 0. All lower bounds of a curve hold together with
            a probability of 95 %, and so do all upper bounds.
        seeds: the number of seeds with a known harm.
    """

    rows: int
    share: float
    harm: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Smallest:
    """With how few rows an attack does more harm than a limit.

    Fields:
        attack: the attack, with the largest budget of the curve.
        limit: the harm, 0 to 1.
        curve: the numbers of rows that were tried, the smallest first.
        attempts: all trials, in order.
    """

    attack: object
    limit: float
    curve: tuple[Point, ...]
    attempts: tuple[Attempt, ...]

    @property
    def breaks(self) -> Point | None:
        """The fewest rows for which the mean harm is shown to exceed the limit, with 95 % confidence; None if there are none.

        So many rows suffice. Fewer may suffice, too: see `holds`.
        """
        return next((point for point in self.curve if point.low > self.limit), None)

    @property
    def holds(self) -> Point | None:
        """The most rows for which the mean harm of this attack is shown to stay below the limit; None if there are none.

        Nothing is said about other attacks.
        """
        return next((point for point in reversed(self.curve) if point.high < self.limit), None)

    @property
    def falls(self) -> tuple[Point, Point] | None:
        """Fewer rows and more rows of which the fewer are shown to do more harm; None if that is not shown.

        An attacker with the larger budget then does better to leave some of it unused.
        """
        places = fall([point.low for point in self.curve], [point.high for point in self.curve])
        return None if places is None else (self.curve[places[0]], self.curve[places[1]])

    @property
    def remark(self) -> str:
        """A sentence if more rows are shown to do less harm, and nothing otherwise."""
        if self.falls is None:
            return ""
        few, many = self.falls
        return (
            f"More rows are not always worse for this attack: with {many.rows} rows the mean harm is {many.harm:.2f}, "
            f"with {few.rows} rows {few.harm:.2f}, and the bounds do not overlap."
        )

    def record(self) -> Record:
        """The fields `smallest` and `curve` of a search's line in records.jsonl; points without a known harm are left out."""
        found, known = self.breaks, [point for point in self.curve if not math.isnan(point.harm)]
        smallest = None if found is None else {"rows": found.rows, "share": found.share, "harm": found.harm}
        return {"smallest": smallest, "curve": [dataclasses.asdict(point) for point in known]}


def smallest_budget(
    attack: Any,
    defence: object,
    scenario: Central,
    limit: float | None = None,
    *,
    share: float | None = None,
    rows: int | None = None,
    trials: int | None = None,
    deadline_seconds: float | None = None,
    seeds: Sequence[int] = tuple(range(200, 232)),
    known: Iterable[Mapping[str, Any]] = (),
    progress: Progress | None = None,
    jobs: int = 0,
    timeout: float = TIMEOUT,
    plugins: Sequence[str] = (),
    device: str = "cpu",
) -> Smallest:
    """Find the smallest number of rows with which an attack does more harm than a limit.

    The attack runs with 1, 2, 4, ... rows up to the budget, each on two seeds. Further seeds go where the curve crosses the limit: to
    the smallest number of rows whose mean harm exceeds it, until this is shown, and to the next smaller number, until the
    opposite is shown. The harm is taken to grow with the rows only in this choice; the bounds do not rest on it. Where the curve
    falls by more than its noise, seeds go to that fall next, until it is shown (`Smallest.falls`) or has no seeds left.

    Args:
        attack: an attack on rows; the worst one of `worst_case`, say.
        defence: any defence that the scenario takes, or None.
        scenario: a central scenario.
        limit: the harm, 0 to 1; None is the limit of the goal.
        share: the largest budget as a share of the training rows; None is the scenario's own limit.
        rows: the same as a number of rows.
        trials: the most trials, clean twins included; None is 160, or no limit where the time is limited.
        deadline_seconds: the most seconds of the clock.
        seeds: the most seeds for one number of rows. Take others than those on which the attack was chosen.
        known, progress, jobs, timeout, plugins, device: as in `worst_case`.

    Raises:
        ScenarioError: a scenario without rows to count, or a budget that it does not have.
        PluginError: an attack without a field for the number of its rows.
    """
    if not isinstance(scenario, Central):
        raise ScenarioError("a central scenario", type(scenario).__name__)
    scenario = limited(scenario, share, rows)
    data, targets = rows_of(scenario), scenario.num_targets if scenario.goal is Goal.TARGETED else 1
    most = max(int(scenario.max_poisoned_rate * len(data) + 1e-9), 1)
    attacks = {count: with_rows(attack, count, data, targets) for count in _counts(most)}
    scenario = aimed(scenario, attack)[0]
    run = Trials(
        defence,
        scenario,
        Limits(
            trials or (TRIALS if deadline_seconds is None else MOST),
            deadline_seconds,
            jobs,
            timeout,
            device,
            tuple(plugins),
        ),
        known,
        progress,
    )
    curve = _Curve(run, {count: aimed(scenario, each)[1] for count, each in attacks.items()}, tuple(seeds), len(data))
    metric_limit = scenario.goal.metric.limit if limit is None else limit
    curve.spend([(count, FIRST) for count in attacks])
    while asked := curve.undecided(metric_limit) or curve.falling():
        if not curve.spend(asked):
            break
    return Smallest(attacks[most], metric_limit, curve.points(), tuple(run.attempts))


def _counts(most: int) -> list[int]:
    """1, 2, 4, ... and `most`.

    >>> _counts(1), _counts(11)
    ([1], [1, 2, 4, 8, 11])
    """
    return [*(2**i for i in range(most.bit_length()) if 2**i < most), most]


class _Curve:
    """The attempts at each number of rows."""

    def __init__(self, trials: Trials, attacks: dict[int, Any], seeds: tuple[int, ...], n: int) -> None:
        self.trials, self.attacks, self.seeds, self.n = trials, attacks, seeds, n
        self.found: dict[int, list[Attempt]] = {count: [] for count in attacks}

    def spend(self, asked: Sequence[tuple[int, int]]) -> bool:
        """Run each of these numbers of rows on so many more seeds; False if nothing could be run."""
        tasks = [
            (count, seed)
            for count, more in asked
            for seed in self.seeds[len(self.found[count]) : len(self.found[count]) + more]
        ]
        usable = set(self.trials.usable(dict.fromkeys(seed for _, seed in tasks)))
        run = {task: self._unknown(*task) for task in tasks}
        kept = [task for task in tasks if task[1] in usable]
        asked_of = [(self.attacks[count], seed) for count, seed in kept]
        ended = set()
        for place, attempt in self.trials.run(asked_of, "curve"):
            run[kept[place]] = attempt
            ended.add(kept[place])
        for count, _ in asked:
            for task in tasks:
                if task[0] != count:
                    continue
                if task in kept and task not in ended:  # the budget did not suffice; later seeds would leave a gap
                    break
                self.found[count].append(run[task])
        return bool(ended)

    def points(self) -> tuple[Point, ...]:
        """The curve so far; the bounds of all points hold together."""
        found = []
        for count, attempts in self.found.items():
            metric = self.trials.scenario.goal.metric
            pairs = [self.trials.pair(each) if each.metrics else None for each in attempts]
            interval = Harms.of(metric, pairs).interval(ERROR / len(self.found))
            harms = [each.harm for each in attempts if not math.isnan(each.harm)]
            low, high = (0.0, 1.0) if interval is None else (interval.low, interval.high)
            found.append(Point(count, count / self.n, mean_of(harms), low, high, len(harms)))
        return tuple(found)

    def undecided(self, limit: float) -> list[tuple[int, int]]:
        """The numbers of rows beside the crossing that are not decided and have seeds left, each with more seeds."""
        points = self.points()
        above = [i for i, point in enumerate(points) if point.harm > limit]
        first = above[0] if above else len(points)
        beside = [i for i in (first - 1, first) if 0 <= i < len(points)]
        if first < len(points) and self._is_spent(points[first].rows) and points[first].low <= limit:
            beside += [i for i in above if points[i].low > limit or not self._is_spent(points[i].rows)][:1]
        open_ones = [points[i] for i in beside if points[i].low <= limit <= points[i].high]
        return [(point.rows, BLOCK) for point in open_ones if not self._is_spent(point.rows)]

    def falling(self) -> list[tuple[int, int]]:
        """Two numbers of rows, of which the smaller does more harm beyond noise, with more seeds; none if that is shown.

        The noise is the deviation of the harms around the means of their numbers of rows, taken to be equal for all.
        """
        harms = [[each.harm for each in attempts if not math.isnan(each.harm)] for attempts in self.found.values()]
        off = [value - mean_of(values) for values in harms for value in values]
        noise = math.sqrt(math.fsum(value**2 for value in off) / max(len(off) - len(harms), 1))
        points, counts = self.points(), list(self.found)
        drops = []
        for j, fewer in enumerate(harms):
            for i in range(j):
                if harms[i] and fewer and not all(self._is_spent(counts[place]) for place in (i, j)):
                    error = noise * math.sqrt(1 / len(harms[i]) + 1 / len(fewer))
                    drop = points[i].harm - points[j].harm
                    if drop > max(ERRORS * error, LEAST_FALL):
                        drops.append((drop, i, j))
        if not drops:
            return []
        _, *pair = max(drops)
        if points[pair[0]].low > points[pair[1]].high:
            return []
        return [(counts[place], BLOCK) for place in pair if not self._is_spent(counts[place])]

    def _is_spent(self, count: int) -> bool:
        return len(self.found[count]) >= len(self.seeds)

    def _unknown(self, count: int, seed: int) -> Attempt:
        return Attempt(self.attacks[count], seed, math.nan, {}, "curve", "the clean twin failed or is at chance")
