"""Compare two audits: what got worse, what got better, and what was not measured any more.

Pairs of attack and defence are matched by access level, goal, attack, defence and budget. Harms are compared within the seeds
that both audits ran, so that the choice of the seeds cancels out. A difference counts as a change only if it is shown that the
mean harm differs, or that the harm differs in the same direction in more than half of all seeds. The probability that any pair
of a comparison is wrongly called worse is at most 5 %, and so is that for better. The bounds are those of
`antivenom.auditing.evidence`, so that seeds may have been added until a verdict was reached.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from antivenom.auditing.evidence import ERROR, above
from antivenom.auditing.judging import Harms, numbers
from antivenom.auditing.paired import Change, Seeds, judged
from antivenom.auditing.records import FILENAME, Store
from antivenom.auditing.results import CellResult, State, Summary
from antivenom.auditing.statistics import Interval
from antivenom.auditing.summary import summary_of
from antivenom.auditing.trial import Record, plain
from antivenom.core.garbage import uncollected

Source = str | os.PathLike[str] | Summary
SAME = "the same trials"


@dataclass(frozen=True)
class CellChange:
    """One pair of attack and defence in two audits.

    Fields:
        level, goal, attack, defence, budget: what the pair is matched by.
        group: the scenario's name in the later audit that has the pair.
        deployed: whether the defence is deployed in that audit.
        change: what happened.
        states: what the evidence said before and after; None where there is no such pair.
        before, after: the mean harm, over the shared seeds if there are any, or else over all; nan if it is not known.
        difference: after minus before, with its interval; `n` is the number of shared seeds. None if one is not known.
        reason: why the change is called so.
    """

    level: str
    goal: str
    attack: str
    defence: str
    budget: str
    group: str
    deployed: bool
    change: Change
    states: tuple[State | None, State | None]
    before: float
    after: float
    difference: Interval | None
    reason: str

    def record(self) -> Record:
        """The values in plain JSON."""
        found = self.difference
        values = {
            name: getattr(self, name) for name in ("level", "goal", "attack", "defence", "budget", "group", "deployed")
        }
        values |= {"change": str(self.change), "states": [state and str(state) for state in self.states]}
        values |= {"before": self.before, "after": self.after, "reason": self.reason}
        values["difference"] = found and {"mean": found.mean, "low": found.low, "high": found.high, "seeds": found.n}
        return plain(values)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Comparison:
    """Two audits compared.

    Fields:
        before, after: the names of the audits.
        cells: every pair that either audit measured, the worst change first.
        notes: what else differs between the audits, and what limits the comparison.
        exit_code: 0 nothing is shown to be worse, 1 something is, 2 the audits have nothing in common, or the later one is
            incomplete.
        exit_reason: one sentence that explains the exit code.
    """

    before: str
    after: str
    cells: tuple[CellChange, ...]
    notes: tuple[str, ...]
    exit_code: int
    exit_reason: str

    def of(self, *changes: Change) -> tuple[CellChange, ...]:
        """The pairs with one of these changes."""
        return tuple(cell for cell in self.cells if cell.change in changes)

    @property
    def counts(self) -> dict[str, int]:
        """The number of pairs with each change."""
        return {str(change): len(self.of(change)) for change in Change}

    def record(self) -> Record:
        """The values in plain JSON."""
        return {
            "before": self.before,
            "after": self.after,
            "counts": self.counts,
            "cells": [cell.record() for cell in self.cells],
            "notes": list(self.notes),
            "exit_code": self.exit_code,
            "exit_reason": self.exit_reason,
        }

    def __str__(self) -> str:
        from antivenom.auditing.changes import text_of

        return text_of(self)

    def _repr_html_(self) -> str:
        from antivenom.auditing.changes import html_of

        return html_of(self)


def compare(before: Source, after: Source, tolerance: float = 0.0) -> Comparison:
    """What changed between two audits.

    Args:
        before: the folder of the earlier audit, its records.jsonl, or its summary.
        after: the same of the later audit.
        tolerance: the additional mean harm (0 to 1) up to which nothing is called worse.

    Raises:
        StoreError: a folder holds no audit.
    """
    with uncollected():
        old, new = _summary(before), _summary(after)
    pairs = _matched(_measurable(old), _measurable(new))
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    compared = sum(a.harm is not None and b.harm is not None and not _are_same_trials(a, b) for a, b in both)
    error = ERROR / max(compared, 1)
    cells = [_change(a, b, (old, new), error, tolerance) for a, b in pairs]
    measured = sorted((cell for cell in cells if cell is not None), key=_order)
    code, reason = _exit(measured, new)
    notes = _notes(both, old, new) + _reach(measured, error)
    return Comparison(old.plan["name"], new.plan["name"], tuple(measured), tuple(notes), code, reason)


def with_baseline(summary: Summary, comparison: Comparison | None) -> Summary:
    """The summary of the later audit with an exit code that takes account of the comparison with an earlier one.

    Something worse gives 1. If nothing else is wrong with the audit, a comparison that is incomplete gives 2.
    """
    if comparison is None or summary.exit_code == 1 or comparison.exit_code == 0:
        return summary
    if comparison.exit_code == 1 or summary.exit_code == 0:
        reason = f"compared with the baseline: {comparison.exit_reason}"
        return replace(summary, exit_code=comparison.exit_code, exit_reason=reason)
    return summary


def _summary(source: Source) -> Summary:
    if isinstance(source, Summary):
        return source
    path = Path(source)
    store = Store(path.parent if path.is_file() else path)
    if path.is_file() and path.name != FILENAME:
        store.path = path
    return summary_of(store)


def _measurable(summary: Summary) -> list[CellResult]:
    return [cell for cell in summary.attacks if cell.state is not State.NOT_APPLICABLE]


def _key(cell: CellResult) -> tuple[str, ...]:
    most = cell.scenario.get("max_poisoned_rate", 1.0)
    budget = cell.budget or ("" if most == 1.0 else f"at most {most} of the rows")
    return cell.level, cell.goal, cell.attack, cell.defence, budget


def _matched(old: Sequence[CellResult], new: Sequence[CellResult]) -> list[tuple[CellResult | None, CellResult | None]]:
    """Pairs of (cell before, cell after); None where one audit lacks it.

    The scenario's name distinguishes cells only where several of an audit have the same key, because it may have changed.
    """
    several = {key for cells in (old, new) for key, count in Counter(map(_key, cells)).items() if count > 1}

    def named(cells: Sequence[CellResult]) -> dict[tuple[str, ...], CellResult]:
        return {(*_key(cell), cell.group if _key(cell) in several else ""): cell for cell in cells}

    earlier, later = named(old), named(new)
    return [(earlier.get(key), later.get(key)) for key in dict.fromkeys((*later, *earlier))]


def _are_same_trials(a: CellResult, b: CellResult) -> bool:
    """Whether both cells rest on the same trials, whose results are equal; one of them may have more of them."""
    both, fewer = {*a.keys} & {*b.keys}, min(len(a.keys), len(b.keys))
    return len(both) == fewer and (a.finished, b.finished) == (a.planned, b.planned)


def _change(
    a: CellResult | None,
    b: CellResult | None,
    audits: tuple[Summary, Summary],
    error: float,
    tolerance: float,
) -> CellChange | None:
    """What happened to a pair; None if neither audit measured it."""
    cell = b or a
    assert cell is not None
    states = (None if a is None else a.state, None if b is None else b.state)
    known = (a is not None and a.harm is not None, b is not None and b.harm is not None)
    level, goal, attack, defence, budget = _key(cell)
    place = (level, goal, attack, defence, budget, cell.group, cell.deployed)
    if not any(known):
        return None
    if a is None or b is None or not all(known):
        mean = [each.harm.mean if each is not None and each.harm is not None else math.nan for each in (a, b)]
        change = Change.NEW if known[1] else Change.GONE
        other = a if known[1] else b
        reason = "not part of the other audit" if other is None else f"{other.state}: {other.reason}"
        return CellChange(*place, change, states, mean[0], mean[1], None, reason)
    if _are_same_trials(a, b):
        harm = min((a, b), key=lambda each: each.planned).harm
        assert harm is not None
        found = Interval(0.0, 0.0, 0.0, harm.n, (0.0,) * harm.n)
        change, reason, first, then = Change.UNCHANGED, SAME, harm.mean, harm.mean
    else:
        change, reason, (first, then), found = judged(_by_seed(a, audits[0]), _by_seed(b, audits[1]), error, tolerance)
        if audits[0].plan["limits"] == audits[1].plan["limits"] and {*states} == {State.HELD, State.BREACHED}:
            change = Change.WORSE if b.state is State.BREACHED else Change.BETTER
            reason = f"{a.state} before, {b.state} now"
    if change is Change.UNCHANGED and b.deployed and a.state is State.HELD and b.state is not State.HELD:
        change, reason = Change.OPEN, f"{a.state} before, {b.state} now: {b.reason}"
    return CellChange(*place, change, states, first, then, found, reason)


def _by_seed(cell: CellResult, summary: Summary) -> Seeds:
    order = [*summary.plan["seeds"][: cell.planned - cell.fresh], *summary.plan.get("fresh", ())[: cell.fresh]]
    twin = next(c for c in summary.cells if c.is_clean_twin and (c.group, c.defence) == (cell.group, cell.defence))
    own, clean = ({record["spec"]["seed"]: numbers(record) for record in c.records} for c in (cell, twin))
    pairs = [(own[seed], clean[seed]) if seed in own and seed in clean else None for seed in order]
    return Seeds(Harms.of(cell.metric, pairs), {seed: place for place, seed in enumerate(order)})


def _order(cell: CellChange) -> tuple[int, bool, float]:
    size = abs(cell.difference.mean) if cell.difference is not None else 0.0
    return list(Change).index(cell.change), not cell.deployed, -size


def _exit(cells: Sequence[CellChange], new: Summary) -> tuple[int, str]:
    worse = [cell for cell in cells if cell.change is Change.WORSE]
    gone = [cell for cell in cells if cell.change in (Change.GONE, Change.OPEN)]
    compared = [cell for cell in cells if cell.change not in (Change.NEW, Change.GONE)]
    if worse:
        return 1, f"{len(worse)} of {len(compared)} pairs of attack and defence got worse"
    if not compared:
        return 2, "the audits have no measured pair of attack and defence in common"
    if gone:
        return (
            2,
            f"{len(gone)} of {len(compared) + len(gone)} pairs are no longer measured or decided: {gone[0].reason}",
        )
    missing = new.trials["missing"]
    if missing:
        return 2, f"the later audit is not complete: {missing} of {new.trials['planned']} trials are missing"
    return 0, f"none of {len(compared)} pairs of attack and defence is shown to be worse"


def _notes(both: Sequence[tuple[CellResult, CellResult]], old: Summary, new: Summary) -> list[str]:
    """What differs between the audits besides their results, and may be the cause of a change."""
    fields = dict.fromkeys(
        name for a, b in both for name in (*a.scenario, *b.scenario) if a.scenario.get(name) != b.scenario.get(name)
    )
    found = [f"the scenarios differ in: {', '.join(fields)}"] if fields else []
    for name, said in (
        ("data", "the bytes of the data"),
        ("code", "code that is not antivenom's"),
        ("version", "antivenom itself"),
    ):
        sides = [[_text(r.get(name)) for cell in side for r in cell.records] for side in zip(*both, strict=True)]
        if len(sides) == 2 and all(sides) and {*sides[0]} != {*sides[1]}:
            found.append(f"{said} changed")
    if old.plan["limits"] != new.plan["limits"]:
        found.append("the limits differ, so that verdicts were compared by their harms alone")
    return found


def _text(value: Any) -> str:
    return repr(sorted(value.items())) if isinstance(value, Mapping) else repr(value)


def _reach(cells: Sequence[CellChange], error: float) -> list[str]:
    """A note if the shared seeds are too few to show any change by themselves."""
    shared = [cell.difference.n for cell in cells if cell.difference is not None and cell.reason != SAME]
    needed = int(above(np.ones(500), 0.5, error / 2).argmax()) + 1
    if not shared or max(shared) >= needed:
        return []
    most = max(shared)
    return [
        f"{most} shared seed{'s' * (most != 1)} can show hardly any change of {len(shared)} pairs: {needed} or more can"
    ]
