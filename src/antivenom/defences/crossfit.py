"""Out-of-sample probabilities: each row is judged by models that were not trained on it or on a copy of it.

The result does not depend on the order of the rows. Folds follow from the rows' content and the seed, and a model gets its
training rows in an order that follows from their content too, so that no order of a file is taken for time.
"""

from __future__ import annotations

import hashlib
import itertools
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from antivenom.core.protocols import Model
from antivenom.core.streams import Streams
from antivenom.data import Dataset

FOLDS = 5
LEAST_TRAINED = 500  # rows to which training is cut at most if the time is short


class Judge(Protocol):
    """Trains on some rows and gives the probabilities (m, c) of the classes for other rows."""

    def __call__(self, trained: np.ndarray, judged: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class OutOfSample:
    """The probabilities of all rows.

    Fields:
        probabilities: (n, c) each row from a model that was not trained on it.
        trained: the largest number of rows on which a model was trained.
        cut: whether fewer rows were used than the folds hold, because the time was short.
    """

    probabilities: np.ndarray
    trained: int
    cut: bool = False


def keys_of(data: Dataset) -> np.ndarray:
    """(n,) uint64 a hash of each row's content without its label; equal rows have equal hashes."""
    if data.is_frame:
        import pandas as pd

        return np.asarray(pd.util.hash_pandas_object(data.x, index=False).to_numpy(dtype=np.uint64))
    if data.is_sparse:
        x: Any = data.x.tocsr(copy=True)
        x.sum_duplicates()
        ends = x.indptr
        rows = (x.indices[a:b].astype(np.int64).tobytes() + x.data[a:b].tobytes() for a, b in itertools.pairwise(ends))
    else:
        rows = (np.ascontiguousarray(row).tobytes() for row in np.asarray(data.x))
    found = [int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "little") for row in rows]
    return np.array(found, dtype=np.uint64)


def folds_of(keys: np.ndarray, y: np.ndarray, seed: int, folds: int = FOLDS) -> np.ndarray:
    """(n,) the fold of each row, stratified by class. Equal rows share a fold, and the order of the rows has no influence."""
    order = np.lexsort((y, keys))
    _, first, group = np.unique(keys[order], return_index=True, return_inverse=True)
    own, key = y[order][first], keys[order][first]
    mixed = (key ^ np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    place = np.lexsort((mixed, own))
    number = np.empty(len(place), dtype=np.int64)
    ordered = own[place]
    start = np.searchsorted(ordered, ordered)
    # The classes begin at different folds, so that the folds stay of equal size if there are many small classes.
    number[place] = (np.arange(len(place)) - start + ordered) % folds
    found = np.empty(len(y), dtype=np.int64)
    found[order] = number[group]
    return found


def canonical(keys: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The rows in an order that depends on their content alone."""
    return np.lexsort((y, keys))


def out_of_sample(
    judge: Judge,
    keys: np.ndarray,
    y: np.ndarray,
    classes: int,
    streams: Streams,
    *,
    left_out: np.ndarray | None = None,
    seconds: float | None = None,
) -> OutOfSample:
    """Judge all rows by cross-fitting.

    Args:
        judge: trains and predicts.
        keys: (n,) the hashes of the rows.
        y: (n,) the labels.
        classes: number of classes.
        streams: the randomness of the folds.
        left_out: (n,) bool, rows that are judged but never trained on; None for no such rows.
        seconds: time for all folds; training is cut to fewer rows if the first fold shows that it is short. None for no limit.
    """
    fold = folds_of(keys, y, streams.sklearn("folds"))
    order, found = canonical(keys, y), np.zeros((len(y), classes))
    rng, limit, most, cut = streams.numpy("cut"), len(y), 0, False
    begun = time.monotonic()
    for number in range(FOLDS):
        judged = order[fold[order] == number]
        trained = order[fold[order] != number]
        if left_out is not None:
            trained = trained[~left_out[trained]]
        if not len(judged) or not len(np.unique(y[trained])):
            continue
        if seconds is not None and number == 0 and len(trained) > 2 * LEAST_TRAINED:
            limit = _affordable(judge, trained, judged, seconds, rng)
        if len(trained) > limit:
            trained, cut = trained[np.sort(rng.choice(len(trained), limit, replace=False))], True
        if seconds is not None and number and time.monotonic() - begun > seconds:
            trained, cut = trained[: min(len(trained), LEAST_TRAINED)], True
        found[judged] = judge(trained, judged)
        most = max(most, len(trained))
    return OutOfSample(found, most, cut)


def _affordable(judge: Judge, trained: np.ndarray, judged: np.ndarray, seconds: float, rng: np.random.Generator) -> int:
    """The number of training rows that the time allows, if the time of a fit is proportional to them."""
    size = max(LEAST_TRAINED, len(trained) // 20)
    some = trained[np.sort(rng.choice(len(trained), size, replace=False))]
    begun = time.monotonic()
    judge(some, judged[:50])
    each = (time.monotonic() - begun) / size
    return max(LEAST_TRAINED, int(0.8 * seconds / FOLDS / max(each, 1e-9)))


def judge_of(data: Dataset, fit: Callable[[Dataset], Model]) -> Judge:
    """A judge that trains a model by `fit`, such as `DefenceContext.fit`."""

    def judge(trained: np.ndarray, judged: np.ndarray) -> np.ndarray:
        seen = np.unique(data.y[trained])
        if len(seen) == 1:  # most estimators refuse to learn one class
            return np.repeat(np.eye(data.num_classes)[seen], len(judged), axis=0)
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", category=ConvergenceWarning
            )  # a linear model that has not ended ranks rows well
            model: Any = fit(data[trained])
        return np.asarray(model.predict_proba(data[judged].x), dtype=np.float64)

    return judge
