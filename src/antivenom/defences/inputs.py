"""Validation of the fields of sanitizers, access to trusted rows, and thresholds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

import numpy as np

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset

FOLDS = 5
Score: TypeAlias = Callable[[Dataset, Dataset], np.ndarray]
"""(reference, rows) -> (m,) suspicion of each row, compared with the reference rows; `rows` may be the reference itself."""


class Judging(Protocol):
    """The common fields of sanitizers that compare rows with reference rows."""

    @property
    def share(self) -> float:
        """The threshold: the score that this share of each class's reference rows exceeds, 0 to 1."""
        ...

    @property
    def trusted(self) -> bool:
        """Whether the trusted rows are the reference rows. Otherwise the suspicious rows themselves are."""
        ...


def check_share(value: float, name: str) -> None:
    """Refuses a number that is not a share from 0 to 1."""
    if not 0 <= value <= 1:
        raise PluginError(f"{name} from 0 to 1", f"{value}", "0.05 means one row in twenty")


def require_images(data: Dataset, defence: object, remedy: str = "") -> None:
    """Refuses rows that are no images.

    Raises:
        NotApplicable: rows of another form.
    """
    if not data.is_image:
        raise NotApplicable(f"images for {type(defence).__name__}", f"rows of shape {data.shape}", remedy)


def trusted_rows(context: DefenceContext, defence: object) -> Dataset:
    """The trusted rows.

    Raises:
        NotApplicable: there are none.
    """
    if context.trusted is None:
        name = type(defence).__name__
        raise NotApplicable(f"trusted rows for {name}", "none", "give it some (clean_rows), or set trusted: false")
    return context.trusted


def by_class(data: Dataset) -> np.ndarray:
    """The class (n,) of each row; all rows of a regression are in one class."""
    return np.zeros(len(data), dtype=np.int64) if data.is_regression else data.y


def radius(scores: np.ndarray, share: float) -> float:
    """The score that at most this share of the scores exceeds."""
    kept = math.ceil((1 - share) * len(scores) - 1e-9)
    return float(np.sort(scores)[kept - 1]) if kept else -math.inf


def median_and_spread(values: np.ndarray) -> tuple[float, float]:
    """The median of values (n,), and their median absolute deviation, scaled to the deviation of a normal distribution."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))


def judged(defence: Judging, data: Dataset, context: DefenceContext, score: Score) -> Verdict:
    """Flag rows of each class whose score exceeds a threshold, the score that `defence.share` of the reference rows exceed.

    The reference rows are the suspicious rows themselves, so that this share of each class is flagged. If the defence is
    `trusted`, they are the trusted rows, which an attacker cannot change. Scores of trusted rows come from cross-fitting:
    a fit that includes a row gives it a low score, and the threshold would be too low for honest suspicious rows.

    Raises:
        NotApplicable: no trusted rows.
        DataError: fewer than two trusted rows of a class.
    """
    share = defence.share
    if not defence.trusted:
        scores = score(data, data)
        return Verdict(scores, _beyond(scores, by_class(data), scores, by_class(data), share))
    reference = trusted_rows(context, defence)
    counts = np.bincount(by_class(reference), minlength=max(1, len(reference.classes)))
    if (counts[np.unique(by_class(data))] < 2).any():
        missing = [name for name, count in zip(data.classes, counts, strict=False) if count < 2]
        raise DataError(
            "two trusted rows of each class", f"fewer of {', '.join(missing) or 'them'}", "hold out more rows"
        )
    scores, own = score(reference, data), np.zeros(len(reference))
    for rest, held in folds(reference, context.streams.child("folds")):
        own[held] = score(reference[rest], reference[held])
    return Verdict(scores, _beyond(scores, by_class(data), own, by_class(reference), share))


def _beyond(
    scores: np.ndarray, classes: np.ndarray, own: np.ndarray, own_classes: np.ndarray, share: float
) -> np.ndarray:
    flags = np.zeros(len(scores), dtype=bool)
    for c in np.unique(classes):
        limit = radius(own[own_classes == c], share)
        flags |= (classes == c) & (scores > limit + 1e-9 * (1 + abs(limit)))  # the tolerance treats equal rows alike
    return flags


def first_of_each_class(order: np.ndarray, y: np.ndarray, share: float) -> np.ndarray:
    """The first rows of an order, a share of each class and at least one row; y (n,) are the classes of all rows."""
    own = [order[y[order] == c] for c in np.unique(y)]
    return np.concatenate([rows[: max(1, int(share * len(rows)))] for rows in own])


def folds(data: Dataset, streams: Streams) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Stratified pairs (training rows, held-out rows); each row is held out once."""
    number = np.zeros(len(data), dtype=np.int64)
    order = stratified(by_class(data), streams.numpy("order"))
    for c in np.unique(by_class(data)):
        rows = order[by_class(data)[order] == c]
        number[rows] = np.arange(len(rows)) % FOLDS
    for fold in np.unique(number):
        yield np.flatnonzero(number != fold), np.flatnonzero(number == fold)


def stratified(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order of rows in which every prefix has the classes in proportion, with one row of each class first."""
    order = rng.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    counts = np.bincount(classes)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    key = np.where(rank == 0, -1.0, (rank + rng.random(len(order))) / np.repeat(counts, counts))
    return np.asarray(order[np.argsort(key, kind="stable")])
