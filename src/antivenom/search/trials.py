"""The trials of one search: paired with clean twins, counted, and listed with their errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from antivenom.core.errors import AntivenomError
from antivenom.core.goals import Metrics
from antivenom.scenarios.federated import Federated


@dataclass(frozen=True)
class Attempt:
    """One trial of the search.

    Fields:
        attack: the agent, or None for the clean twin.
        seed: seed of the trial; trials with the same seed are paired.
        harm: harm of the attack compared with the clean twin of the same seed; nan if the trial failed.
        metrics: the judge's metrics; empty if the trial failed.
        stage: twin, explore, refine or confirm.
        error: the reason why the harm is not known, or None.
    """

    attack: object
    seed: int
    harm: float
    metrics: dict[str, float]
    stage: str
    error: str | None = None


Progress = Callable[[int, int, Attempt], None]


class Trials:
    """Runs trials and lists them. The clean twin of each seed, with the same defence, is run once.

    Args:
        rule: the defence, or None.
        scenario: the scenario of all trials.
        device: the torch device to train on.
        budget: how many trials may be run.
        progress: called as progress(done, budget, attempt) after every trial.

    Attributes:
        attempts: all trials, in order.
    """

    def __init__(
        self, rule: object, scenario: Federated, device: str, budget: int, progress: Progress | None = None
    ) -> None:
        self.rule, self.scenario, self.device, self.budget, self.progress = rule, scenario, device, budget, progress
        self.attempts: list[Attempt] = []
        self._twins: dict[int, Metrics] = {}

    @property
    def left(self) -> int:
        """How many more trials may be run."""
        return self.budget - len(self.attempts)

    def usable(self, seeds: Iterable[int]) -> list[int]:
        """Run the clean twins, and return the seeds at which harm is defined: not where the twin failed or is at chance."""
        for seed in seeds:
            if seed not in self._twins:
                self._twins[seed] = self.run(None, seed, "twin").metrics
        return [seed for seed in seeds if not math.isnan(self._harm(self._twins[seed], seed))]

    def pair(self, attempt: Attempt) -> tuple[Metrics, Metrics] | None:
        """The metrics of a trial and of its twin; None if the trial failed."""
        return None if math.isnan(attempt.harm) else (attempt.metrics, self._twins[attempt.seed])

    def run(self, attack: object, seed: int, stage: str) -> Attempt:
        """One trial of an attack at a usable seed, or of the twin (None)."""
        try:
            metrics = dict(self.scenario.run(attack, self.rule, seed, self.device).metrics)
        except AntivenomError as error:
            attempt = Attempt(attack, seed, math.nan, {}, stage, str(error))
        else:
            self._twins.setdefault(seed, metrics)  # the twin comes first
            harm = self._harm(metrics, seed)
            undefined = f"no harm is defined: {self.scenario.goal} was not measured, or the clean twin is at chance"
            attempt = Attempt(attack, seed, harm, metrics, stage, undefined if math.isnan(harm) else None)
        self.attempts.append(attempt)
        if self.progress is not None:
            self.progress(len(self.attempts), self.budget, attempt)
        return attempt

    def _harm(self, metrics: Metrics, seed: int) -> float:
        return self.scenario.goal.metric.value(metrics, self._twins[seed])
