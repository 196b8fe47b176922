"""The certified floor of a user's pipeline: an answer that so many rows cannot change, whatever they are, by a proof.

Copies of the user's model are each trained on a part of the rows and vote (Levine and Feizi 2021). A row is in one part, so one
added or removed row changes one vote at most.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from antivenom.auditing.executors import TIMEOUT, executor, runner
from antivenom.auditing.grid import label
from antivenom.auditing.records import Store
from antivenom.auditing.trial import SCHEMA, Record, job_of
from antivenom.certify import DPA, Base
from antivenom.core.threat import Access
from antivenom.pipelines.choosing import Group
from antivenom.pipelines.looking import Look
from antivenom.pipelines.planning import plan_of
from antivenom.pipelines.request import Prepared

SHARE = 0.1  # of the time: for the certified floor
PARTS = (50, 20, 10, 5)  # numbers of models, the most useful first
_LEAST_ROWS = 50  # of a part, and at least
_PER_CLASS = 10
_OVERHEAD = 0.05  # a training on a part takes its share of the rows' time, and this share of a whole training


def learner_for(look: Look, fit_seconds: float, seconds: float, left: float = math.inf) -> tuple[DPA | None, str]:
    """The certified learner with the most models that these rows and this time allow, or None and why there is none.

    Args:
        look: what was found in the rows.
        fit_seconds: how long one training of the user's model on all rows took.
        seconds: the time for the learner.
        left: the time that is left of the whole audit.

    >>> costs(2.0, 50)  # fifty parts of a model that takes two seconds
    7.0
    """
    n, least = len(look.train), max(_LEAST_ROWS, _PER_CLASS * look.train.num_classes)
    possible = [parts for parts in PARTS if n // parts >= least]
    if not possible:
        return None, f"{n} rows are too few for {PARTS[-1]} models of {least} rows each"
    affordable = [parts for parts in possible if costs(fit_seconds, parts) <= min(seconds, left)]
    if affordable:
        return DPA(affordable[0], base=Base.MODEL), ""
    needed = costs(fit_seconds, possible[-1])
    if needed <= seconds:
        return None, f"it needs about {needed:.0f} s, and {left:.0f} s were left: raise --time"
    return None, f"it needs about {needed:.0f} s: --time {math.ceil(needed / SHARE / 60)}m allows it"


def costs(fit_seconds: float, parts: int) -> float:
    """Seconds that so many models take, each trained on its part, if one on all rows takes `fit_seconds`."""
    return fit_seconds * (1 + _OVERHEAD * parts)


def certify(
    prepared: Prepared,
    store: Store,
    fit_seconds: float,
    accuracy: float,
    until: float,
    means: tuple[int, Sequence[str], str],
    say: Callable[[str], None],
) -> None:
    """Run the certified learner once on the clean rows and write down its floor, or why there is none.

    A learner that fails costs the audit nothing but its time. A floor that is known from an earlier run is kept.

    Args:
        prepared: what is audited.
        store: where the floor is written, open for writing.
        fit_seconds: how long one training of the user's model took.
        accuracy: the accuracy of that model.
        until: when the audit's time ends, on the clock of `time.monotonic`.
        means: the number of processes, the plugin files, and the torch device.
        say: told what is being done.
    """
    if any(line["learner"] for line in store.beside("floor")):
        return
    group, request = _group(prepared), prepared.request
    share, left = SHARE * request.seconds, max(0.0, until - time.monotonic())
    if group is None:
        learner, why = None, "there is no proof against attackers who change the training code"
    elif request.trials is not None:
        learner, why = None, "it is run where the time decides: leave out --trials"
    else:
        learner, why = learner_for(prepared.look, fit_seconds, share, left)
    if learner is None or group is None:
        store.append(_line(prepared, None, None, accuracy, why))
        return
    say(f"certifying answers: {learner.partitions} models on parts of the rows")
    plan = plan_of([replace(group, attacks=(), defences=(learner,))], replace(request, fail_if={}), first=1)
    place = next(i for i, cell in enumerate(plan.cells) if cell.defence == learner)
    jobs, plugins, device = means
    execute = executor(jobs, plugins, device, request.timeout, min(until, time.monotonic() + 2 * share))
    run = runner(device, request.timeout or TIMEOUT, str(store.path.parent / "progress"))
    record = next(iter(execute(run, [job_of(plan.identity(place, 0))])), None)
    if record is None:
        why = f"it did not end in {min(left, 2 * share):.0f} s: raise --time"
    elif record["status"] != "ok":
        why = str(record["error"])
    store.append(_line(prepared, learner, None if why else record, accuracy, why))


def _group(prepared: Prepared) -> Group | None:
    """A group whose attacker adds or changes rows."""
    groups = sorted(prepared.choice.groups, key=lambda group: group.scenario.threat.access is not Access.DATA_INJECTION)
    return next((group for group in groups if group.scenario.threat.access is not Access.LOGIC_CORRUPTION), None)


def _line(prepared: Prepared, learner: DPA | None, found: Record | None, accuracy: float, why: str) -> Record:
    """The line "floor" of records.jsonl."""
    metrics = {} if found is None else found["metrics"]
    return {
        "schema": SCHEMA,
        "type": "floor",
        "learner": "" if found is None else label(learner),
        "models": 0 if learner is None else learner.partitions,
        "rows": metrics.get("certified_median"),
        "by_one": metrics.get("certified_accuracy"),
        "accuracy": metrics.get("clean_accuracy"),
        "accuracy_before": accuracy,
        "budget": int(prepared.request.budget * len(prepared.look.train)),
        "theorem": "Levine and Feizi 2021, Theorem 1",
        "why": why,
    }
