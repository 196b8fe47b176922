"""Who the attacker is: what may be touched, what is wanted, what is known. Scenarios enforce it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from antivenom.core.errors import ThreatError, did_you_mean


class Access(enum.StrEnum):
    """What the attacker may touch, weakest last."""

    LOGIC_CORRUPTION = "logic-corruption"
    DATA_MANIPULATION = "data-manipulation"
    DATA_INJECTION = "data-injection"
    TRANSFER_LEARNING = "transfer-learning"


class Goal(enum.StrEnum):
    """What the attacker wants."""

    AVAILABILITY = "availability"
    TARGETED = "targeted"
    BACKDOOR = "backdoor"
    PRIVACY = "privacy"

    @property
    def is_integrity(self) -> bool:
        return self in (Goal.TARGETED, Goal.BACKDOOR)


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
        for name, words in (("access", Access), ("goal", Goal), ("knowledge", Knowledge)):
            value = getattr(self, name)
            if value not in list(words):
                raise ThreatError(f"a threat model's {name}", repr(value), did_you_mean(str(value), map(str, words)))
            object.__setattr__(self, name, words(value))  # a plain string would pass no `is` below
        if not 0 <= self.max_poisoned_rate <= 1:
            raise ThreatError("max_poisoned_rate from 0 to 1", f"{self.max_poisoned_rate}", "0.1 grants a tenth")
