"""Splits rows into training and test rows, depending on nothing but the rows and the seed."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import DataError
from antivenom.core.streams import Streams
from antivenom.data.dataset import Dataset, Split


def split_by_seed(data: Dataset, streams: Streams, test_share: float = 0.3) -> Split:
    """Draw training and test rows by the stream "split", stratified by class unless the data is a regression.

    Args:
        data: all rows.
        streams: the random streams.
        test_share: the share of the rows, of each class, that become test rows.

    Raises:
        DataError: there are too few rows for two parts.
    """
    rng = streams.numpy("split")
    test = np.zeros(len(data), dtype=bool)
    if data.is_regression:
        order = rng.permutation(len(data))
        cut = round(test_share * len(data))
        return _both(data, order[cut:], order[:cut], test_share)
    for c in range(data.num_classes):
        rows = rng.permutation(np.flatnonzero(data.y == c))
        test[rows[: round(test_share * len(rows))]] = True
    order = rng.permutation(len(data))
    if not test.any():  # the share of every class rounds to zero rows, so draw from all rows instead
        test[order[: round(test_share * len(data))]] = True
        order = rng.permutation(len(data))
    return _both(data, order[~test[order]], order[test[order]], test_share)


def _both(data: Dataset, train: np.ndarray, test: np.ndarray, test_share: float) -> Split:
    if not len(train) or not len(test):
        raise DataError(
            "rows for both training and test", f"{len(data)} rows and a test share of {test_share:g}", "give more rows"
        )
    return Split(data[train], data[test])
