"""The time of one call of an aggregation rule, interpolated between measured sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any


def interpolated(points: list[list[float]], n: int, d: int | None) -> float | None:
    """Seconds of a call with n updates of d numbers; None without d or measurements.

    The logarithm of the seconds is interpolated, or extrapolated, bilinearly in log n and log d between the four corners
    of the measured sizes.

    Args:
        points: measured [n, d, seconds].
    """
    if not points or d is None:
        return None
    at = {(int(rows), int(columns)): math.log(seconds) for rows, columns, seconds in points}
    ns, ds = sorted({rows for rows, _ in at}), sorted({columns for _, columns in at})
    across, along = _part(n, ns[0], ns[-1]), _part(d, ds[0], ds[-1])
    few, many = (at[rows, ds[0]] * (1 - along) + at[rows, ds[-1]] * along for rows in (ns[0], ns[-1]))
    return math.exp(few * (1 - across) + many * across)


def _part(value: int, low: int, high: int) -> float:
    """Where a value is between low (0) and high (1) on a logarithmic scale."""
    return math.log(value / low) / math.log(high / low)


def extrapolated(seconds: list[dict[str, Any]], n: int, d: int | None) -> Iterator[str]:
    """A caution if the seconds are extrapolated beyond the sizes that were timed."""
    sizes = [size for row in seconds for size in row["points"]]
    if d is None or not sizes:
        return
    (n_low, n_high), (d_low, d_high) = ((min(axis), max(axis)) for axis in [*zip(*sizes, strict=True)][:2])
    if not (n_low <= n <= n_high and d_low <= d <= d_high):
        yield f"seconds were measured for {n_low} to {n_high} agents and {d_low:,} to {d_high:,} parameters; these are extrapolated"
