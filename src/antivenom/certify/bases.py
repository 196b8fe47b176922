"""Base models for the parts of the rows: in closed form for all parts at once, or the user's own model for each part."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from antivenom.core.protocols import Model
from antivenom.data import Dataset, Rows

SYSTEMS = 64  # linear systems that are solved at a time, few enough for the cache


class Base(enum.StrEnum):
    """The model that is fitted to each part.

    CENTROID predicts the class with the nearest mean, RIDGE uses least squares on the classes, and MODEL trains the model
    of the scenario on each part. MODEL is slow, and its certificate holds only if that training is deterministic.
    """

    CENTROID = "centroid"
    RIDGE = "ridge"
    MODEL = "model"


class Bases(Protocol):
    """b fitted base models."""

    def answers(self, x: Rows) -> np.ndarray:
        """Predicted classes (m, b)."""
        ...


@dataclass(frozen=True, eq=False)
class LinearBases:
    """Bases with linear scores. The prediction is the first class with the highest score.

    Fields:
        weights: (f, c, b) float32.
        offsets: (c, b) float32; -inf for a class without rows in the part, so that an empty part predicts class 0.
    """

    weights: np.ndarray
    offsets: np.ndarray

    def answers(self, x: np.ndarray) -> np.ndarray:
        f, c, b = self.weights.shape
        scores = (x.reshape(len(x), f) @ self.weights.reshape(f, c * b)).reshape(len(x), c, b)
        scores += self.offsets
        best, answer = scores[:, 0].copy(), np.zeros((len(x), b), dtype=np.int16)
        for label in range(1, c):  # equals an argmax over the middle axis, but is many times faster
            higher = scores[:, label] > best
            np.copyto(best, scores[:, label], where=higher)
            answer[higher] = label
        return answer


@dataclass(frozen=True, eq=False)
class FittedBases:
    """One model per part.

    Fields:
        models: b models; for a part with rows of one class, that class; for an empty part, 0.
    """

    models: tuple[Model | int, ...]

    def answers(self, x: Rows) -> np.ndarray:
        columns = [
            np.full(x.shape[0], model) if isinstance(model, int) else np.asarray(model.predict(x))
            for model in self.models
        ]
        return np.stack(columns, axis=1).astype(np.int16)


def fitted(parts: tuple[np.ndarray, ...], data: Dataset, fit: Callable[[Dataset], Model]) -> FittedBases:
    """Fits a model to the rows of each part, in the order of the part."""

    def one(rows: np.ndarray) -> Model | int:
        held = np.unique(data.y[rows])
        return fit(data[rows]) if len(held) > 1 else int(max(held, default=0))

    return FittedBases(tuple(one(rows) for rows in parts))


def linear(parts: tuple[np.ndarray, ...], data: Dataset, base: Base, penalty: float) -> LinearBases:
    """Fits all bases in closed form.

    Only parts of equal size are solved together, without padding. So the exact bits of a solution depend on its own part
    only, which the certificate requires.
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
    """Groups of parts of equal size: their indices (g,) and rows (g, s). Empty parts are left out."""
    sizes = np.array([len(rows) for rows in parts])
    for size in np.unique(sizes[sizes > 0]):
        same = np.flatnonzero(sizes == size)
        for start in range(0, len(same), SYSTEMS):
            ids = same[start : start + SYSTEMS]
            yield ids, np.stack([parts[i] for i in ids])


def _centroids(a: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest class mean as a linear score: x.mean - |mean|^2 / 2 is highest where |x - mean| is smallest."""
    counts = np.maximum(y.sum(axis=1), 1)  # (g, c)
    means = a.transpose(0, 2, 1) @ y / counts[:, None, :]  # (g, f, c)
    return means, -0.5 * (means * means).sum(axis=1)


def _ridge(a: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression on one-hot classes with a penalised constant feature, by the smaller of the two Gram matrices."""
    _, size, features = a.shape
    level = (
        penalty * (1 + (a * a).sum(axis=2).mean(axis=1))[:, None, None]
    )  # mean square of the rows, plus 1 for the constant feature
    turned = a.transpose(0, 2, 1)
    if size <= features:
        dual = np.linalg.solve(a @ turned + 1 + level * np.eye(size), y)
        return turned @ dual, dual.sum(axis=1)
    with_one = np.concatenate([a, np.ones((*a.shape[:2], 1))], axis=2)
    gram = with_one.transpose(0, 2, 1) @ with_one + level * np.eye(features + 1)
    found = np.linalg.solve(gram, with_one.transpose(0, 2, 1) @ y)
    return found[:, :-1], found[:, -1]
