"""Run the trials of a plan that have no result yet, and write each record as soon as its trial ends."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

from antivenom.audit.executors import Executor, Spec
from antivenom.audit.plan import Plan
from antivenom.audit.records import Store
from antivenom.audit.trial import Record, job_of

DONE = ("ok", "not-applicable")  # errors and timeouts are tried again, because their cause may have been removed


def missing(plan: Plan, store: Store) -> list[Spec]:
    """The trials of the plan that have no final record yet, ready to run."""
    known = store.trials()
    todo = (job for key, job in plan.jobs.items() if known.get(key, {}).get("status") not in DONE)
    return [job_of(identity) for identity in todo]


def audit(plan: Plan, store: Store, execute: Executor, run: Callable[[Spec], Record], command: str) -> Iterator[Record]:
    """Write the plan, run the missing trials, and yield each new record after it has been written.

    Plan and new records carry a random name of this run, by which a summary tells new records from reused ones.

    Args:
        plan: what to run.
        store: where the records go, open for writing.
        execute: how the trials are distributed; see `antivenom.audit.executors`.
        run: makes the record of one trial.
        command: the command line, noted in the plan's record.
    """
    name = uuid.uuid4().hex[:8]
    store.append(plan.record(command) | {"run": name})
    for record in execute(run, missing(plan, store)):
        store.append(record | {"run": name})
        yield record
