"""Divides the user's clean rows: some for the checks, some to measure on, and the rest to train references."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from antivenom.core.errors import DataError
from antivenom.core.streams import Streams
from antivenom.data import Dataset

PROBES = 64  # rows on which the detectors search
HELD_OUT = 500  # rows on which accuracies and recovered triggers are measured, at most


@dataclass(frozen=True, eq=False)
class Rows:
    """The user's clean rows in three disjoint parts.

    Fields:
        probes: rows on which triggers are searched, balanced over the classes.
        held_out: rows on which accuracies and recovered triggers are measured.
        rest: rows for the training of reference models and for repairs.
    """

    probes: Dataset
    held_out: Dataset
    rest: Dataset


def divided(rows: Dataset, streams: Streams) -> Rows:
    """The parts of the rows, drawn by the seed.

    Raises:
        DataError: fewer than four rows, or a regression.
    """
    if rows.is_regression:
        raise DataError("clean rows with classes", f"the regression {rows.name}", "inspect takes classifiers")
    if len(rows) < 4:
        raise DataError("at least 4 clean rows", f"{len(rows)}", "give more rows with --data")
    order = _balanced(rows.y, streams)
    probes = min(PROBES, len(rows) // 2)
    others = np.sort(order[probes:])
    others = others[streams.numpy("parts").permutation(len(others))]
    held_out = min(HELD_OUT, max(len(others) // 4, min(len(others), PROBES)))
    return Rows(rows[order[:probes]], rows[others[:held_out]], rows[others[held_out:]])


def _balanced(y: np.ndarray, streams: Streams) -> np.ndarray:
    """All row numbers in random order, such that each beginning holds the classes in nearly equal numbers."""
    drawn = streams.numpy("rows").permutation(len(y))
    rank = np.zeros(len(y), dtype=int)
    for c in np.unique(y):
        own = drawn[y[drawn] == c]
        rank[own] = np.arange(len(own))
    place = np.empty(len(y), dtype=int)
    place[drawn] = np.arange(len(y))
    return np.lexsort((place, rank))
