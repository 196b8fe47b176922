"""The limits that a defence sets to the length of an update, which an attacker who knows the defence stays just below."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from antivenom.federated.aggregators import FLAME, LASA, CenteredClipping, ClippedClustering, DeepSight, SignGuard
from antivenom.federated.detectors import NormBound
from antivenom.federated.reducers import Clip, WeakDP


@dataclass(frozen=True)
class Limit:
    """The largest length of an update that a defence neither drops nor shortens.

    Fields:
        length: in the L2 unit of an update, or, if `of_median`, as a multiple of the round's median length.
        of_median: whether it is such a multiple.
    """

    length: float
    of_median: bool = False


_LIMITS: dict[type, Callable[[Any], Limit]] = {
    Clip: lambda rule: Limit(rule.bound),
    WeakDP: lambda rule: Limit(rule.bound),
    CenteredClipping: lambda rule: Limit(rule.tau),  # about the last aggregate, which is zero at first
    NormBound: lambda rule: Limit(rule.factor, of_median=True) if rule.bound is None else Limit(rule.bound),
    SignGuard: lambda rule: Limit(rule.upper, of_median=True),
    FLAME: lambda rule: Limit(1.0, of_median=True),
    ClippedClustering: lambda rule: Limit(1.0, of_median=True),
    DeepSight: lambda rule: Limit(1.0, of_median=True),
    LASA: lambda rule: Limit(1.0, of_median=True),
}


def limits_of(defence: object) -> list[Limit]:
    """The limits of a defence and of all its parts, such as the reducers of a chain; of each kind only the smallest."""
    found = [_LIMITS[type(part)](part) for part in _parts(defence) if type(part) in _LIMITS]
    fixed = sorted((limit for limit in found if not limit.of_median), key=lambda limit: limit.length)
    of_median = sorted((limit for limit in found if limit.of_median), key=lambda limit: limit.length)
    return [*fixed[:1], *of_median[:1]]


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, tuple):
        for each in value:
            yield from _parts(each)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield value
        for field in dataclasses.fields(value):
            yield from _parts(getattr(value, field.name))
