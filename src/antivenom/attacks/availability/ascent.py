"""Rows added one after another, each moved uphill in a loss that the attacker wants to be high."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, Self

import numpy as np

from antivenom.attacks.inputs import injected
from antivenom.core.errors import PluginError
from antivenom.data import Dataset, Poison

SMALLEST_STEP = 1 / 64  # of the first one


class Problem(Protocol):
    """A learner that was given some rows, and the loss on the attacker's own rows once it is given one more."""

    def loss(self, x: np.ndarray, label: int, /) -> tuple[float, Callable[[], np.ndarray]]:
        """The loss with a row x (d,) of that label added, and its gradient (d,), which is computed when called for."""
        ...

    def add(self, x: np.ndarray, label: int, /) -> Self:
        """The same learner with that row among its own."""
        ...


@dataclass(frozen=True)
class Ascent:
    """Projected gradient ascent along the normalised gradient; a step that gains nothing is taken back and halved.

    Fields:
        starts: rows each added point is started from; the one that ends highest is kept.
        rounds: in each after the first, every point is taken out in turn and climbs again, from where it was and from new
            starts, with all others in place.
        steps: at most so many moves per start.
        step: length of the first move, as a share of the box's diagonal.
        box: lowest and highest value of a feature; None is each feature's own range (of an image: over all its pixels).
    """

    starts: int = 1
    rounds: int = 1
    steps: int = 60
    step: float = 0.05
    box: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.starts < 1 or self.rounds < 1 or self.steps < 0:
            got = f"{self.starts}, {self.rounds} and {self.steps}"
            raise PluginError("Ascent.starts and rounds >= 1 and steps >= 0", got, "correct them")
        if not 0 < self.step <= 1:
            raise PluginError("Ascent.step above 0 and up to 1", f"{self.step}", "0.05 is a good start")
        if self.box is not None:
            low, high = self.box
            if not -np.inf < low < high < np.inf:
                raise PluginError("Ascent.box as a lowest and a highest value", f"{low} and {high}", "correct it")

    def bounds(self, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """(d,) lowest and (d,) highest values."""
        rows = np.asarray(data.dense.reshape(len(data), -1), dtype=np.float64)
        low, high = rows.min(axis=0), rows.max(axis=0)
        if self.box is not None:
            low, high = np.full_like(low, self.box[0]), np.full_like(high, self.box[1])
        elif data.is_image:
            low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
        return low, high

    def climb(
        self, problem: Problem, start: np.ndarray, label: int, low: np.ndarray, high: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """The highest loss on the way from `start` (d,), and where it is."""
        first = self.step * float(np.linalg.norm(high - low))
        x, step = start.clip(low, high), first
        value, gradient = problem.loss(x, label)
        direction = None
        for _ in range(self.steps):
            if direction is None:
                direction = gradient()
                # What points out of the box is cut off first, else a step would be spent on moves that are clipped away.
                blocked = ((x <= low) & (direction < 0)) | ((x >= high) & (direction > 0))
                direction = np.where(blocked, 0.0, direction)
                norm = np.linalg.norm(direction)
                if not norm > 0:
                    break
                direction = direction / norm
            moved = (x + step * direction).clip(low, high)
            higher, at_moved = problem.loss(moved, label)
            if higher > value:
                x, value, gradient, direction = moved, higher, at_moved, None
            elif step <= SMALLEST_STEP * first:
                break
            else:
                step /= 2
        return value, x

    def __call__(self, problem: Problem, data: Dataset, starts: tuple[Dataset, np.ndarray], points: int) -> Poison:
        """`data` with that many rows added; `starts` are `draws(points)` rows and the labels they would get."""
        low, high = self.bounds(data)
        rows, labels = starts[0].flat.astype(np.float64), starts[1].tolist()
        added: list[tuple[np.ndarray, int]] = []
        for turn in range(self.rounds * points):
            point, first = turn % points, turn // points * self.starts * points
            others = added[:point] + added[point + 1 :]
            without = reduce(lambda problem, row: problem.add(*row), others, problem)
            # A point's first try is the row that mere flipping would add in its place.
            tries = range(first + point, first + self.starts * points, points)
            begun = [(rows[i], labels[i]) for i in tries] + added[point : point + 1]
            ends = [(*self.climb(without, x, label, low, high), label) for x, label in begun]
            _, x, label = max(ends, key=lambda end: end[0])
            added[point : point + 1] = [(x, label)]
        x = np.array([x for x, _ in added]).reshape(len(added), data.flat.shape[1])
        return injected(data, x, np.array([label for _, label in added]))

    def draws(self, points: int) -> int:
        """How many rows to start from."""
        return self.rounds * self.starts * points
