"""The rows of each client, and those that the server tests with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Rows = tuple[NDArray[np.float32], NDArray[np.int64]]
_TEST = 597  # the last rows belong to the server


def _digits() -> Rows:
    """x (1797, 64) from 0 to 1 and y (1797,), in a random order that is the same everywhere."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order] / 16).astype(np.float32), y[order]


def shard(partition: int, partitions: int) -> Rows:
    """The rows of one client."""
    x, y = _digits()
    return x[:-_TEST][partition::partitions], y[:-_TEST][partition::partitions]


def test_rows() -> Rows:
    """The rows that no client has."""
    x, y = _digits()
    return x[-_TEST:], y[-_TEST:]
