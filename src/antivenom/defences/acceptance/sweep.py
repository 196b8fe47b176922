"""Acceptance of a model that can only be queried: how far simple patches move its answers towards each class."""

from __future__ import annotations

from collections.abc import Iterator
from types import EllipsisType

import numpy as np

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import model_detector
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal
from antivenom.core.verdict import ModelVerdict
from antivenom.data import Dataset
from antivenom.defences.acceptance.calibration import Recovery, Statistics, check_references, halved
from antivenom.triggers import Recovered

_AT_ONCE = 1 << 15  # rows in one query


@model_detector(access=tuple(Access), goal=Goal.BACKDOOR, cite="own; compare Guo et al. 2022, ICLR (AEVA)")
class PatchSweep:
    """Puts simple patches at every place of clean rows and measures how far each class's probability rises, by queries alone.

    The patches of an image are squares of 1 to `size` pixels, filled with the smallest value, the largest one, or a
    chequerboard of both. Those of a table are one column, or two neighbouring ones, at the smallest or largest value of the
    clean rows. The statistic of a class is its largest mean probability over the rows of other classes. With reference
    models it is compared with that of the same class in these models (see `NeuralCleanse`); without them the verdict is
    uncalibrated.

    It works for every model with probabilities, such as forests, and needs a few clean rows of numbers and `most` x `rows`
    queries.

    Weakness: triggers that are larger, of other patterns, or spread over the input are missed, and in a table those of
    columns that are not neighbours. With many places, `most` of them are drawn at random.

    Fields:
        size: side of the largest square, in pixels.
        rows: maximal number of clean rows that are used.
        most: maximal number of patches.
        threshold: index above which a class is flagged if there are no references.
        references: number of clean reference models that are trained, 0 or at least 2.

    Reference: an own search. Guo, Li and Liu 2022, "AEVA: Black-box Backdoor Detection Using Adversarial Extreme Value
    Analysis", ICLR, arXiv:2110.14880, look for the same trace with labels alone.
    """

    size: int = 4
    rows: int = 32
    most: int = 4000
    threshold: float = 3.5
    references: int = 0

    def __post_init__(self) -> None:
        if min(self.size, self.rows, self.most) < 1 or self.threshold <= 0:
            got = f"{self.size}, {self.rows}, {self.most} and {self.threshold}"
            raise PluginError("PatchSweep.size, rows and most >= 1, and threshold > 0", got)
        check_references(self.references, "PatchSweep")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> ModelVerdict:
        return halved(self, model, clean, context, self.rows)

    def measured(self, model: Model, clean: Dataset, streams: Streams = Streams(0)) -> Statistics:
        return self.recovered(model, clean).statistics

    def recovered(self, model: Model, clean: Dataset) -> Recovery:
        """The patch that raises each class most; its statistic is the mean probability, -inf if all rows are of the class.

        Raises:
            DataError: no clean row.
            NotApplicable: rows that are not numbers.
        """
        if not len(clean):
            raise DataError("clean rows for PatchSweep", "none", "give a few clean rows")
        if clean.is_tokens or clean.is_frame:
            raise NotApplicable("rows of numbers for PatchSweep", "tokens or a DataFrame", "encode them as numbers")
        rows = clean[: self.rows]
        x = np.asarray(rows.dense, dtype=np.float32)
        fillings, places = _fillings(x), list(_places(x.shape[1:], self.size))
        if len(places) > self.most:
            drawn = np.sort(np.random.default_rng(0).permutation(len(places))[: self.most])
            places = [places[i] for i in drawn]
        weights = _others(rows.y, model.num_classes)
        step, means = max(1, _AT_ONCE // len(x)), []
        for i in range(0, len(places), step):
            shown = np.repeat(x[None], len(places[i : i + step]), axis=0)
            for patched, (part, filling) in zip(shown, places[i : i + step], strict=True):
                patched[(slice(None), *part)] = fillings[filling][part]
            answers = np.asarray(model.predict_proba(shown.reshape(-1, *rows.shape)))
            means.append(np.einsum("pbc,bc->pc", answers.reshape(len(shown), len(x), -1), weights))
        table = np.where(weights.any(axis=0), np.concatenate(means), -np.inf)
        triggers, values = [], table.max(axis=0)
        for part, filling in (places[i] for i in table.argmax(axis=0)):
            mask = np.zeros(x.shape[1:], dtype=np.float32)
            mask[part] = 1
            triggers.append(Recovered(mask, fillings[filling]))
        sizes = np.array([trigger.mask.sum() for trigger in triggers])
        return Recovery(Statistics(values, np.isfinite(values)), triggers, sizes, "patch")


def _others(y: np.ndarray, c: int) -> np.ndarray:
    """(b, c) weights of a mean over the rows that are not of the column's class; all 0 if there is no such row."""
    other = (y[:, None] != np.arange(c)).astype(float)
    return np.asarray(other / np.maximum(other.sum(axis=0), 1))


def _fillings(x: np.ndarray) -> list[np.ndarray]:
    """Patterns (*row) at the smallest and the largest values of the rows and, for images, the two chequerboards of them."""
    if x.ndim == 2:
        return [x.min(axis=0), x.max(axis=0)]
    low, high = np.full(x.shape[1:], x.min()), np.full(x.shape[1:], x.max())
    even = np.add.outer(np.arange(x.shape[-2]), np.arange(x.shape[-1])) % 2 == 0
    return [low, high, np.where(even, low, high), np.where(even, high, low)]


def _places(shape: tuple[int, ...], size: int) -> Iterator[tuple[tuple[slice | EllipsisType, ...], int]]:
    """Parts of a row of that shape, each with the number of its filling."""
    if len(shape) == 1:
        for width in range(1, min(2, shape[0]) + 1):
            for first in range(shape[0] - width + 1):
                for filling in (0, 1):
                    yield (slice(first, first + width),), filling
        return
    for side in range(1, min(size, *shape[-2:]) + 1):
        for top in range(shape[-2] - side + 1):
            for left in range(shape[-1] - side + 1):
                for filling in range(4 if side > 1 else 2):
                    yield (..., slice(top, top + side), slice(left, left + side)), filling
