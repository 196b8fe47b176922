"""How attacks read their numbers and their context."""

from __future__ import annotations

import math

from antivenom.errors import NotApplicable, PluginError
from antivenom.protocols import AttackContext, Trigger


def check_share(value: float, name: str) -> None:
    """Refuse what is not a share from 0 to 1."""
    if not 0 <= value <= 1:
        raise PluginError(f"{name} from 0 to 1", f"{value}", "0.1 means a tenth")


def count(share: float, rows: int) -> int:
    """That share of the rows, rounded down as the threat model's budget is."""
    return math.floor(share * rows + 1e-9)


def wanted(context: AttackContext, attack: object) -> tuple[int, Trigger]:
    """The target class and the trigger of a backdoor.

    Raises:
        NotApplicable: the context names none.
    """
    if context.target is None or context.trigger is None:
        raise NotApplicable(
            f"a target class and a trigger for {type(attack).__name__}", "none", "set the scenario's goal to backdoor"
        )
    return context.target, context.trigger
