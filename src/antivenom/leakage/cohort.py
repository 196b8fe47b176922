"""The rows of a membership test: which model trains on which rows, and which rows the attacker asks about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from antivenom.core.errors import DataError
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.leakage.shadows import halves


@dataclass(frozen=True, eq=False)
class Cohort:
    """The rows of a membership test.

    Fields:
        table: (n, ...) all rows that can be in a training set.
        members: (models, n) bool: whether a model trains on a row; all models train on equally many rows.
        asked: (targets, values) indices of the rows in question, one for each possible value of a target's attribute.
        own: the attacker's own rows, which are in every training set.
    """

    table: Dataset
    members: np.ndarray
    asked: np.ndarray
    own: Dataset

    @property
    def inside(self) -> np.ndarray:
        """(models, targets, values) bool: whether a model was trained on a row in question."""
        return np.asarray(self.members[:, self.asked])

    @property
    def trained_on(self) -> int:
        """Number of clean rows in the training set of a model."""
        return int(self.members[0].sum()) + len(self.own)


def draw(
    train: Dataset,
    models: int,
    pool_rows: int | None,
    targets: int,
    own_rows: int,
    attribute: tuple[int, ...],
    streams: Streams,
) -> Cohort:
    """Draws a pool of which each model gets one half. The targets are rows of the pool.

    With an attribute, the targets are additional rows, each in a version for every value of the attribute.

    Raises:
        DataError: the data set has too few rows.
    """
    values = len(attribute)
    apart = own_rows + (targets if values else 0)
    rows = (len(train) - apart) // 2 * 2 if pool_rows is None else pool_rows
    if own_rows < 0 or not targets <= rows <= len(train) - apart:
        raise DataError(
            f"attacker_rows >= 0 and pool_rows from {targets} to {len(train) - apart}",
            f"{own_rows} and {rows}",
            f"{train.name} has {len(train)} rows",
        )
    order = streams.numpy("pool").permutation(len(train))
    pool, rest = train[order[:rows]], order[rows:]
    own = train[rest[:own_rows]]
    members = halves(models, rows, streams.numpy("halves"))
    if not values:
        return Cohort(pool, members, streams.numpy("targets").permutation(rows)[:targets, None], own)
    table = pool.extend(*every_value(train[rest[own_rows:apart]], attribute))
    asked = np.arange(rows, len(table)).reshape(targets, values)
    evenly = np.tile(np.arange(models) % values, (targets, 1))
    held = streams.numpy("values").permuted(evenly, axis=1).T  # (models, targets)
    one_each = (held[:, :, None] == np.arange(values)).reshape(models, -1)
    return Cohort(table, np.hstack([members, one_each]), asked, own)


def every_value(data: Dataset, columns: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """All versions (t v, features) of the rows, one for each value of a one-hot attribute, and their labels.

    Raises:
        DataError: columns that do not exist or are not one-hot.
    """
    is_table = data.x.ndim == 2 and 0 <= min(columns) <= max(columns) < data.shape[0]
    held = data.dense[:, list(columns)] if is_table else np.zeros((1, 1))
    if not (np.isin(held, (0, 1)).all() and (held.sum(axis=1) == 1).all()):
        raise DataError(f"the columns of one one-hot attribute of {data.name}", f"{columns}")
    x = np.repeat(data.dense, len(columns), axis=0)
    x[:, list(columns)] = np.tile(np.eye(len(columns), dtype=x.dtype), (len(data), 1))
    return x, np.repeat(data.y, len(columns))
