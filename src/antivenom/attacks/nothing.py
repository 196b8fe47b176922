"""The absence of an attack, as a plugin."""

from __future__ import annotations

from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, goals
from antivenom.data import Dataset, Poison


@attack(access=tuple(Access), goal=goals(), cite="none: the baseline of every attack")
class NoAttack:
    """Does nothing; every scenario treats it as "no attack".

    Its results are the baseline, since even without a backdoor the success rate of a trigger is not zero. Weakness: it does
    no harm.
    """

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        return Poison.none(data)
