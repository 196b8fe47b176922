"""How attacks read their numbers and their context."""

from __future__ import annotations

import math

import numpy as np

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import AttackContext, Trigger
from antivenom.data import Dataset, Poison, Rows
from antivenom.data.forms import is_frame


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


def attacker_rows(data: Dataset, context: AttackContext) -> tuple[Dataset, Dataset]:
    """(rows to train a surrogate on, rows to measure its loss on): the attacker's own if there are any, else a third."""
    if context.rows is not None:
        known, own = data, context.rows
    else:
        order = context.streams.numpy("validation").permutation(len(data))
        own, known = data[order[: len(data) // 3]], data[np.sort(order[len(data) // 3 :])]
    if len(own) == 0 or len(np.unique(known.y)) < 2:
        raise DataError(
            "training rows of two classes and rows to measure the loss on",
            f"{len(np.unique(known.y))} classes in {len(known)} rows, and {len(own)} rows",
            "give more rows",
        )
    return known, own


def mislabelled(
    rows: Dataset, number: int, context: AttackContext, label: int | None, wanted: tuple[int, ...] | None = None
) -> tuple[Dataset, np.ndarray]:
    """That many of the rows, at random, and a wrong label for each: `label`, or the one `wanted` of its class, or any.

    A row comes twice only after all eligible rows came once; fewer are the beginning of more.
    """
    c, rng = rows.num_classes, context.streams.numpy("starts")
    if label is not None and not 0 <= label < c:
        raise DataError(f"a label from 0 to {c - 1}", f"{label}", f"{rows.name} has {c} classes")
    order = rng.permutation(len(rows))
    shift = rng.integers(1, max(c, 2), size=len(rows))  # one class has no wrong one: none is eligible below
    labels = (rows.y + shift) % c if wanted is None else np.asarray(wanted)[rows.y]
    if label is not None:
        labels = np.full(len(rows), label)
    eligible = order[labels[order] != rows.y[order]]
    if not len(eligible):
        raise DataError("rows of a class that can be mislabelled", "none", "choose another label")
    chosen = np.resize(eligible, number)
    return rows[chosen], labels[chosen]


def injected(data: Dataset, x: Rows, y: np.ndarray) -> Poison:
    """`data` with rows appended, all of them poison.

    Rows of a DataFrame are appended as they are. Others (k, features) or (k, ...), or CSR, are numbers that an attack
    found: what is appended are the nearest rows that the schema allows, in the data's own form. Columns that nobody can
    write take the values of clean rows, in turn.
    """
    if not is_frame(x):
        base = None
        if not data.columns.editable.all():
            turns = np.arange(x.shape[0]) % max(len(data), 1)
            base = data[turns].x
        x = data.decoded(x, base)
    poisoned = data.extend(x, y)
    return Poison(poisoned, np.arange(len(poisoned)) >= len(data))
