"""Base models of an ensemble over parts of the rows: all parts at once in closed form, or the user's own model on each."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from antivenom.core.protocols import Model
from antivenom.data import Dataset, Rows

TOGETHER = 64  # systems that are solved at a time; they then fit into the cache


class Base(enum.StrEnum):
    """What is fitted to each part.

    CENTROID answers with the nearest class mean, RIDGE by least squares on the classes, MODEL with the scenario's own
    model, trained on each part by itself: slow, and the certificate then holds as far as that training is deterministic.
    """

    CENTROID = "centroid"
    RIDGE = "ridge"
    MODEL = "model"


class Bases(Protocol):
    """b fitted base models."""

    def answers(self, x: Rows) -> np.ndarray:
        """(m, b) classes."""
        ...


@dataclass(frozen=True, eq=False)
class LinearBases:
    """Bases that score each class by a line; the first class with the highest score is the answer.

    Fields:
        weights: (f, c, b) float32.
        offsets: (c, b) float32; -inf for a class that a part did not hold, so a part without rows answers 0.
    """

    weights: np.ndarray
    offsets: np.ndarray

    def answers(self, x: np.ndarray) -> np.ndarray:
        f, c, b = self.weights.shape
        scores = (x.reshape(len(x), f) @ self.weights.reshape(f, c * b)).reshape(len(x), c, b)
        scores += self.offsets
        best, answer = scores[:, 0].copy(), np.zeros((len(x), b), dtype=np.int16)
        for label in range(1, c):  # an argmax over the middle axis, many times as fast
            higher = scores[:, label] > best
            np.copyto(best, scores[:, label], where=higher)
            answer[higher] = label
        return answer


@dataclass(frozen=True, eq=False)
class FittedBases:
    """One model per part.

    Fields:
        models: b models; where a part held one class or none, that class or 0.
    """

    models: tuple[Model | int, ...]

    def answers(self, x: Rows) -> np.ndarray:
        columns = [
            np.full(x.shape[0], model) if isinstance(model, int) else np.asarray(model.predict(x))
            for model in self.models
        ]
        return np.stack(columns, axis=1).astype(np.int16)


def fitted(parts: tuple[np.ndarray, ...], data: Dataset, fit: Callable[[Dataset], Model]) -> FittedBases:
    """A model from the rows of each part, in their order there."""

    def one(rows: np.ndarray) -> Model | int:
        held = np.unique(data.y[rows])
        return fit(data[rows]) if len(held) > 1 else int(held[0]) if len(held) else 0

    return FittedBases(tuple(one(rows) for rows in parts))


def linear(parts: tuple[np.ndarray, ...], data: Dataset, base: Base, penalty: float) -> LinearBases:
    """Closed-form bases.

    Parts of one size are solved together and never padded: nothing about one part, not even its size, reaches the bits of
    another one's solution.
    """
    x, c = data.dense.reshape(len(data), -1), data.num_classes
    weights = np.zeros((x.shape[1], c, len(parts)), dtype=np.float32)
    offsets = np.full((c, len(parts)), -np.inf, dtype=np.float32)
    one_hot = np.eye(c)[data.y]
    for ids, rows in _alike(parts):
        a, y = x[rows].astype(np.float64), one_hot[rows]  # (g, s, f) and (g, s, c)
        w, offset = _centroids(a, y) if base is Base.CENTROID else _ridge(a, y, penalty)
        weights[:, :, ids] = w.transpose(1, 2, 0)
        offsets[:, ids] = np.where(y.any(axis=1), offset, -np.inf).T
    return LinearBases(weights, offsets)


def _alike(parts: tuple[np.ndarray, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Parts of one size, some at a time: their numbers (g,) and rows (g, s). Empty parts are left out."""
    sizes = np.array([len(rows) for rows in parts])
    for size in np.unique(sizes[sizes > 0]):
        same = np.flatnonzero(sizes == size)
        for start in range(0, len(same), TOGETHER):
            ids = same[start : start + TOGETHER]
            yield ids, np.stack([parts[i] for i in ids])


def _centroids(a: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest class mean as lines: x.mean - |mean|^2 / 2 is highest where |x - mean| is least."""
    counts = np.maximum(y.sum(axis=1), 1)  # (g, c)
    means = a.transpose(0, 2, 1) @ y / counts[:, None, :]  # (g, f, c)
    return means, -0.5 * (means * means).sum(axis=1)


def _ridge(a: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Ridge on one-hot classes with a constant feature, penalised too; through the smaller of the two Gram matrices."""
    _, size, features = a.shape
    level = penalty * (1 + (a * a).sum(axis=2).mean(axis=1))[:, None, None]  # the row's mean square, the constant's 1
    turned = a.transpose(0, 2, 1)
    if size <= features:
        dual = np.linalg.solve(a @ turned + 1 + level * np.eye(size), y)
        return turned @ dual, dual.sum(axis=1)
    with_one = np.concatenate([a, np.ones((*a.shape[:2], 1))], axis=2)
    gram = with_one.transpose(0, 2, 1) @ with_one + level * np.eye(features + 1)
    found = np.linalg.solve(gram, with_one.transpose(0, 2, 1) @ y)
    return found[:, :-1], found[:, -1]
