"""What is searched: families of attacks, each an attack and the fields of it that vary.

The values of a family's fields are a point in the unit cube, with one coordinate per field. All fields are thereby searched
alike, whatever their units.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from antivenom.auditing.grid import label
from antivenom.core.errors import AntivenomError, PluginError, did_you_mean
from antivenom.core.protocols import Trigger, Wanted
from antivenom.core.wanted import AllToOne

Point = tuple[float, ...]  # one coordinate per field, each from 0 to 1


@dataclass(frozen=True)
class Range:
    """The numbers from low to high, to four significant digits.

    >>> Range(0.1, 10, log=True).at(0.5), Range(1, 4, whole=True).at(0.5)
    (1.0, 3)

    Fields:
        low: the smallest value, at 0 of the unit interval.
        high: the largest value, at 1.
        log: whether equal distances on the unit interval are equal factors.
        whole: whether the values are whole numbers, each of which gets an equal part of the unit interval.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        least = 0 if self.log else -math.inf
        if not least < self.low <= self.high < math.inf:
            above = ", low above 0 with log" if self.log else ""
            raise PluginError(f"a finite range with low <= high{above}", f"{self.low} to {self.high}")

    def at(self, place: float) -> float:
        """The value at a place from 0 to 1."""
        low, high = self._ends
        value = low + place * (high - low)
        value = math.exp(value) if self.log else value
        if self.whole:
            return int(min(max(math.floor(value + 0.5), self.low), self.high))
        return float(min(max(float(f"{value:.4g}"), self.low), self.high))

    def place(self, value: Any) -> float:
        """The place from 0 to 1 of a value: the nearest end for a value outside of the range, the middle for None."""
        low, high = self._ends
        if value is None or high <= low:
            return 0.5
        value = math.log(max(value, self.low)) if self.log else value
        return float(min(max((value - low) / (high - low), 0.0), 1.0))

    @property
    def _ends(self) -> tuple[float, float]:
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        return (math.log(low), math.log(high)) if self.log else (low, high)


@dataclass(frozen=True)
class Choices:
    """A few values without an order of their own; each gets an equal part of the unit interval.

    Fields:
        values: the values.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise PluginError("at least one value to choose from", "none")

    def at(self, place: float) -> Any:
        """The value at a place from 0 to 1."""
        return self.values[min(int(place * len(self.values)), len(self.values) - 1)]

    def place(self, value: Any) -> float:
        """The middle of the value's part of the unit interval; that of the first value for an unknown one."""
        index = next((i for i, known in enumerate(self.values) if known == value), 0)
        return (index + 0.5) / len(self.values)


Axis = Range | Choices


@dataclass(frozen=True)
class Aimed:
    """An attack whose attacker also chooses the aim: the trigger, and the class that it wants.

    A trial of it runs with this aim in place of the scenario's.

    Fields:
        attack: the attack.
        trigger: the trigger that is put on test inputs; None keeps the scenario's.
        wanted: the classes that the attacker wants; None keeps the scenario's.
    """

    attack: Any
    trigger: Trigger | None = None
    wanted: Wanted | None = None

    @property
    def aim(self) -> dict[str, Any]:
        """The fields of a scenario that it changes."""
        aim = {"trigger": self.trigger, "wanted": self.wanted}
        return {name: value for name, value in aim.items() if value is not None}


def label_of(attack: object) -> str:
    """An attack in words.

    >>> from antivenom.attacks import BadNets
    >>> from antivenom.triggers import Patch
    >>> label_of(Aimed(BadNets(0.01), Patch(3), AllToOne(2)))
    'BadNets(poisoned_rate=0.01) with Patch(size=3) for class 2'
    """
    if not isinstance(attack, Aimed):
        return label(attack)
    parts = [label(attack.attack)]
    if attack.trigger is not None:
        parts.append(f"with {label(attack.trigger)}")
    if attack.wanted is not None:
        wanted = attack.wanted
        parts.append(f"for class {wanted.target}" if isinstance(wanted, AllToOne) else f"for {label(wanted)}")
    return " ".join(parts)


@dataclass(frozen=True)
class Family:
    """An attack and those of its fields that are searched.

    >>> from antivenom.federated import IPM, Every
    >>> family = Family(Every(IPM()), {"rounds": Range(1, 4, whole=True), "agent.tau": Range(0.1, 10, log=True)})
    >>> family.at((1.0, 0.5))
    Every(agent=IPM(tau=1.0, knowledge=None), rounds=4, first=1, last=None)

    Fields:
        attack: the attack, an agent, or an `Aimed`; it is tried as it is, too.
        fields: where the values of each searched field lie. "agent.tau" is the field `tau` of the plugin in the field
            `agent`. They are set in this order, so that an inner plugin comes before its fields.
        settle: changes the attack after its fields are set, for example to use exactly the rows of the budget; None leaves
            it as it is.
    """

    attack: Any
    fields: Mapping[str, Axis] = field(default_factory=dict)
    settle: Callable[[Any], Any] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for path in self.fields:
            value: Any = self.attack
            for name in path.split("."):
                known = [each.name for each in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
                if name not in known:
                    raise PluginError(f"a field of {type(value).__name__}", repr(name), did_you_mean(name, known))
                value = getattr(value, name)

    @property
    def start(self) -> Point:
        """The point of the attack's own values."""
        return tuple(axis.place(_read(self.attack, path.split("."))) for path, axis in self.fields.items())

    @property
    def own(self) -> Any:
        """The attack with its own values."""
        return self.attack if self.settle is None else self.settle(self.attack)

    def at(self, point: Sequence[float]) -> Any:
        """The attack with the values at the point."""
        attack = self.attack
        for (path, axis), place in zip(self.fields.items(), point, strict=True):
            attack = _written(attack, path.split("."), axis.at(place))
        return attack if self.settle is None else self.settle(attack)

    def points(self, rng: np.random.Generator) -> Iterator[Point]:
        """Points without end that cover the cube evenly: the additive recurrence of the generalised golden ratio.

        Reference: Roberts 2018, "The unreasonable effectiveness of quasirandom sequences".
        """
        d = len(self.fields)
        ratio = 2.0
        for _ in range(60):
            ratio = (1 + ratio) ** (1 / (d + 1))  # converges to the root of x^(d+1) = x + 1
        steps = ratio ** -np.arange(1.0, d + 1)
        where = rng.random(d)
        while True:
            where = (where + steps) % 1.0
            yield tuple(where.tolist())


@dataclass(eq=False)
class Candidate:
    """One attack of a family, with what is known of its harm.

    Fields:
        family: the family.
        point: where in the family's cube it lies.
        attack: the attack.
        harms: seed -> harm; nan for a failed trial.
    """

    family: Family
    point: Point
    attack: Any
    harms: dict[int, float] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether any of its trials failed."""
        return any(map(math.isnan, self.harms.values()))

    @property
    def mean(self) -> float:
        """The mean harm over its seeds; nan if a trial failed or none was run."""
        return mean_of(self.harms.values())


def candidate(family: Family, point: Point) -> Candidate | None:
    """The attack at this point; None if the attack refuses this combination of values."""
    try:
        return Candidate(family, point, family.at(point))
    except AntivenomError:
        return None


def mean_of(values: Any) -> float:
    """The mean; nan if there are no values."""
    values = tuple(values)
    return math.fsum(values) / len(values) if values else math.nan


def _read(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = getattr(value, name)
    return value


def _written(value: Any, path: Sequence[str], new: Any) -> Any:
    """The value with the field at the end of the path replaced."""
    name, *rest = path
    return dataclasses.replace(value, **{name: _written(getattr(value, name), rest, new) if rest else new})
