"""Threat models: what an attacker may touch, wants and knows. Scenarios enforce them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar, Self

from antivenom.core import goals as metrics
from antivenom.core.errors import ThreatError, did_you_mean
from antivenom.core.goals import Metric


class Access(enum.StrEnum):
    """What the attacker may touch, from the most powerful level to the least."""

    LOGIC_CORRUPTION = "logic-corruption"
    DATA_MANIPULATION = "data-manipulation"
    DATA_INJECTION = "data-injection"
    TRANSFER_LEARNING = "transfer-learning"

    @property
    def about(self) -> str:
        """What an attacker with this access does: a predicate such as "adds rows of their own"."""
        return _ACCESS[self]


_ACCESS = {
    Access.LOGIC_CORRUPTION: "changes the training code and sees no row",
    Access.DATA_MANIPULATION: "changes rows or labels that are there",
    Access.DATA_INJECTION: "adds rows of their own",
    Access.TRANSFER_LEARNING: "hands out the pretrained model",
}


@dataclass(frozen=True)
class Level:
    """One step of the report's ladder, which groups attackers who may touch the same things.

    Fields:
        name: an access level, or a name that the scenario defines, such as "federated".
        about: what such an attacker does, a predicate such as "adds rows of their own".
        access: the access levels under which the report lists defences against it.
    """

    name: str
    about: str
    access: tuple[Access, ...]

    @classmethod
    def of(cls, access: Access) -> Level:
        """The step that stands for an access level."""
        return cls(str(access), access.about, (access,))


class Goal(str):
    """What the attacker wants: a string, the goal's name, with the metric that measures success.

    There is one object per name, and the set is open: `@goal` in a plugin file adds to it.

    >>> Goal("backdoor") is Goal.BACKDOOR, Goal.BACKDOOR == "backdoor", Goal.BACKDOOR.metric.word
    (True, True, 'ASR')

    Raises:
        ThreatError: no goal has that name; the message holds the most similar one.
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
        """Whether the attacker wants certain wrong answers of their choice, and leaves the others right."""
        return self in (Goal.TARGETED, Goal.BACKDOOR)


_GOALS: dict[str, Goal] = {}


def define_goal(name: str, metric: Metric) -> Goal:
    """Define a goal, or replace one of the same name. Plugins use the decorator `@goal`, which also registers it."""
    made = str.__new__(Goal, name)
    made.metric = metric
    _GOALS[name] = made
    return made


def goals() -> tuple[Goal, ...]:
    """Every goal defined so far, antivenom's own first."""
    return tuple(_GOALS.values())


Goal.AVAILABILITY = define_goal("availability", metrics.AVAILABILITY)
Goal.TARGETED = define_goal("targeted", metrics.TARGETED)
Goal.BACKDOOR = define_goal("backdoor", metrics.BACKDOOR)
Goal.PRIVACY = define_goal("privacy", metrics.PRIVACY)

HARMS = (Goal.AVAILABILITY, Goal.TARGETED, Goal.BACKDOOR)  # goals that change the model's answers; privacy does not


class Knowledge(enum.StrEnum):
    """What a malicious agent of a federation sees besides the global model, its own shard and its own past.

    OWN grants nothing more, OMNISCIENT the benign agents' updates of the current round.
    """

    OWN = "own"
    OMNISCIENT = "omniscient"


@dataclass(frozen=True)
class ThreatModel:
    """Access, goal and limits of one attacker. Plain strings are converted to the enumerations.

    Fields:
        access: what the attacker may touch.
        goal: what the attacker wants.
        knowledge: what malicious agents see in a federation; without effect elsewhere.
        max_poisoned_rate: share of the training rows that may be changed or added (0 to 1).

    Raises:
        ThreatError: an unknown word, or a rate outside 0 to 1.
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
            object.__setattr__(
                self, name, words[words.index(value)]
            )  # the member itself, since code compares with `is`
        if not 0 <= self.max_poisoned_rate <= 1:
            raise ThreatError("max_poisoned_rate from 0 to 1", f"{self.max_poisoned_rate}", "0.1 is one row in ten")
