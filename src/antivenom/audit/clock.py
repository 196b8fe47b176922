"""The time that an audit may take, and how many trials fit into what is left of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from antivenom.audit.counts import Counts
from antivenom.audit.plan import Plan
from antivenom.audit.trial import Record

_USED = (
    0.85  # share of the time that is left for which trials are planned, since trials differ and processes end unevenly
)


@dataclass(frozen=True)
class Clock:
    """The end of the time, and how many trials run at once.

    Fields:
        until: the end, on the clock of `time.monotonic`.
        jobs: the number of trials that run at once.
    """

    until: float
    jobs: int

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self.until - time.monotonic())

    @property
    def is_over(self) -> bool:
        return self.left == 0

    def fitting(self, each_s: float) -> int:
        """How many trials of that many seconds fit into the time that is left."""
        return int(_USED * self.left * self.jobs / max(each_s, 1e-3))

    def within(self, plan: Plan, counts: Counts, known: Mapping[str, Record]) -> Plan:
        """The plan with no more trials than fit into the time that is left, by the mean seconds of those that ran."""
        if plan.more is None:
            return plan
        asked = plan.asked(counts)
        seconds = [record["seconds"] for key in asked if (record := known.get(key)) is not None]
        more = self.fitting(statistics.fmean(seconds)) if seconds else 0
        most = len(asked) + more
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
