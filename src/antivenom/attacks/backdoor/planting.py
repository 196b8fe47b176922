"""Choice of the rows that carry a backdoor, and their place in the training rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import AttackContext, Trigger, Wanted
from antivenom.core.threat import Access
from antivenom.data import Dataset, Poison, Rows
from antivenom.triggers import Amplified


def rows_to_turn(data: Dataset, wanted: Wanted) -> tuple[np.ndarray, np.ndarray]:
    """(numbers of the rows for which the attacker wants another class, (n,) these classes, -1 for none)."""
    labels = wanted(data.y, data.num_classes)
    return np.flatnonzero(labels >= 0), labels


def rows_of_wanted_classes(data: Dataset, wanted: Wanted) -> np.ndarray:
    """Numbers of the rows of a class that the attacker wants for others: the rows that a clean-label attack may change."""
    classes = wanted(np.arange(data.num_classes), data.num_classes)
    return np.flatnonzero(np.isin(data.y, classes[classes >= 0]))


def drawn(eligible: np.ndarray, number: int, context: AttackContext, stream: str = "rows") -> np.ndarray:
    """That many of the eligible rows, in random order. A smaller number gives a prefix of a larger one.

    An attacker who adds copies may use a row again, but only after all others. One who changes rows uses each once.

    Raises:
        DataError: no eligible row, or fewer than are to be changed.
    """
    order = context.streams.numpy(stream).permutation(eligible)
    if not len(order):
        raise DataError("training rows that the attack can use", "none of these classes", "choose another target")
    if context.threat.access is Access.DATA_MANIPULATION and number > len(order):
        raise DataError(f"{number} training rows to change", f"{len(order)} of the classes that the attack can use")
    return np.resize(order, number)


def perturbed(data: Dataset, rows: np.ndarray, x: np.ndarray, context: AttackContext) -> Poison:
    """The data with these rows changed to the numbers x (k, ...), as far as the schema allows, and with their own labels."""
    return planted(data, rows, data.decoded(x, data[rows].x), data.y[rows], context)


def weakened(trigger: Trigger, strength: float) -> Trigger:
    """The trigger that changes rows by this share of what it changes them by at test time; 1 is the trigger itself."""
    return trigger if strength == 1 else Amplified(trigger, strength)


def check_strength(strength: float, attack: object) -> None:
    """Refuses a strength that is not a finite number above 0."""
    if not 0 < strength < float("inf"):
        raise PluginError(
            f"a finite {type(attack).__name__}.strength above 0", f"{strength}", "1 trains with the trigger of the test"
        )


def planted(data: Dataset, rows: np.ndarray, x: Rows, y: np.ndarray, context: AttackContext) -> Poison:
    """The data with poison made of these rows: appended, or in their place if the attacker may change rows.

    Args:
        data: the clean rows.
        rows: (k,) numbers of the rows from which the poison was made.
        x: (k, ...) the poisoned rows.
        y: (k,) their labels.
        context: the attacker's context; its access level decides.
    """
    n, extended = len(data), data.extend(x, y)
    if context.threat.access is not Access.DATA_MANIPULATION:
        return Poison(extended, np.arange(len(extended)) >= n, wanted=context.wanted)
    place = np.arange(n)
    place[rows] = n + np.arange(len(rows))
    return Poison(replace(extended[place], groups=data.groups), place >= n, wanted=context.wanted)
