"""Validation of the fields of attacks, and access to their context."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import AttackContext, Trigger, Wanted
from antivenom.data import Dataset, Poison, Rows
from antivenom.data.forms import is_frame


def check_share(value: float, name: str) -> None:
    """Refuses a number that is not a share from 0 to 1."""
    if not 0 <= value <= 1:
        raise PluginError(f"{name} from 0 to 1", f"{value}", "0.1 means a tenth")


def count(share: float, rows: int) -> int:
    """The number of rows in a share, rounded down like the budget of the threat model."""
    return math.floor(share * rows + 1e-9)


def backdoor(context: AttackContext, attack: object) -> tuple[Wanted, Trigger]:
    """The classes wanted and the trigger of a backdoor.

    Raises:
        NotApplicable: the context has no target class or no trigger.
    """
    if context.wanted is None or context.trigger is None:
        raise NotApplicable(
            f"a target class and a trigger for {type(attack).__name__}", "none", "set the scenario's goal to backdoor"
        )
    return context.wanted, context.trigger


def labels_with_trigger(wanted: Wanted, y: np.ndarray, num_classes: int) -> np.ndarray:
    """(m,) labels for triggered rows of true classes y (m,): the wanted class, or the true one if no class is wanted."""
    found = wanted(y, num_classes)
    return np.where(found < 0, y, found)


def wanted_labels(wanted: Wanted, y: Tensor, num_classes: int) -> Tensor:
    """(m,) labels for triggered rows of true classes y (m,), as `labels_with_trigger`, on their device."""
    return y.new_tensor(labels_with_trigger(wanted, y.cpu().numpy(), num_classes))


def counts_of_batch(rows: int, poisoned_rate: float, other_rate: float) -> tuple[int, int]:
    """Numbers of rows of a batch that get the trigger, and of further rows that are changed otherwise; rounded up."""
    own = min(math.ceil(poisoned_rate * rows - 1e-9), rows)
    return own, min(math.ceil(other_rate * rows - 1e-9), rows - own)


def one_class(labels: np.ndarray, attack: object) -> int:
    """The only class among wanted classes (m,), where -1 stands for no class.

    Raises:
        NotApplicable: several classes or none.
    """
    found = np.unique(labels[labels >= 0])
    if len(found) != 1:
        name = type(attack).__name__
        raise NotApplicable(f"one wanted class for {name}", f"{len(found)}", "use wanted: AllToOne")
    return int(found[0])


def targets(context: AttackContext, attack: object) -> tuple[Dataset, np.ndarray]:
    """The inputs that should be misclassified, and the class (r,) that the attacker wants for each.

    Raises:
        NotApplicable: the context has no target inputs.
    """
    if context.wanted is None or context.targets is None:
        raise NotApplicable(f"target inputs for {type(attack).__name__}", "none", "set the scenario's goal to targeted")
    return context.targets, context.wanted(context.targets.y, context.targets.num_classes)


def rows_per_target(asked: int, chosen: Dataset, data: Dataset, context: AttackContext) -> int:
    """Number of rows to add for each target: `asked`, or fewer if the threat model grants fewer."""
    return min(asked, count(context.threat.max_poisoned_rate, len(data)) // max(len(chosen), 1))


def bases(data: Dataset, label: int, number_each: int, target: int, context: AttackContext) -> np.ndarray:
    """Numbers (number_each,) of the rows of class `label` from which the poison for one target is made.

    No row occurs twice before all rows of the class occur once. `target` is the target's number, which has a stream of its own.

    Raises:
        DataError: no row of this class.
    """
    own = np.flatnonzero(data.y == label)
    if not len(own):
        raise DataError(f"training rows of the wanted class {label}", "none", "want another class")
    return np.resize(context.streams.numpy("bases", target).permutation(own), number_each)


def attacker_rows(data: Dataset, context: AttackContext) -> tuple[Dataset, Dataset]:
    """Rows to train a surrogate, and rows to measure its loss: the attacker's own rows, or else a third of the data."""
    if context.rows is not None:
        known, own = data, context.rows
    else:
        order = context.streams.numpy("validation").permutation(len(data))
        own, known = data[order[: len(data) // 3]], data[np.sort(order[len(data) // 3 :])]
    if len(own) == 0 or len(np.unique(known.y)) < 2:
        raise DataError(
            "training rows of two classes and rows to measure the loss on",
            f"{len(np.unique(known.y))} classes in {len(known)} rows, and {len(own)} rows",
            "use more rows",
        )
    return known, own


def mislabelled(
    rows: Dataset, number: int, context: AttackContext, label: int | None, wanted: tuple[int, ...] | None = None
) -> tuple[Dataset, np.ndarray]:
    """Random rows, each with a wrong label: `label`, or the class that `wanted` gives, or a random one.

    No row occurs twice before all eligible rows occur once. A smaller number gives a prefix of a larger one.
    """
    c, rng = rows.num_classes, context.streams.numpy("starts")
    if label is not None and not 0 <= label < c:
        raise DataError(f"a label from 0 to {c - 1}", f"{label}", f"{rows.name} has {c} classes")
    order = rng.permutation(len(rows))
    shift = rng.integers(
        1, max(c, 2), size=len(rows)
    )  # with a single class there is no wrong label, and no row is eligible below
    labels = (rows.y + shift) % c if wanted is None else np.asarray(wanted)[rows.y]
    if label is not None:
        labels = np.full(len(rows), label)
    eligible = order[labels[order] != rows.y[order]]
    if not len(eligible):
        raise DataError("rows of a class that can be mislabelled", "none", "choose another label")
    chosen = np.resize(eligible, number)
    return rows[chosen], labels[chosen]


def injected(data: Dataset, x: Rows, y: np.ndarray) -> Poison:
    """`data` with these rows of poison appended.

    Rows of a DataFrame are appended unchanged. Other rows, (k, features), (k, ...) or CSR, are numbers that an attack has
    found. They are replaced by the nearest rows that the schema allows, in the form of the data. Columns that an attacker
    cannot write take the values of clean rows, in turn.
    """
    if not is_frame(x):
        base = None
        if not data.columns.editable.all():
            turns = np.arange(x.shape[0]) % max(len(data), 1)
            base = data[turns].x
        x = data.decoded(x, base)
    poisoned = data.extend(x, y)
    return Poison(poisoned, np.arange(len(poisoned)) >= len(data))
