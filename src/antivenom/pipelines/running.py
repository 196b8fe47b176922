"""Runs an audit of a user's pipeline within its time: a first training, then attacks where the verdict is open.

The records of all trials, and what was found before them, go into one folder. An audit that was killed goes on from there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from antivenom.auditing.allocation import Step
from antivenom.auditing.clock import Clock
from antivenom.auditing.counts import Counts
from antivenom.auditing.executors import TIMEOUT, Spec, executor, runner
from antivenom.auditing.grid import label
from antivenom.auditing.plan import Plan
from antivenom.auditing.records import Store
from antivenom.auditing.run import audit
from antivenom.auditing.summary import summary_of
from antivenom.auditing.trial import SCHEMA, Record
from antivenom.auditing.workers import processes_for
from antivenom.core.errors import AntivenomError, ModelError, ScenarioError, StoreError
from antivenom.core.protocols import Source
from antivenom.pipelines.choosing import Group
from antivenom.pipelines.examining import examined
from antivenom.pipelines.flooring import certify
from antivenom.pipelines.planning import CONFIRM, FIRST, plan_of
from antivenom.pipelines.request import Prepared
from antivenom.pipelines.searching import Searcher
from antivenom.search import Attempt

REPORT_S, REPORT_SHARE = 4.0, 0.05  # time kept for the report: at most so many seconds, and this share of the whole
_LEAST = 4  # seeds that every cell gets: fewer decide nothing
_GROUPS = 2  # that are kept rather than a defence
_DEARER, _START_S = 1.3, 0.3  # a trial takes so many times as long as a plain training, and so many seconds to start
_UNKNOWN_S = 1.0  # a training, before any

SUSPECTS = 0.1  # of the time: for the search of rows that were poisoned already
BEFORE = 0.5  # of the time that is left after the searches: before the attacker who knows the best defence searches


class Shows(Protocol):
    """Shows what is being done; `antivenom.pipelines.saying.Progressing` does it in a terminal."""

    def say(self, line: str, /) -> None:
        """Begin a step."""

    def attempt(self, done: int, most: int, attempt: Attempt, /) -> None:
        """Show a trial of a search."""

    def watch(self, steps: Iterator[Step], total: int, /) -> Iterator[Record]:
        """Pass the records of trials on, and show each."""


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


def perform(prepared: Prepared, store: Store, means: Means, shows: Shows) -> None:
    """Run the audit and write its records. It ends when every verdict has fallen, or when the time is up.

    1. The model is trained once on the clean rows, which shows how much fits into the time.
    2. The given rows are examined: were some poisoned already?
    3. At each access level the worst attack is searched. Seeds of searches are not used for verdicts.
    4. Attacks and defences are run, and answers are certified. Then it is searched how few rows suffice, and the attacker who
       knows the best defence of a level searches again.
    5. All of it gets more seeds where the verdict is open, until the time is up.

    Args:
        prepared: what to run.
        store: where the records go, open for writing.
        means: how trials are run.
        shows: shows progress.

    Raises:
        ModelError: the model cannot be trained on the clean rows.
        ScenarioError: the time does not even allow one attack.
    """
    request = prepared.request
    reserve = min(REPORT_S, REPORT_SHARE * request.seconds)
    since = time.monotonic() if means.since is None else means.since
    clock = Clock(since + request.seconds - reserve, processes_for(means.jobs, means.device), _UNKNOWN_S)
    first = _plan(prepared, [replace(prepared.choice.groups[0], attacks=(), defences=())], 1)
    shows.say("training your model once on the clean rows")
    _run(first, store, means, clock, shows)
    found = _first_records(first, store)
    clock.each_s = _DEARER * statistics.fmean(record["seconds"] for record in found) + _START_S
    groups, left_out = fitted(prepared.choice.groups, clock, request.trials)
    store.append(_given(prepared, groups, left_out, found))
    shows.say("looking for rows that were poisoned already")
    _examine(request.data, store, SUSPECTS * request.seconds, clock, shows)
    searcher = Searcher(
        store, clock, means.device, means.plugins, request.timeout or TIMEOUT, shows.say, shows.attempt, request.trials
    )
    if request.search:
        groups = searcher.worst(groups)
        clock.each_s = statistics.fmean(searcher.seconds or [clock.each_s]) + _START_S
        groups, more_left_out = fitted(groups, clock, request.trials)
        left_out += more_left_out
    shows.say(f"attacks and defences: {_cells(groups)} pairs, about {clock.pace:.1f} s each")
    knows = request.search and any(group.defences for group in groups)
    part = clock.part(BEFORE) if knows else clock
    plan = _plan(prepared, groups, _seeds(groups, part, request.trials), CONFIRM * (not knows))
    if knows:  # otherwise the run takes all the time that is left
        _run(plan, store, means, part, shows)
    certify(
        prepared,
        store,
        statistics.fmean(record["seconds"] for record in found),
        statistics.fmean(record["metrics"]["clean_accuracy"] for record in found),
        clock.until,
        (means.jobs, means.plugins, means.device),
        shows.say,
    )
    if not knows:
        _run(plan, store, means, clock, shows)
    else:
        clock.each_s = part.pace * part.jobs
        searcher.smallest(groups, summary_of(store))
        groups += searcher.knowing(groups, summary_of(store))
        shows.say("more seeds where the verdict is open")
        _run(_plan(prepared, groups, len(plan.seeds)), store, means, clock, shows)
    store.append(_given(prepared, groups, left_out, found))


def _examine(data: Source, store: Store, seconds: float, clock: Clock, shows: Shows) -> None:
    """Write down which of the given rows look mislabelled. Rows for which that cannot be said are no error."""
    try:
        found = examined(data, seconds, clock.until)
    except AntivenomError as error:
        shows.say(f"no suspects among the rows can be told: {error}")
        return
    store.append({"schema": SCHEMA, **found})


def _seeds(groups: Sequence[Group], clock: Clock, most: int | None) -> int:
    """How many seeds every pair gets at first."""
    room = min(clock.room, most or clock.room)
    return max(_LEAST, min(FIRST, room // max(1, _cells(groups))))


def _plan(prepared: Prepared, groups: Sequence[Group], seeds: int, confirm: int = CONFIRM) -> Plan:
    request = prepared.request
    if not any(group.attacks for group in groups):
        request = replace(request, fail_if={})
    return plan_of(groups, request, seeds, confirm)


def _run(plan: Plan, store: Store, means: Means, clock: Clock, shows: Shows) -> None:
    timeout = plan.timeout
    execute = executor(means.jobs, means.plugins, means.device, timeout, clock.until)
    run: Callable[[Spec], Record] = runner(means.device, timeout, str(store.path.parent / "progress"))
    plan = plan if len(plan.seeds) > 1 else replace(plan, more=None)
    steps = audit(plan, store, execute, run, means.command, clock, _reached(plan, store))
    for _ in shows.watch(steps, plan.size):
        pass


def _reached(plan: Plan, store: Store) -> Counts:
    """The plan's counts, with the seeds that its cells had in the last plan on disk: with another, they would be lost."""
    first = plan.first
    try:
        before = {(cell["group"], cell["attack"], cell["defence"]): len(cell["keys"]) for cell in store.plan()["cells"]}
    except StoreError:  # the first plan
        return first
    most = len(plan.seeds) if plan.more is None else plan.more.most
    names = [(cell.group, label(cell.attack), label(cell.defence)) for cell in plan.cells]
    seeds = [min(max(own, before.get(name, 0)), most) for own, name in zip(first.seeds, names, strict=True)]
    return replace(first, seeds=tuple(seeds))


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
            raise ModelError("a model that can be trained on the clean rows", _reason(str(record["error"])))
    return [record for record in found if record is not None]


def _reason(error: str) -> str:
    """A record's error, as what another message found instead."""
    found = error.removeprefix("expected a record, got ")
    return f"an error: {found}" if found.startswith("expected ") else found


def _cells(groups: Sequence[Group]) -> int:
    """The number of cells of these groups, clean twins included."""
    return sum((1 + len(group.attacks)) * (1 + len(group.defences)) for group in groups)


def fitted(
    groups: Sequence[Group], clock: Clock, most: int | None = None
) -> tuple[tuple[Group, ...], tuple[tuple[str, str], ...]]:
    """As much of the groups as fits into the time with `_LEAST` seeds, and (what, why) for what was left out.

    `most` is the most trials that the user allows, or None. Second defences go first, then second attacks, then groups from the
    end down to `_GROUPS`, then the last defences.

    Raises:
        ScenarioError: not even one attack fits.
    """
    room, kept = min(clock.room, most or clock.room) // _LEAST, list(groups)
    while _cells(kept) > room:
        dearest = max(kept, key=lambda group: (len(group.defences), len(group.attacks)))
        fullest = max(kept, key=lambda group: len(group.attacks))
        if len(dearest.defences) > 1:
            kept[kept.index(dearest)] = replace(dearest, defences=dearest.defences[:-1])
        elif len(fullest.attacks) > 1:
            kept[kept.index(fullest)] = replace(fullest, attacks=fullest.attacks[:-1])
        elif len(kept) > _GROUPS:
            kept.pop()
        elif dearest.defences:
            kept[kept.index(dearest)] = replace(dearest, defences=())
        elif len(kept) > 1:
            kept.pop()
        else:
            least = 4 * _LEAST * clock.pace
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
