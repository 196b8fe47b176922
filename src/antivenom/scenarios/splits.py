"""The division of rows before an attack: training rows, the user's trusted rows, the attacker's own rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from antivenom.core.errors import DataError
from antivenom.core.streams import Streams
from antivenom.data import Dataset, Split


def hold_out(
    train: Dataset, clean_rows: int, train_rows: int | None, streams: Streams, attacker_rows: int = 0
) -> tuple[Dataset, Dataset, Dataset]:
    """Divide the rows into (training rows, trusted rows, attacker's rows), before any attack sees them.

    Args:
        train: all rows.
        clean_rows: number of trusted rows.
        train_rows: number of training rows; None is all that remain.
        streams: the random streams of the trial.
        attacker_rows: number of rows for the attacker.

    Raises:
        DataError: there are too few rows.
    """
    order = streams.numpy("trusted").permutation(len(train))
    cut = clean_rows + attacker_rows
    trusted, own, rest = order[:clean_rows], order[clean_rows:cut], np.sort(order[cut:])
    if clean_rows < 0 or attacker_rows < 0 or len(rest) == 0:
        wanted = "clean_rows" + (" plus attacker_rows" if attacker_rows else "")
        raise DataError(f"{wanted} from 0 to {len(train) - 1}", f"{cut}", f"{train.name} has {len(train)} rows")
    if train_rows is not None:
        if not 1 <= train_rows <= len(rest):
            raise DataError(
                f"train_rows from 1 to {len(rest)}",
                f"{train_rows}",
                f"{train.name} has no more beside the rows held out",
            )
        rest = np.sort(streams.numpy("rows").permutation(rest)[:train_rows])
    return train[rest], train[trusted], train[own]


def known_test_rows(test: Dataset, share: float, streams: Streams) -> np.ndarray:
    """(n,) bool, a random share of the test rows, which the attacker holds with their labels."""
    mask = np.zeros(len(test), dtype=bool)
    mask[streams.numpy("known test rows").permutation(len(test))[: round(share * len(test))]] = True
    return mask


def joined(*parts: Dataset) -> Dataset | None:
    """The rows of all parts in one Dataset, or None if all are empty."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return None
    whole = replace(filled[0], groups=None)
    for part in filled[1:]:
        whole = whole.extend(part.x, part.y)
    return whole


def only_classes(split: Split, classes: tuple[int, ...]) -> Split:
    """The rows of the named classes, renumbered from 0 in the order given.

    Raises:
        DataError: a class that the data set does not have, or a class that is named twice.
    """
    c = split.train.num_classes
    if len({*classes}) != len(classes) or not all(0 <= k < c for k in classes):
        raise DataError(f"different classes from 0 to {c - 1}", f"{classes}")
    number = np.full(c, -1)
    number[list(classes)] = np.arange(len(classes))

    def part(data: Dataset) -> Dataset:
        kept = data[np.isin(data.y, classes)]
        return replace(kept, y=number[kept.y], classes=tuple(data.classes[k] for k in classes))

    return Split(part(split.train), part(split.test))


@dataclass(frozen=True)
class Sources:
    """The parties that send rows: honest sources of about equal size, and the attacker's sources.

    Fields:
        honest: number of honest sources; with 1, the origin of rows is unknown.
        attacker: number of sources that send the poison.
    """

    honest: int = 1
    attacker: int = 1

    def assigned(self, data: Dataset, mask: np.ndarray, streams: Streams) -> Dataset:
        """The data with `groups`, the source of each row: clean rows at random honest sources, poison at the attacker's."""
        if self.honest <= 1:
            return data
        groups = streams.numpy("sources").integers(0, self.honest, size=len(data))
        groups[mask] = self.honest + np.arange(int(mask.sum())) % self.attacker
        return replace(data, groups=groups)
