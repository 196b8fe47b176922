"""No attack, as a plugin."""

from __future__ import annotations

from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, goals
from antivenom.data import Dataset, Poison


@attack(access=tuple(Access), goal=goals(), cite="none: the clean twin that every attack is measured against")
class NoAttack:
    """Does nothing; every scenario takes it as "no attack".

    What it scores is the floor: a backdoor's success rate is not zero without a backdoor. Weakness: it has none to hide.
    """

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        return Poison.none(data)
