"""Who trains on what, and who is asked about: the draw that every model of a membership test shares."""

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
        table: (n, ...) all rows that some model may train on.
        members: (models, n) bool: which model trains on which; each on equally many.
        asked: (targets, values) numbers of the rows asked about, one for each value that a target may have.
        own: the attacker's own rows, in every training set.
    """

    table: Dataset
    members: np.ndarray
    asked: np.ndarray
    own: Dataset

    @property
    def inside(self) -> np.ndarray:
        """(models, targets, values) bool: the truth."""
        return np.asarray(self.members[:, self.asked])

    @property
    def trained_on(self) -> int:
        """Rows that a model trains on without any poison."""
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
    """A pool of which each model gets half, with the targets in it; with an attribute, the targets stand beside it.

    Raises:
        DataError: there are not that many rows.
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
    """(t v, features) each row with each value of a one-hot attribute, in turn, and their labels.

    Raises:
        DataError: columns that are not there, or not one-hot.
    """
    is_table = data.x.ndim == 2 and 0 <= min(columns) <= max(columns) < data.shape[0]
    held = data.dense[:, list(columns)] if is_table else np.zeros((1, 1))
    if not (np.isin(held, (0, 1)).all() and (held.sum(axis=1) == 1).all()):
        raise DataError("columns of one one-hot attribute", f"{columns}", f"look at the columns of {data.name}")
    x = np.repeat(data.dense, len(columns), axis=0)
    x[:, list(columns)] = np.tile(np.eye(len(columns), dtype=x.dtype), (len(data), 1))
    return x, np.repeat(data.y, len(columns))
