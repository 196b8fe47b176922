"""The search for the worst case: every family once, a model of the harm, and fresh seeds for the finalists."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from antivenom.auditing.evidence import ERROR
from antivenom.auditing.grid import label
from antivenom.auditing.judging import Harms
from antivenom.auditing.statistics import Interval
from antivenom.auditing.trial import Record
from antivenom.core.errors import ScenarioError
from antivenom.core.threat import Goal, Knowledge
from antivenom.federated.engine import Federation
from antivenom.scenarios.central import Central
from antivenom.scenarios.federated import Federated
from antivenom.search.budgets import limited
from antivenom.search.central import with_fitting_trigger
from antivenom.search.families import families_for
from antivenom.search.smallest import Smallest
from antivenom.search.space import Candidate, Family, label_of, mean_of
from antivenom.search.strategy import cost, searched
from antivenom.search.trials import MOST, TIMEOUT, Attempt, Limits, Progress, Trials

OMNISCIENT = Federated(
    goal=Goal.AVAILABILITY, federation=Federation(num_malicious=2, rounds=10, knowledge=Knowledge.OMNISCIENT)
)
TRIALS = 240  # of a search without a limit


@dataclass(frozen=True)
class Finalist:
    """An attack that was run again on fresh seeds.

    Fields:
        attack: the attack; `Aimed` if the attacker also chose the trigger and the wanted class.
        harm: its mean harm over the seeds of the search. It is biased upwards, because the attack was chosen by it.
        confirmed: its mean harm over the fresh seeds, which is unbiased; nan if there are none, or if it failed on all.
        interval: bounds on the mean harm from the fresh seeds, with negative harms counted as 0; None if there are none.
            All lower bounds of the finalists hold together with a probability of 95 %, and so do all upper bounds.
    """

    attack: object
    harm: float
    confirmed: float
    interval: Interval | None

    def record(self) -> Record:
        """The finalist in plain JSON, with bounds of 0 and 1 if it was not confirmed."""
        bounds = (0.0, 1.0) if self.interval is None else (self.interval.low, self.interval.high)
        return {
            "attack": label_of(self.attack),
            "harm": self.harm,
            "confirmed": None if math.isnan(self.confirmed) else self.confirmed,
            "low": bounds[0],
            "high": bounds[1],
        }


@dataclass(frozen=True)
class WorstCase:
    """The result of a search.

    Fields:
        defence: the defence, or None.
        scenario: the scenario of all trials.
        finalists: the most harmful attacks of the search by its model of the harm, worst first, each of another family;
            empty if all failed.
        attempts: all trials, in order.
    """

    defence: object
    scenario: Any
    finalists: tuple[Finalist, ...]
    attempts: tuple[Attempt, ...]

    @property
    def attack(self) -> object:
        """The worst attack by the search's seeds, or None if every attack failed."""
        return self.finalists[0].attack if self.finalists else None

    @property
    def harm(self) -> float:
        """The mean harm of `attack` over the seeds of the search, which is biased upwards; nan if every attack failed."""
        return self.finalists[0].harm if self.finalists else math.nan

    @property
    def confirmed(self) -> float:
        """The mean harm of `attack` over fresh seeds, which is unbiased; nan without any."""
        return self.finalists[0].confirmed if self.finalists else math.nan

    @property
    def interval(self) -> Interval | None:
        """The interval of `attack`; see `Finalist`."""
        return self.finalists[0].interval if self.finalists else None

    @property
    def at_least(self) -> float:
        """The largest lower bound of a finalist: with 95 % confidence the attacker can do at least this mean harm.

        Negative harms count as 0.
        """
        return max((each.interval.low for each in self.finalists if each.interval is not None), default=0.0)

    def ranking(self) -> list[tuple[object, float, int]]:
        """(attack, mean harm, number of seeds) of each attack of the search without a failed trial.

        Attacks that ran on more seeds come first, then those that did more harm.
        """
        harms: list[tuple[object, list[float]]] = []
        for attempt in self.attempts:
            if attempt.stage in ("explore", "refine"):
                known = next((values for attack, values in harms if attack == attempt.attack), None)
                if known is None:
                    harms.append((attempt.attack, known := []))
                known.append(attempt.harm)
        means = [(attack, mean_of(values), len(values)) for attack, values in harms]
        return sorted((row for row in means if not math.isnan(row[1])), key=lambda row: (-row[2], -row[1]))

    def record(self, group: str = "", smallest: Smallest | None = None) -> Record:
        """The search as a line of records.jsonl.

        Args:
            group: the name of the scenario in the audit.
            smallest: what `smallest_budget` found for the worst attack, or None.
        """
        best = self.finalists[0] if self.finalists else None
        curve = {"smallest": None, "curve": []} if smallest is None else smallest.record()
        return {
            "type": "search",
            "group": group,
            "level": self.scenario.level,
            "goal": str(self.scenario.goal),
            "defence": label(self.defence),
            "trials": len(self.attempts),
            "worst": None if best is None else best.record(),
            "attempts": [attempt.record() for attempt in self.attempts if attempt.stage != "twin"],
            **curve,
        }


def worst_case(
    defence: object,
    scenario: Any = OMNISCIENT,
    *,
    share: float | None = None,
    rows: int | None = None,
    families: Sequence[Family] | None = None,
    trials: int | None = None,
    deadline_seconds: float | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3),
    confirm: Sequence[int] = (100, 101, 102, 103, 104, 105),
    finalists: int = 3,
    draws: int = 0,
    known: Iterable[Mapping[str, Any]] = (),
    progress: Progress | None = None,
    jobs: int = 0,
    timeout: float = TIMEOUT,
    plugins: Sequence[str] = (),
    device: str = "cpu",
) -> WorstCase:
    """Search for the attack that does the most harm to a scenario with this defence, by the metric of its goal.

    1. Explore: every family is tried with its attack's own values, on one seed.
    2. Refine: a model of the harm learns from all trials so far. The next trial, of a new attack or of an earlier one on
       another seed, is the one that is expected to raise the largest mean of the model most. The last trials decide between
       attacks that were tried.
    3. Confirm: the best of the search, and runners-up from other families, run on fresh seeds, because the maximum of many
       noisy numbers is biased upwards.

    Every trial is compared with the clean twin of its seed, and finalists run on all seeds. Seeds whose twin failed or is no
    better than chance are not used. Failed trials are listed with their errors, and an attack with one never wins. Equal
    arguments give equal results, unless the time is limited. Weakness: with hardly more trials than families, little but
    their own values is tried.

    Args:
        defence: any defence that the scenario takes, or None.
        scenario: a scenario, such as a `Central` or a `Federated` one.
        share: the attacker's budget as a share of the training rows, 0 to 1 (`Central`); None is the scenario's own limit.
        rows: the same as a number of rows.
        families: the attacks to search; None takes `families_for(scenario, defence)`.
        trials: the most trials, clean twins included; None is 240, or no limit where the time is limited.
        deadline_seconds: the most seconds of the clock. What is done then depends on the speed of the machine: with little
            time, fewer families, seeds and finalists are used.
        seeds: seeds of the search.
        confirm: fresh seeds for the finalists.
        finalists: how many attacks are confirmed.
        draws: seed of the search's own randomness, which draws the values of fields.
        known: records of attempts (`Attempt.record`) of a search that was interrupted. Their trials are not run again.
        progress: called as progress(done, most, attempt) after every trial.
        jobs: processes that run the trials. Code that hangs or crashes then costs its own trial only. 0 runs the trials in
            this process, which is faster for models that are fitted within a second.
        timeout: the most seconds of a trial in a process of its own.
        plugins: plugin files that the processes load.
        device: the torch device to train on.

    Raises:
        ScenarioError: no seeds, repeated seeds, seeds that search and confirmation share, too few trials, or a budget that
            the scenario does not have.
    """
    scenario = limited(scenario, share, rows)
    if families is None and isinstance(scenario, Central):
        scenario = with_fitting_trigger(scenario)
    families = families_for(scenario, defence) if families is None else tuple(families)
    seeds, confirm, finalists = tuple(seeds), tuple(confirm), min(finalists, len(families))
    if not seeds or len({*seeds, *confirm}) < len(seeds) + len(confirm):
        raise ScenarioError(
            "seeds for the search and other seeds for confirmation", f"{seeds} and {confirm}", "use different seeds"
        )
    if finalists < 1:
        raise ScenarioError("at least one family and one finalist", f"{len(families)} and {finalists}")
    most = trials if trials is not None else TRIALS if deadline_seconds is None else MOST
    limits = Limits(most, deadline_seconds, jobs, timeout, device, tuple(plugins))
    run = Trials(defence, scenario, limits, known, progress)
    plan = _Plan(tuple(families), seeds, confirm, finalists, 1 - run.self_paired)
    if deadline_seconds is None and most < plan.cost:
        raise ScenarioError(
            f"a budget of at least {plan.cost} trials for {len(families)} families",
            f"{most}",
            "raise `trials` or search fewer families",
        )
    rng = np.random.default_rng(draws)
    if deadline_seconds is not None:
        first = next(run.run([(None, seeds[0])], "twin"))  # its time shows how many others fit
        if first[1].error is not None:
            return WorstCase(defence, scenario, (), tuple(run.attempts))
        plan = plan.reduced(run.left + 1)
    usable, best = run.usable(plan.seeds), list[Candidate]()
    if usable:
        reserve = plan.reserve if deadline_seconds is None else min(plan.reserve, run.left // 3)
        best = searched(run, plan.families, usable, reserve, plan.finalists, rng)
    return WorstCase(defence, scenario, tuple(_confirmed(run, best, plan.confirm)), tuple(run.attempts))


@dataclass(frozen=True)
class _Plan:
    """What is searched, and on which seeds."""

    families: tuple[Family, ...]
    seeds: tuple[int, ...]
    confirm: tuple[int, ...]
    finalists: int
    twins: int  # trials of clean twins for each seed: 1, or 0 if every trial measures its own

    @property
    def reserve(self) -> int:
        """The trials of the confirmation, twins included."""
        return len(self.confirm) * (self.twins + self.finalists)

    @property
    def cost(self) -> int:
        """The fewest trials that it takes."""
        return cost(len(self.families), len(self.seeds), self.finalists) + self.twins * len(self.seeds) + self.reserve

    def reduced(self, most: int) -> _Plan:
        """A plan that takes at most so many trials, as far as possible.

        Finalists are given up first, then seeds, then families from the end of the list. One family, one seed and one fresh seed
        remain.
        """
        plan = self
        while plan.cost > most:
            if plan.finalists > 1:
                plan = dataclasses.replace(plan, finalists=plan.finalists - 1)
            elif len(plan.seeds) > 2:
                plan = dataclasses.replace(plan, seeds=plan.seeds[:-1])
            elif len(plan.confirm) > 3:
                plan = dataclasses.replace(plan, confirm=plan.confirm[:-1])
            elif len(plan.families) > 3:
                plan = dataclasses.replace(plan, families=plan.families[:-1])
            elif len(plan.seeds) > 1:
                plan = dataclasses.replace(plan, seeds=plan.seeds[:-1])
            elif len(plan.confirm) > 1:
                plan = dataclasses.replace(plan, confirm=plan.confirm[:-1])
            elif len(plan.families) > 1:
                plan = dataclasses.replace(plan, families=plan.families[:-1])
            else:
                return plan
        return plan


def _confirmed(trials: Trials, best: Sequence[Candidate], confirm: Sequence[int]) -> list[Finalist]:
    """Run the finalists on the fresh seeds; the bounds of all of them hold together."""
    usable = trials.usable(confirm) if best else []
    asked = [(i, seed) for i in range(len(best)) for seed in usable]
    runs: dict[tuple[int, int], Attempt] = {}
    for place, attempt in trials.run([(best[i].attack, seed) for i, seed in asked], "confirm"):
        runs[asked[place]] = attempt
    found = []
    for i, each in enumerate(best):
        own = [runs.get((i, seed)) for seed in confirm]
        interval = Harms.of(
            trials.scenario.goal.metric, [None if run is None else trials.pair(run) for run in own]
        ).interval(ERROR / len(best))
        known = [run.harm for run in own if run is not None and not math.isnan(run.harm)]
        found.append(Finalist(each.attack, each.mean, mean_of(known), interval))
    return found
