"""Who the attacker is: what may be touched, what is wanted, what is known. Scenarios enforce it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar, Self

from antivenom.core import goals as metrics
from antivenom.core.errors import ThreatError, did_you_mean
from antivenom.core.goals import Metric


class Access(enum.StrEnum):
    """What the attacker may touch, weakest last."""

    LOGIC_CORRUPTION = "logic-corruption"
    DATA_MANIPULATION = "data-manipulation"
    DATA_INJECTION = "data-injection"
    TRANSFER_LEARNING = "transfer-learning"

    @property
    def about(self) -> str:
        """What an attacker with this access does, as a clause."""
        return _ACCESS[self]


_ACCESS = {
    Access.LOGIC_CORRUPTION: "changes the training code and sees no row",
    Access.DATA_MANIPULATION: "changes rows or labels that are there",
    Access.DATA_INJECTION: "adds rows of their own",
    Access.TRANSFER_LEARNING: "hands out the pretrained model",
}


@dataclass(frozen=True)
class Level:
    """One step of the report's ladder: attackers who may touch the same things are compared with each other.

    Fields:
        name: an access level, or a word of the scenario's own, such as "federated".
        about: what such an attacker does, as a clause.
        access: the access levels that defences against it are listed under.
    """

    name: str
    about: str
    access: tuple[Access, ...]

    @classmethod
    def of(cls, access: Access) -> Level:
        """The step of an access level itself."""
        return cls(str(access), access.about, (access,))


class Goal(str):
    """What the attacker wants: a name, which compares as a string, and the metric that measures success at it.

    The set is open: `@goal` in a plugin file adds one. `Goal("backdoor")` is Goal.BACKDOOR itself.

    Raises:
        ThreatError: no goal of that name; with the nearest right one.
    """

    metric: Metric
    AVAILABILITY: ClassVar[Goal]
    TARGETED: ClassVar[Goal]
    BACKDOOR: ClassVar[Goal]
    PRIVACY: ClassVar[Goal]

    def __new__(cls, name: str) -> Self:
        known = _GOALS.get(name)
        if known is None:
            raise ThreatError("a goal", repr(name), did_you_mean(str(name), _GOALS))
        return known  # type: ignore[return-value]

    def __reduce__(self) -> tuple[type[Goal], tuple[str]]:
        return Goal, (str(self),)

    @property
    def is_integrity(self) -> bool:
        """Whether the attacker wants wrong answers of their choice, and the others right."""
        return self in (Goal.TARGETED, Goal.BACKDOOR)


_GOALS: dict[str, Goal] = {}


def define_goal(name: str, metric: Metric) -> Goal:
    """Make a goal known, or replace its metric. Plugins use the decorator `@goal`, which also registers it."""
    made = str.__new__(Goal, name)
    made.metric = metric
    _GOALS[name] = made
    return made


def goals() -> tuple[Goal, ...]:
    """Every goal that is known now, our own first."""
    return tuple(_GOALS.values())


Goal.AVAILABILITY = define_goal("availability", metrics.AVAILABILITY)
Goal.TARGETED = define_goal("targeted", metrics.TARGETED)
Goal.BACKDOOR = define_goal("backdoor", metrics.BACKDOOR)
Goal.PRIVACY = define_goal("privacy", metrics.PRIVACY)

HARMS = (Goal.AVAILABILITY, Goal.TARGETED, Goal.BACKDOOR)  # what poison does to answers; the other goal is to read


class Knowledge(enum.StrEnum):
    """What a malicious agent of a federation sees besides the global model, its own shard and its own past."""

    OWN = "own"
    OMNISCIENT = "omniscient"


@dataclass(frozen=True)
class ThreatModel:
    """Access, goal and limits of one attacker.

    Fields:
        access: what may be touched.
        goal: what is wanted.
        knowledge: OMNISCIENT also sees this round's benign updates.
        max_poisoned_rate: share of the training rows that may be changed or added (0 to 1).
    """

    access: Access
    goal: Goal
    knowledge: Knowledge = Knowledge.OWN
    max_poisoned_rate: float = 1.0

    def __post_init__(self) -> None:
        for name, words in (("access", list(Access)), ("goal", goals()), ("knowledge", list(Knowledge))):
            value = getattr(self, name)
            if value not in words:
                raise ThreatError(f"a threat model's {name}", repr(value), did_you_mean(str(value), map(str, words)))
            object.__setattr__(self, name, words[words.index(value)])  # a plain string would pass no `is` below
        if not 0 <= self.max_poisoned_rate <= 1:
            raise ThreatError("max_poisoned_rate from 0 to 1", f"{self.max_poisoned_rate}", "0.1 grants a tenth")
