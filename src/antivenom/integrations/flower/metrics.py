"""Metrics of replies: checked one by one, and made equal in their keys, which Flower's strategies require."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from flwr.app import MetricRecord

from antivenom.integrations.flower.wire import Unusable

Value = float | list[float]
_MOST_VALUES = 10_000  # in one list


def claim_of(record: MetricRecord, key: str) -> float:
    """The number of examples that a reply claims.

    Raises:
        Unusable: no such metric, or not a number above 0.
    """
    value = record.get(key)
    if not isinstance(value, (int, float)):
        raise Unusable(f"no number of examples ({key})")
    try:
        claim = float(value)
    except OverflowError:
        claim = math.inf
    if not 0 <= claim < math.inf:
        raise Unusable(f"{claim:g} examples claimed")
    return claim


def metrics_of(record: MetricRecord, key: str, most: int) -> dict[str, Value]:
    """A reply's metrics other than the claim; those that are not finite numbers are dropped.

    Raises:
        Unusable: more metrics than `most`.
    """
    if len(record) > most + 1:
        raise Unusable(f"{len(record)} metrics")
    found = dict[str, Value]()
    for name, value in record.items():
        values = value if isinstance(value, list) else [value]
        if name != key and len(values) <= _MOST_VALUES and all(_finite(each) for each in values):
            found[name] = [float(each) for each in value] if isinstance(value, list) else float(value)
    return found


def aligned(metrics: Sequence[dict[str, Value]], claims: Sequence[float]) -> list[dict[str, Value]]:
    """The same keys in every reply: those that more than half of the replies have, in the form that most of them have.

    A reply without one of them gets the weighted mean of the others, which leaves the mean over all as it is. So neither a
    further key of one client nor a missing one changes what is reported of the others.
    """
    forms = Counter((name, _length(value)) for each in metrics for name, value in each.items())
    common = {name: length for (name, length), n in forms.items() if 2 * n > len(metrics)}
    whole = [dict[str, Value]() for _ in metrics]
    for name, length in common.items():
        have = [i for i, each in enumerate(metrics) if name in each and _length(each[name]) == length]
        middle = mean([metrics[i][name] for i in have], [claims[i] for i in have])
        for i, each in enumerate(whole):
            each[name] = metrics[i][name] if i in have else middle
    return whole


def mean(values: Sequence[Value], claims: Sequence[float]) -> Value:
    """The mean of numbers, or of lists of equal length, weighted by claims."""
    total = math.fsum(claims)
    shares = [claim / total if total > 0 else 1 / len(claims) for claim in claims]
    if isinstance(values[0], list):
        columns = zip(*(value if isinstance(value, list) else [value] for value in values), strict=True)
        return [_weighted(column, shares) for column in columns]
    return _weighted([value for value in values if not isinstance(value, list)], shares)


def _weighted(values: Sequence[float], shares: Sequence[float]) -> float:
    return sum(value * share for value, share in zip(values, shares, strict=True))


def _length(value: Value) -> int | None:
    return len(value) if isinstance(value, list) else None


def _finite(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:
        return False
