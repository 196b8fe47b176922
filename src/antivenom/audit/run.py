"""Run a plan: only what is missing, each record written as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from antivenom.audit.executors import Executor, Spec
from antivenom.audit.plan import Plan
from antivenom.audit.records import Store
from antivenom.audit.trial import Record

DONE = ("ok", "not-applicable")  # errors and timeouts are tried again: their cause may be mended


def missing(plan: Plan, store: Store) -> list[Spec]:
    """The specifications of the trials that have no final record yet."""
    known = store.trials()
    return [t.spec for t in plan.trials() if known.get(t.key, {}).get("status") not in DONE]


def audit(plan: Plan, store: Store, execute: Executor, run: Callable[[Spec], Record], command: str) -> Iterator[Record]:
    """Write the plan, then yield each new record after it was written."""
    store.append(plan.record(command))
    for record in execute(run, missing(plan, store)):
        store.append(record)
        yield record
