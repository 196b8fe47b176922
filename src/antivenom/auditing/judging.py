"""The state of a cell from the harms of its seeds. State, success count, interval and reason come from the same numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from antivenom.auditing.evidence import ERROR, HELD_SHARE, above, below, bounds
from antivenom.auditing.results import State
from antivenom.auditing.statistics import Interval
from antivenom.core.goals import Metric, Metrics

MOST_FORESEEN = 500  # seeds; an estimate of more would say nothing


@dataclass(frozen=True)
class Harms:
    """The harm of every seed that was asked for, from 0 to 1; nan where it is not known.

    Fields:
        values: one per seed. A harm below 0, of an attack that helps, counts as 0.
        rows: by how much the harm of each seed changes if one test row gets another answer.
    """

    values: tuple[float, ...]
    rows: tuple[float, ...]

    @classmethod
    def of(cls, metric: Metric, pairs: Sequence[tuple[Metrics, Metrics] | None]) -> Harms:
        """From (metrics of a trial, metrics of its clean twin) per seed; None where one of the two did not finish."""
        found = [(math.nan, 0.0) if pair is None else (metric.value(*pair), metric.row(*pair)) for pair in pairs]
        values = tuple(min(max(value, 0.0), 1.0) if math.isfinite(value) else math.nan for value, _ in found)
        return cls(values, tuple(row if math.isfinite(row) else 0.0 for _, row in found))

    @property
    def known(self) -> tuple[float, ...]:
        """The harms that are known."""
        return tuple(value for value in self.values if not math.isnan(value))

    def hits(self, limit: float) -> int:
        """In how many seeds the harm exceeds the limit."""
        return sum(value > limit for value in self.values)

    def interval(self, error: float) -> Interval | None:
        """The mean of the known harms between bounds that each fail with a probability of at most `error`.

        For the lower bound, each measured harm may be too large by one test row, and an unknown harm is 0. For the upper
        bound it may be too small by one row, and an unknown one is 1. None if no harm is known.
        """
        known = self.known
        if not known:
            return None
        pairs = list(zip(self.values, self.rows, strict=True))
        low, high = bounds(
            [0.0 if math.isnan(v) else max(v - row, 0.0) for v, row in pairs],
            [1.0 if math.isnan(v) else min(v + row, 1.0) for v, row in pairs],
            error,
        )
        mean = sum(known) / len(known)
        return Interval(mean, min(low, mean), max(high, mean), len(known), known)

    def share_bounds(self, limit: float, error: float) -> tuple[float, float]:
        """The bounds on the share of runs in which the harm exceeds the limit; an unknown harm may be such a run."""
        least = [float(value > limit) for value in self.values]
        most = [float(math.isnan(value) or value > limit) for value in self.values]
        return bounds(least, most, error)


def error_of(cells: int) -> float:
    """The error of each bound, so that all `cells` bounds of a report together fail with a probability of at most ERROR."""
    return ERROR / max(cells, 1)


def verdict(
    harms: Harms, total: Harms, limit: float, error: float, undefended: bool, control: State | None
) -> tuple[State, str]:
    """The state of a cell with an attack, and the reason for it.

    Args:
        harms: relative to clean twins with the same defence: what the attack does.
        total: relative to clean twins without a defence: what attack and defence do together.
        limit: the harm above which the cell is breached.
        error: of each bound; see `error_of`.
        undefended: whether the cell has no defence.
        control: the state of the same attack without a defence; None if there is no such cell.
    """
    found, hits, seeds = harms.interval(error), harms.hits(limit), len(harms.values)
    if found is None:
        return (
            State.INCONCLUSIVE,
            "no seed has a known harm: the clean twins did not finish, or are no better than chance",
        )
    succeeded = f"{hits} of {found.n} seeds above the limit {limit:.0%}"
    if found.low > limit:
        return State.BREACHED, f"{succeeded}; the mean harm is above {found.low:.0%}"
    if found.n < seeds:
        unknown = f"{seeds - found.n} of {seeds} seeds"
        return (
            State.INCONCLUSIVE,
            f"{unknown} have no known harm: they failed or did not run, or their clean twin is no better than chance",
        )
    if found.high >= limit:
        return (
            State.INCONCLUSIVE,
            f"{succeeded}; the mean harm, {found.low:.0%} to {found.high:.0%}, may be on either side",
        )
    share = harms.share_bounds(limit, error)[1]
    if share > HELD_SHARE:
        return State.INCONCLUSIVE, f"{succeeded}; not excluded: that it works in up to {share:.0%} of the runs"
    both = total.interval(error)
    if both is None or both.high >= limit:
        worst = "unknown" if both is None else f"up to {both.high:.0%}"
        return State.INCONCLUSIVE, f"harm of attack and defence together, against the clean undefended model: {worst}"
    if undefended:
        return State.INCONCLUSIVE, f"the attack does not bite: {succeeded}, mean harm below {found.high:.0%}"
    if control is not State.BREACHED:
        return State.INCONCLUSIVE, "no positive control: the attack is not shown to bite without the defence"
    return State.HELD, f"{succeeded}; mean harm below {found.high:.0%}, successful runs below {share:.0%}"


def can_be_held(harms: Harms, total: Harms, limit: float, error: float, control: State | None) -> bool:
    """Whether more seeds can still show that a cell is HELD; arguments as in `verdict`.

    They cannot without a positive control, if the harm of a seed is not known, or if it is shown that attack and defence
    together do more harm than the limit, or that the attack works in more runs than HELD allows.
    """
    if control is not State.BREACHED or len(harms.known) < len(harms.values):
        return False
    both = total.interval(error)
    return both is not None and both.low <= limit and harms.share_bounds(limit, error)[0] <= HELD_SHARE


def more_seeds(harms: Harms, total: Harms, limit: float, error: float, held: bool) -> int | None:
    """About how many more seeds give a verdict: the number if the seeds so far are repeated, in their order.

    Args:
        harms, total, limit, error: as in `verdict`. All harms are known.
        held: whether the cell can be HELD.

    Returns:
        The number, or None if it is above MOST_FORESEEN.
    """

    def repeated(values: np.ndarray) -> np.ndarray:
        return np.resize(values, len(values) + MOST_FORESEEN)

    values, rows = np.array(harms.values), np.array(harms.rows)
    verdicts = [above(repeated(np.maximum(values - rows, 0.0)), limit, error)]
    if held:
        together = np.array(total.values) + np.array(total.rows)
        conditions = (
            below(repeated(np.minimum(values + rows, 1.0)), limit, error),
            below(repeated(np.minimum(together, 1.0)), limit, error),
            below(repeated((values > limit).astype(float)), HELD_SHARE, error),
        )
        verdicts.append(np.logical_and.reduce(conditions))
    given = np.flatnonzero(np.logical_or.reduce(verdicts)[len(values) :])
    return int(given[0]) + 1 if len(given) else None


def numbers(record: Mapping[str, object]) -> dict[str, float]:
    """The metrics of a record; nan for those that were not finite, which records hold as null."""
    metrics = record["metrics"]
    assert isinstance(metrics, Mapping)
    return {name: math.nan if value is None else float(value) for name, value in metrics.items()}
