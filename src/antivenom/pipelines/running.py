"""Runs an audit of a user's pipeline within its time: a first training, then attacks where the verdict is open.

The records of all trials, and what was found before them, go into one folder. An audit that was killed goes on from there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from antivenom.audit.allocation import Step
from antivenom.audit.clock import Clock
from antivenom.audit.executors import Spec, executor, runner
from antivenom.audit.grid import label
from antivenom.audit.plan import Plan
from antivenom.audit.records import Store
from antivenom.audit.run import audit
from antivenom.audit.trial import SCHEMA, Record
from antivenom.audit.workers import processes_for
from antivenom.core.errors import ModelError, ScenarioError
from antivenom.pipelines.choosing import Group
from antivenom.pipelines.planning import FIRST, plan_of
from antivenom.pipelines.request import Prepared

REPORT_S, REPORT_SHARE = 4.0, 0.05  # time kept for the report: at most so many seconds, and this share of the whole
_LEAST = 2  # seeds that every cell gets, if the time allows no more
_DEARER = 1.3  # how much longer a trial with an attack or a defence takes than a plain training, before any ran

Say = Callable[[str], None]
Watch = Callable[[Iterator[Step], int], Iterator[Record]]


@dataclass(frozen=True)
class Means:
    """How trials are run.

    Fields:
        jobs: the number of processes; 0 for one per core.
        device: the torch device.
        plugins: plugin files, which each process loads.
        command: the command line, for the records.
        since: when the audit's time began, on the clock of `time.monotonic`; None for now.
    """

    jobs: int = 0
    device: str = "cpu"
    plugins: tuple[str, ...] = ()
    command: str = "antivenom.audit"
    since: float | None = None


def perform(prepared: Prepared, store: Store, means: Means, say: Say, watch: Watch) -> None:
    """Run the audit and write its records. It ends when every verdict has fallen, or when the time is up.

    Args:
        prepared: what to run.
        store: where the records go, open for writing.
        means: how trials are run.
        say: told what is being done, in one line.
        watch: passes the steps on and shows progress; see `antivenom.audit.terminal.watch`.

    Raises:
        ModelError: the model cannot be trained on the clean rows.
        ScenarioError: the time does not even allow one attack.
    """
    request = prepared.request
    reserve = min(REPORT_S, REPORT_SHARE * request.seconds)
    since = time.monotonic() if means.since is None else means.since
    clock = Clock(since + request.seconds - reserve, processes_for(means.jobs, means.device))
    first = [replace(prepared.choice.groups[0], attacks=(), defences=())]
    say("training your model once on the clean rows")
    _run(_plan(prepared, first, 1), store, means, clock, watch)
    found = _first_records(_plan(prepared, first, 1), store)
    each_s = statistics.fmean(record["seconds"] for record in found)
    groups, left_out = fitted(prepared.choice.groups, clock, each_s, request.trials)
    store.append(_given(prepared, groups, left_out, found))
    room = min(clock.fitting(_DEARER * each_s), request.trials or 10**9)
    seeds = max(_LEAST, min(FIRST, room // max(1, _cells(groups))))
    say(f"one training takes {each_s:.1f} s: {_cells(groups)} pairs of attack and defence, {seeds} seeds each at first")
    _run(_plan(prepared, groups, seeds), store, means, clock, watch)


def _plan(prepared: Prepared, groups: Sequence[Group], seeds: int) -> Plan:
    request = prepared.request
    return plan_of(
        groups,
        request.name,
        deployed=request.deployed,
        limits=request.limits,
        fail_if=request.fail_if if any(group.attacks for group in groups) else {},
        timeout=request.timeout,
        first=seeds,
        trials=request.trials,
    )


def _run(plan: Plan, store: Store, means: Means, clock: Clock, watch: Watch) -> None:
    timeout = plan.timeout
    execute = executor(means.jobs, means.plugins, means.device, timeout, clock.until)
    run: Callable[[Spec], Record] = runner(means.device, timeout, str(store.path.parent / "progress"))
    plan = plan if len(plan.seeds) > 1 else replace(plan, more=None)
    for _ in watch(audit(plan, store, execute, run, means.command, clock), plan.size):
        pass


def _first_records(plan: Plan, store: Store) -> list[Record]:
    """The records of the plan's clean trainings.

    Raises:
        ModelError: one failed, or did not end in time.
    """
    known = store.trials()
    found = [known.get(key) for key in plan.jobs]
    for record in found:
        if record is None:
            raise ModelError("a first training within the time", "none that ended", "raise --time")
        if record["status"] != "ok":
            raise ModelError("a model that can be trained on the clean rows", record["error"])
    return [record for record in found if record is not None]


def _cells(groups: Sequence[Group]) -> int:
    """The number of cells of these groups, clean twins included."""
    return sum((1 + len(group.attacks)) * (1 + len(group.defences)) for group in groups)


def fitted(
    groups: Sequence[Group], clock: Clock, each_s: float, most: int | None = None
) -> tuple[tuple[Group, ...], tuple[tuple[str, str], ...]]:
    """As much of the groups as fits into the time with `_LEAST` seeds, and (what, why) for what was left out.

    `most` is the most trials that the user allows, or None. The last defences go first, then the last attacks, then whole groups from the end.

    Raises:
        ScenarioError: not even one attack fits.
    """
    room, kept = min(clock.fitting(_DEARER * each_s), most or 10**9) // _LEAST, list(groups)
    while _cells(kept) > room:
        widest = max(kept, key=lambda group: (len(group.defences), len(group.attacks)))
        place = kept.index(widest)
        if widest.defences:
            kept[place] = replace(widest, defences=widest.defences[:-1])
        elif len(widest.attacks) > 1:
            kept[place] = replace(widest, attacks=widest.attacks[:-1])
        elif len(kept) > 1:
            kept.pop()
        else:
            least = 4 * _LEAST * each_s / clock.jobs
            raise ScenarioError(
                f"time for one attack, about {least:.0f} s",
                f"{clock.left:.0f} s left",
                "raise --time, or use fewer rows",
            )
    names = {group.name: group for group in kept}
    left_out = []
    for group in groups:
        now = names.get(group.name)
        if now is None:
            left_out.append((group.name, "the time does not allow it: raise --time"))
            continue
        gone = [*group.attacks[len(now.attacks) :], *group.defences[len(now.defences) :]]
        if gone:
            listed = ", ".join(type(plugin).__name__ for plugin in gone)
            left_out.append((f"{listed} ({group.name})", "the time does not allow it: raise --time"))
    return tuple(kept), tuple(left_out)


def _given(
    prepared: Prepared, groups: Sequence[Group], left_out: Sequence[tuple[str, str]], found: Sequence[Record]
) -> Record:
    """The line "given" of records.jsonl."""
    metrics = [record["metrics"] for record in found]
    counts = [rows for _, rows in prepared.look.classes]
    return {
        "schema": SCHEMA,
        "type": "given",
        "data": prepared.look.record(),
        "model": {"name": model_name(prepared.model), "chosen": bool(prepared.why), "why": prepared.why},
        "fit_seconds": statistics.fmean(record["seconds"] for record in found),
        "accuracy": statistics.fmean(each["clean_accuracy"] for each in metrics),
        "chance": max(counts) / sum(counts),
        "budget": prepared.request.budget,
        "seconds": prepared.request.seconds,
        "tried": [
            {
                "level": group.scenario.level,
                "goal": str(group.scenario.goal),
                "attacks": [label(attack) for attack in group.attacks],
                "defences": [label(defence) for defence in group.defences],
            }
            for group in groups
        ],
        "untried": [{"what": what, "why": why} for what, why in (*left_out, *prepared.choice.untried)],
    }


def model_name(model: object) -> str:
    """A model's name for people: its path, or its class."""
    return str(model) if hasattr(model, "described") else label(model)
