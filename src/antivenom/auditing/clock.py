"""The time that an audit may take, and how many trials fit into what is left of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from antivenom.auditing.counts import Counts
from antivenom.auditing.plan import Plan
from antivenom.auditing.trial import Record

_USED = (
    0.85  # share of the time that is left for which trials are planned, since trials differ and processes end unevenly
)
_ENOUGH = 4  # trials after which their pace is known


class Clock:
    """The end of the time, and the pace of the trials so far. It is told of every trial that has ended.

    Args:
        until: the end, on the clock of `time.monotonic`.
        jobs: the number of trials that run at once.
        each_s: seconds of a trial, as far as they are known before any has ended.
    """

    def __init__(self, until: float, jobs: int, each_s: float = 1.0) -> None:
        self.until, self.jobs, self.each_s = until, jobs, each_s
        self._ended = 0
        self._first = 0.0

    def part(self, share: float) -> Clock:
        """A clock with the same pace that ends after this share of the time that is left."""
        return Clock(time.monotonic() + share * self.left, self.jobs, self.pace * self.jobs)

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self.until - time.monotonic())

    @property
    def is_over(self) -> bool:
        return self.left == 0

    def begin(self) -> None:
        """Note that trials begin, perhaps after something else. Their pace so far is what is known of the next ones."""
        self.each_s, self._ended, self._first = self.pace * self.jobs, 0, 0.0

    def ended(self) -> None:
        """Note that a trial has ended."""
        self._first = self._first or time.monotonic()
        self._ended += 1

    @property
    def pace(self) -> float:
        """Seconds of the clock for one trial, while others run beside it."""
        if self._ended < _ENOUGH:
            return self.each_s / self.jobs
        return max((time.monotonic() - self._first) / (self._ended - 1), 1e-4)

    @property
    def room(self) -> int:
        """How many trials are expected to fit into the time that is left."""
        return int(_USED * self.left / self.pace)

    def within(self, plan: Plan, counts: Counts) -> Plan:
        """The plan with no more trials than fit into the time that is left."""
        if plan.more is None:
            return plan
        most = len(plan.asked(counts)) + self.room
        return plan.with_budget(most if plan.more.trials is None else min(most, plan.more.trials))


def finished(plan: Plan, counts: Counts, known: Mapping[str, Record]) -> Counts:
    """The counts of the seeds that have a record, at least one for each cell, for when the time was up during a round."""
    seeds, fresh = [], []
    for i in range(len(plan.cells)):
        done = [plan.key(i, place) in known for place in range(counts.seeds[i])]
        seeds.append(max(1, done.index(False) if False in done else len(done)))
        kept = [plan.key(i, place) in known for place in counts.fresh_places(i)]
        fresh.append(kept.index(False) if False in kept else len(kept))
    return replace(counts, seeds=tuple(seeds), fresh=tuple(fresh))
