"""Run the trials of a plan that have no result yet, and write each record as soon as its trial ends.

An audit runs in rounds. The first has the plan's seeds for every cell; each further one has more seeds for the cells whose
verdict is open, and the last one fresh seeds for the cells that were selected. See `antivenom.auditing.allocation`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping

from antivenom.auditing.allocation import Step, grow
from antivenom.auditing.clock import Clock, finished
from antivenom.auditing.counts import Counts
from antivenom.auditing.executors import Executor, Spec
from antivenom.auditing.plan import Plan
from antivenom.auditing.records import Store
from antivenom.auditing.summary import summarise
from antivenom.auditing.trial import Record, job_of

DONE = ("ok", "not-applicable")  # errors and timeouts are tried again, because their cause may have been removed


def missing(plan: Plan, store: Store) -> list[Spec]:
    """The trials that have no final record yet, ready to run, in the round that the records have reached."""
    known = store.trials()
    return _unfinished(plan, counts_from(plan, known), known)


def counts_from(
    plan: Plan, known: Mapping[str, Record], tried: Collection[str] = (), counts: Counts | None = None
) -> Counts:
    """The number of seeds of each cell in the first round of which a trial is missing, or else in the last round.

    Args:
        plan: what to run.
        known: the trials' records by key.
        tried: keys of trials that are not run again, even if they failed.
        counts: the number of seeds in an earlier round; None for the first one.
    """
    counts = plan.first if counts is None else counts
    while plan.more is not None and not _unfinished(plan, counts, known, tried):
        grown = grow(plan, counts, summarise(plan.record("", counts), known))
        if grown == counts:
            break
        counts = grown
    return counts


def _unfinished(plan: Plan, counts: Counts, known: Mapping[str, Record], tried: Collection[str] = ()) -> list[Spec]:
    """The trials that are to be run so that each cell has its number of seeds."""
    todo = (each for key, each in plan.asked(counts).items() if key not in tried and not _is_done(known.get(key)))
    return [job_of(plan.identity(*each)) for each in todo]


def _is_done(record: Record | None) -> bool:
    return record is not None and record["status"] in DONE


def audit(
    plan: Plan,
    store: Store,
    execute: Executor,
    run: Callable[[Spec], Record],
    command: str,
    clock: Clock | None = None,
    counts: Counts | None = None,
) -> Iterator[Step]:
    """Run the missing trials round by round, and yield each new record after it has been written.

    The plan's record is written before every round, with the number of seeds that each cell has in it. Plan and new records
    carry a random name of this run, by which a summary tells new records from reused ones.

    Args:
        plan: what to run.
        store: where the records go, open for writing.
        execute: how the trials of a round are distributed; see `antivenom.auditing.executors`.
        run: makes the record of one trial.
        command: the command line, noted in the plan's record.
        clock: the time that the audit may take, or None. Then a round has only as many trials as the time is expected to
            allow. If the time ends during a round, the audit ends with the seeds that have finished by then; `execute` must
            stop by itself at that time.
        counts: the number of seeds of each cell to begin with; None for the plan's own.
    """
    name = uuid.uuid4().hex[:8]
    known, tried, total = store.trials(), set[str](), 0
    counts = counts_from(plan, known, counts=counts)
    if clock is not None:
        clock.begin()
    while True:
        store.append(plan.record(command, counts) | {"run": name})
        todo = _unfinished(plan, counts, known, tried)
        total += len(todo)
        for record in execute(run, todo):
            store.append(record | {"run": name})
            known[record["key"]] = record
            tried.add(record["key"])
            if clock is not None:
                clock.ended()
            yield Step(record, total)
        if clock is not None and clock.is_over:
            store.append(plan.record(command, finished(plan, counts, known)) | {"run": name})
            return
        plan = plan if clock is None else clock.within(plan, counts)
        grown = counts_from(plan, known, tried, counts)
        if grown == counts:
            return
        counts = grown
