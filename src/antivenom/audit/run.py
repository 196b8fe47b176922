"""Run a plan: only what is missing, each record written as soon as it is there."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

from antivenom.audit.executors import Executor, Spec
from antivenom.audit.plan import Plan
from antivenom.audit.records import Store
from antivenom.audit.trial import Record, job_of

DONE = ("ok", "not-applicable")  # errors and timeouts are tried again: their cause may be mended


def missing(plan: Plan, store: Store) -> list[Spec]:
    """The jobs of the trials that have no final record yet."""
    known = store.trials()
    todo = (job for key, job in plan.jobs.items() if known.get(key, {}).get("status") not in DONE)
    return [job_of(identity) for identity in todo]


def audit(plan: Plan, store: Store, execute: Executor, run: Callable[[Spec], Record], command: str) -> Iterator[Record]:
    """Write the plan, then yield each new record after it was written.

    Plan and records carry the name of this run, by which a summary tells reused records from those of this run.
    """
    name = uuid.uuid4().hex[:8]
    store.append(plan.record(command) | {"run": name})
    for record in execute(run, missing(plan, store)):
        store.append(record | {"run": name})
        yield record
