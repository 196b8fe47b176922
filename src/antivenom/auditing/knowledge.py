"""What the attacker of a trial knew, in words that are derived from the trial."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from antivenom.auditing.grid import label
from antivenom.core.protocols import Scenario, Tells
from antivenom.core.registry import registered


def knowledge(scenario: Scenario, attack: object, defence: object) -> str:
    """The attacker's knowledge, such as "the training rows; not the model, not the defence".

    The scenario states what it shows to the attack. The attack knows the defence if one of its fields holds an equal
    defence; another defence in a field is reported as knowledge of how that one works.
    """
    if attack is None:
        return "nothing: there is no attacker"
    told = scenario.known_to(attack) if isinstance(scenario, Tells) else None
    shown = list(told.shown) if told is not None else ["what the scenario shows, which is not stated"]
    withheld = list(told.withheld) if told is not None else []
    given = list(_defences(attack))
    if defence is not None and any(known == defence for _, known in given):
        field = next(name for name, known in given if known == defence)
        shown.append(f"the defence (its field `{field}`)")
    else:
        shown += [f"how {label(known)} works (its field `{field}`)" for field, known in given]
        withheld.append("the defence" if defence is not None or not given else "that there is no defence")
    return ", ".join(shown) + "; " + ", ".join(f"not {part}" for part in withheld) if withheld else ", ".join(shown)


def _defences(attack: Any) -> Iterator[tuple[str, Any]]:
    """(field, defence) for every defence in the fields of an attack, and of the plugins in its fields."""
    for field in dataclasses.fields(attack):
        value = getattr(attack, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            entry = registered(type(part)) if dataclasses.is_dataclass(part) else None
            if entry is not None and entry.kind.is_defence:
                yield field.name, part
            elif entry is not None:
                yield from _defences(part)
