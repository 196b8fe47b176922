"""The search: successive halving over all families, a local search around the best, and fresh seeds for the finalists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antivenom.audit.evidence import ERROR
from antivenom.audit.judging import Harms
from antivenom.audit.statistics import Interval
from antivenom.core.errors import ScenarioError
from antivenom.core.threat import Goal, Knowledge
from antivenom.federated.engine import Federation
from antivenom.scenarios.federated import Federated
from antivenom.search.federated import families_for
from antivenom.search.space import Candidate, Family, mean_of
from antivenom.search.strategy import cost, explore, leaders, refine
from antivenom.search.trials import Attempt, Progress, Trials

OMNISCIENT = Federated(
    goal=Goal.AVAILABILITY, federation=Federation(num_malicious=2, rounds=10, knowledge=Knowledge.OMNISCIENT)
)


@dataclass(frozen=True)
class Finalist:
    """An attack that was run again on fresh seeds.

    Fields:
        attack: the agent.
        harm: its mean harm over the seeds of the search. It is biased upwards, because the attack was chosen by it.
        confirmed: its mean harm over the fresh seeds, which is unbiased; nan if there are none, or if it failed on all.
        interval: bounds on the mean harm from the fresh seeds, with negative harms counted as 0; None if there are none.
            All lower bounds of the finalists hold together with a probability of 95 %, and so do all upper bounds.
    """

    attack: object
    harm: float
    confirmed: float
    interval: Interval | None


@dataclass(frozen=True)
class WorstCase:
    """The result of a search.

    Fields:
        rule: the defence, or None.
        scenario: the scenario of all trials.
        finalists: the most harmful attacks of the search, worst first, each of another family; empty if all failed.
        attempts: all trials, in order.
    """

    rule: object
    scenario: Federated
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


def worst_case(
    rule: object,
    scenario: Federated = OMNISCIENT,
    *,
    families: Sequence[Family] | None = None,
    budget: int = 240,
    seeds: Sequence[int] = (0, 1, 2, 3),
    confirm: Sequence[int] = (100, 101, 102, 103, 104, 105),
    finalists: int = 3,
    draws: int = 0,
    progress: Progress | None = None,
    device: str = "cpu",
) -> WorstCase:
    """Search for the attack that harms a federation with this defence most, by the metric of the scenario's goal.

    1. Explore: every family is tried with its agent's own values and with others that cover their ranges, on one seed.
       A third goes on to the next rung with twice as many seeds, and so on up to all `seeds` (successive halving).
    2. Refine: the fields of the best few are changed in random directions with shrinking steps. A change is given up as
       soon as it is behind on the seeds that it has run on.
    3. Confirm: the best of the search, and runners-up from other families, run on fresh seeds, because the maximum of many
       noisy numbers is biased upwards.

    All attacks are compared on the same seeds, each with the clean twin of its seed. Seeds whose twin failed or is no
    better than chance are not used. Failed trials are listed with their errors, and an attack with one never wins. Equal
    arguments give equal results. Weakness: a family that is bad on its first seed is dropped for good.

    Args:
        rule: the defence: an aggregation rule, a reducer, a client detector, or None.
        scenario: the federated scenario.
        families: the attacks to search; None takes `families_for(scenario, rule)`.
        budget: the most trials, clean twins included.
        seeds: seeds of the search.
        confirm: fresh seeds for the finalists.
        finalists: how many attacks are confirmed.
        draws: seed of the search's own randomness, which draws the values of fields.
        progress: called as progress(done, budget, attempt) after every trial.
        device: the torch device to train on.

    Raises:
        ScenarioError: no seeds, repeated seeds, seeds that search and confirmation share, or too small a budget.
    """
    families = families_for(scenario, rule) if families is None else tuple(families)
    seeds, confirm, finalists = tuple(seeds), tuple(confirm), min(finalists, len(families))
    if not seeds or len({*seeds, *confirm}) < len(seeds) + len(confirm):
        raise ScenarioError(
            "seeds for the search and other seeds for confirmation", f"{seeds} and {confirm}", "use different seeds"
        )
    if finalists < 1:
        raise ScenarioError("at least one family and one finalist", f"{len(families)} and {finalists}")
    reserve = len(confirm) * (1 + finalists)
    least = cost(len(families), len(seeds), finalists) + len(seeds) + reserve
    if budget < least:
        raise ScenarioError(
            f"a budget of at least {least} trials for {len(families)} families", f"{budget}", "or search fewer families"
        )
    rng = np.random.default_rng(draws)
    trials = Trials(rule, scenario, device, budget, progress)
    usable, found = trials.usable(seeds), list[Candidate]()
    if usable:
        found = explore(trials, families, usable, reserve, finalists, rng)
        refine(trials, found, usable, reserve, finalists, rng)
    best = leaders(found, finalists)
    fresh = trials.usable(confirm) if best else []
    confirmed = [_confirmed(trials, each, confirm, fresh, len(best)) for each in best]
    return WorstCase(rule, scenario, tuple(confirmed), tuple(trials.attempts))


def _confirmed(
    trials: Trials, best: Candidate, confirm: Sequence[int], usable: Sequence[int], finalists: int
) -> Finalist:
    """Run a finalist on the fresh seeds; the bounds allow for so many finalists."""
    runs = {seed: trials.run(best.agent, seed, "confirm") for seed in usable}
    pairs = [trials.pair(runs[seed]) if seed in runs else None for seed in confirm]
    interval = Harms.of(trials.scenario.goal.metric, pairs).interval(ERROR / finalists)
    known = [run.harm for run in runs.values() if not math.isnan(run.harm)]
    return Finalist(best.agent, best.mean, mean_of(known), interval)
