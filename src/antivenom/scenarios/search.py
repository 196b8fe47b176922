"""Search for the attack that harms a defended federation most, over attack families and their scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from antivenom.core.errors import AntivenomError, ScenarioError
from antivenom.core.protocols import Agent
from antivenom.core.registry import Kind, entry_of
from antivenom.core.threat import Goal, Knowledge
from antivenom.federated.agents import (
    ALIE,
    DBA,
    IPM,
    ALIEBackdoor,
    AlternatingMinimization,
    ClientBadNets,
    ConstrainAndScale,
    DirtyLabel,
    EdgeCase,
    ExplicitBoosting,
    FangKrum,
    FangTrimmedMean,
    GaussianNoise,
    LineSearch,
    MinMaxDistance,
    MinSumDistance,
    ModelReplacement,
    Neurotoxin,
    NormBounded,
    PoisonedFL,
    Scaled,
    SignFlip,
)
from antivenom.federated.agents.adaptive import Centre, Damage
from antivenom.federated.engine import Federation
from antivenom.scenarios.federated import Federated

FACTORS = (0.3, 1.0, 3.0, 10.0)
OMNISCIENT = Federated(
    goal=Goal.AVAILABILITY, federation=Federation(num_malicious=2, rounds=10, knowledge=Knowledge.OMNISCIENT)
)


@dataclass(frozen=True)
class Attempt:
    """One trial of the search.

    Fields:
        attack: the agent, or None for the clean twin.
        seed: seed of the trial; trials with the same seed are paired.
        harm: harm of the attack compared with the clean twin of the same seed; nan if the trial failed.
        metrics: the judge's metrics; empty if the trial failed.
        stage: twin, search, refine or confirm.
        error: the error of a failed trial, or None.
    """

    attack: object
    seed: int
    harm: float
    metrics: dict[str, float]
    stage: str
    error: str | None = None


@dataclass(frozen=True)
class WorstCase:
    """The most harmful attack that was found, and all trials of the search.

    Fields:
        rule: the defence, or None.
        scenario: the scenario of all trials.
        attack: the worst attack found, or None if every trial failed.
        harm: its mean harm over the seeds of the search. It is biased upwards, because the attack was chosen by it.
        confirmed: its mean harm over fresh seeds, which is unbiased; nan without fresh seeds.
        attempts: all trials, in order.
    """

    rule: object
    scenario: Federated
    attack: object
    harm: float
    confirmed: float
    attempts: tuple[Attempt, ...]

    def ranking(self) -> list[tuple[object, float]]:
        """Attacks and their mean harm over the search's seeds, worst first; attacks with a failed trial are left out."""
        return _ranked(self.attempts)


Progress = Callable[[int, int, Attempt], None]


def worst_case(
    rule: object,
    scenario: Federated = OMNISCIENT,
    *,
    families: Sequence[object] | None = None,
    factors: Sequence[float] = FACTORS,
    seeds: Sequence[int] = (0, 1, 2),
    refine: int = 2,
    confirm: Sequence[int] = (100, 101, 102),
    progress: Progress | None = None,
    device: str = "cpu",
) -> WorstCase:
    """Search for the attack that harms a federation with this rule most, by the metric of the scenario's goal.

    Every family is run with every seed, and a `Scaled` one with every factor. Then the worst attack is refined `refine`
    times: the geometric means of its factor and the two neighbouring factors are tried. At last the winner is run with
    fresh seeds, because the maximum over many noisy trials is biased upwards. A failed trial is listed with its error and
    never wins.

    Args:
        rule: the defence, or None.
        scenario: the federated scenario.
        families: the attacks to try; None takes `default_families`.
        factors: scales of `Scaled` attacks.
        seeds: seeds of the search.
        refine: rounds of refinement.
        confirm: fresh seeds for the winner.
        progress: called as progress(done, planned, attempt) after every trial.
        device: the torch device to train on.

    Raises:
        ScenarioError: no seeds, or seeds that search and confirmation share.
    """
    if not seeds or set(seeds) & set(confirm):
        raise ScenarioError(
            "seeds for the search and other seeds for confirmation", f"{seeds} and {confirm}", "use different seeds"
        )
    tried = _Search(rule, scenario, device, progress)
    candidates = [
        candidate
        for family in (default_families(scenario.goal, rule) if families is None else families)
        for candidate in ([replace(family, factor=f) for f in factors] if isinstance(family, Scaled) else [family])
    ]
    rest = len(confirm) + len(seeds) * 2 * refine
    tried.planned = len(seeds) * (1 + len(candidates)) + rest + len(confirm)
    for attack in candidates:
        tried.run(attack, seeds, "search")
    for _ in range(refine):
        for attack in _between(_ranked(tried.attempts)):
            tried.run(attack, seeds, "refine")
    ranked = _ranked(tried.attempts)
    if not ranked:
        return WorstCase(rule, scenario, None, math.nan, math.nan, tuple(tried.attempts))
    attack, found = ranked[0]
    again = tried.run(attack, confirm, "confirm")
    return WorstCase(rule, scenario, attack, found, _mean(again), tuple(tried.attempts))


def default_families(goal: Goal, rule: Any) -> tuple[Agent, ...]:
    """The attacks to try for a goal. If the rule is an aggregation rule, they include attacks that optimise against it."""
    if goal is Goal.BACKDOOR:
        scaled: tuple[Agent, ...] = (
            ModelReplacement(boost=1),
            ConstrainAndScale(boost=1),
            DBA(boost=1),
            Neurotoxin(),
            EdgeCase(),
        )
        return (
            *(Scaled(agent) for agent in scaled),
            ClientBadNets(),
            ALIEBackdoor(z=1.5),
            NormBounded(ModelReplacement()),
        )
    if goal is Goal.TARGETED:
        boosted: tuple[Agent, ...] = (ExplicitBoosting(boost=1), ModelReplacement(boost=1), EdgeCase())
        return (
            *(Scaled(agent) for agent in boosted),
            AlternatingMinimization(),
            DirtyLabel(),
            NormBounded(ModelReplacement()),
        )
    about_zero: tuple[Agent, ...] = (SignFlip(), IPM(1.0), GaussianNoise(0.01), FangKrum(), FangTrimmedMean())
    about_mean: tuple[Agent, ...] = (ALIE(z=1.0), MinMaxDistance(), MinSumDistance())
    known: tuple[Agent, ...] = (
        *(Scaled(agent) for agent in about_zero),
        *(Scaled(agent, centre=Centre.BENIGN) for agent in about_mean),
        PoisonedFL(),
    )
    if rule is None or entry_of(rule).kind is not Kind.AGGREGATOR:
        return known
    tuned = (
        LineSearch(IPM(1.0), rule),
        LineSearch(IPM(1.0), rule, damage=Damage.REVERSAL),
        LineSearch(ALIE(z=-1.0), rule, centre=Centre.BENIGN),
    )
    return (*known, *tuned)


class _Search:
    """The trials of one search. The clean twin of each seed is run once."""

    def __init__(self, rule: object, scenario: Federated, device: str, progress: Progress | None) -> None:
        self.rule, self.scenario, self.device, self.progress = rule, scenario, device, progress
        self.attempts: list[Attempt] = []
        self.planned = 0
        self._twins: dict[int, dict[str, float]] = {}

    def run(self, attack: object, seeds: Sequence[int], stage: str) -> list[float]:
        """Run the attack with each seed and return its harms."""
        return [self._one(attack, seed, stage) for seed in seeds]

    def _one(self, attack: object, seed: int, stage: str) -> float:
        if seed not in self._twins:
            self._twins[seed] = {}  # stays empty if the twin's trial fails
            self._twins[seed] = self._measure(None, seed, "twin").metrics
        return self._measure(attack, seed, stage).harm

    def _measure(self, attack: object, seed: int, stage: str) -> Attempt:
        try:
            metrics = self.scenario.run(attack, self.rule, seed, self.device).metrics
            done = 0.0 if attack is None else self.scenario.goal.metric.value(metrics, self._twins[seed])
            attempt = Attempt(attack, seed, done, metrics, stage)
        except AntivenomError as error:
            attempt = Attempt(attack, seed, math.nan, {}, stage, str(error))
        self.attempts.append(attempt)
        if self.progress is not None:
            self.progress(len(self.attempts), max(self.planned, len(self.attempts)), attempt)
        return attempt


def _ranked(attempts: Sequence[Attempt]) -> list[tuple[object, float]]:
    """Attacks with their mean harm in the search, worst first. An attack with a failed trial is left out."""
    harms: dict[object, list[float]] = {}
    for attempt in attempts:
        if attempt.stage in ("search", "refine"):
            harms.setdefault(attempt.attack, []).append(attempt.harm)
    means = [(attack, _mean(values)) for attack, values in harms.items()]
    return sorted((pair for pair in means if not math.isnan(pair[1])), key=lambda pair: -pair[1])


def _between(ranked: list[tuple[object, float]]) -> Iterator[Scaled]:
    """The worst attack with geometric means of its factor and the neighbouring ones; nothing if it is not `Scaled`."""
    if not ranked or not isinstance(ranked[0][0], Scaled):
        return
    worst = ranked[0][0]
    family = sorted({a.factor for a, _ in ranked if isinstance(a, Scaled) and replace(a, factor=worst.factor) == worst})
    for neighbours in ([f for f in family if f < worst.factor][-1:], [f for f in family if f > worst.factor][:1]):
        yield from (replace(worst, factor=math.sqrt(f * worst.factor)) for f in neighbours)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
