"""What a Flower app's loading function returns: read as arrays, and given back with other rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler

from antivenom.core.errors import DataError, NotApplicable
from antivenom.core.protocols import Shard

Pair = tuple[np.ndarray, np.ndarray]
_LABELS = ("label", "labels", "y", "target", "targets", "class")


def read(loaded: object) -> tuple[Pair, Pair]:
    """The training and the test rows in what the function returned: two data loaders or data sets, or four arrays.

    Raises:
        DataError: something else.
    """
    if isinstance(loaded, (tuple, list)) and len(loaded) == 4 and all(hasattr(part, "shape") for part in loaded):
        x_train, x_test, y_train, y_test = map(np.asarray, loaded)  # as of scikit-learn's train_test_split
        return (x_train, y_train), (x_test, y_test)
    if not isinstance(loaded, (tuple, list)) or len(loaded) != 2:
        got = f"{len(loaded)} parts" if isinstance(loaded, (tuple, list)) else type(loaded).__name__
        raise DataError("training rows and test rows from load_data", got, "return two data loaders")
    return _arrays(loaded[0]), _arrays(loaded[1])


def _arrays(part: Any) -> Pair:
    """Inputs and labels of a loader or data set, in the order of the data set."""
    rows = part.dataset if isinstance(part, DataLoader) else part
    if not hasattr(rows, "__len__") or not hasattr(rows, "__getitem__"):
        raise DataError("a data loader or data set with a length", type(rows).__name__)
    pairs = [_pair(rows[i]) for i in range(len(rows))]
    if not pairs:
        raise DataError("rows for every client", "a client without rows", "use fewer clients")
    return np.stack([np.asarray(x) for x, _ in pairs]), np.array([int(y) for _, y in pairs], dtype=np.int64)


def _pair(item: object) -> tuple[Any, Any]:
    """The input and the label of one item of a data set: a pair, or a mapping with a label by its usual name."""
    if isinstance(item, Mapping):
        label = _label(item)
        (inputs,) = [value for name, value in item.items() if name != label] or [None]
        return inputs, item[label]
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return item[0], item[1]
    raise DataError("items of an input and a label", type(item).__name__)


def _label(item: Mapping[str, object]) -> str:
    found = [name for name in item if name in _LABELS]
    if len(found) != 1 or len(item) != 2:
        raise DataError("items with an input and a label", ", ".join(map(str, item)), f"call it {_LABELS[0]}")
    return found[0]


@dataclass(frozen=True, eq=False)
class _Rows(Dataset[object]):
    """Rows in the form of another data set's items."""

    x: torch.Tensor
    y: torch.Tensor
    like: Any

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> object:
        x, y = self.x[i], self.y[i]
        label = y if isinstance(_pair(self.like)[1], torch.Tensor) else int(y)
        if isinstance(self.like, Mapping):
            name = _label(self.like)
            return {key: label if key == name else x for key in self.like}
        return type(self.like)((x, label))


def fed(loaded: Any, shard: Shard) -> object:
    """What the function returned, with the rows of a shard in place of the training rows.

    Raises:
        NotApplicable: a loader that chooses its rows by a sampler of its own.
    """
    x, y = shard
    if len(loaded) == 4:
        return x.numpy(), loaded[1], y.numpy(), loaded[3]
    train, test = loaded
    if not isinstance(train, DataLoader):
        return _Rows(x, y, train[0]), test
    rows: Any = _Rows(x, y, train.dataset[0])
    sampler: Any = train.sampler
    if isinstance(sampler, RandomSampler):
        sampler = RandomSampler(rows, replacement=sampler.replacement, generator=sampler.generator)
    elif isinstance(sampler, SequentialSampler):
        sampler = SequentialSampler(rows)
    else:
        expected = "a data loader that shuffles, or not"
        raise NotApplicable(expected, f"one with a {type(sampler).__name__}", "use an agent that changes no rows")
    return (
        DataLoader(
            rows,
            batch_size=train.batch_size,
            sampler=sampler,
            drop_last=train.drop_last,
            collate_fn=train.collate_fn,
            generator=train.generator,
        ),
        test,
    )
