"""Adds rows one after another. Each row climbs a loss that the attacker wants to raise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, Self

import numpy as np

from antivenom.attacks.inputs import injected
from antivenom.core.errors import PluginError
from antivenom.data import Dataset, Poison

SMALLEST_STEP = 1 / 64  # relative to the first step


class Problem(Protocol):
    """A learner with some training rows, and its loss on the attacker's rows after one more row is added."""

    def loss(self, x: np.ndarray, label: int, /) -> tuple[float, Callable[[], np.ndarray]]:
        """The loss after adding a row x (d,) with this label, and a function that computes its gradient (d,)."""
        ...

    def add(self, x: np.ndarray, label: int, /) -> Self:
        """The same learner with this row added to its training rows."""
        ...


@dataclass(frozen=True)
class Ascent:
    """Projected gradient ascent along the normalised gradient. A step without gain is undone, and the next is half as long.

    Fields:
        starts: number of starting rows for each added point; the best result is kept.
        rounds: in each round after the first, every point is removed in turn and climbs again, from its former place and
            from new starts, while all others stay.
        steps: maximal number of steps per start.
        step: length of the first step, as a share of the box's diagonal.
        box: lowest and highest value of a feature; None for each feature's own range (for images, over all pixels).
    """

    starts: int = 1
    rounds: int = 1
    steps: int = 60
    step: float = 0.05
    box: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.starts < 1 or self.rounds < 1 or self.steps < 0:
            got = f"{self.starts}, {self.rounds} and {self.steps}"
            raise PluginError("Ascent.starts and rounds >= 1 and steps >= 0", got)
        if not 0 < self.step <= 1:
            raise PluginError("Ascent.step above 0 and up to 1", f"{self.step}", "try 0.05")
        if self.box is not None:
            low, high = self.box
            if not -np.inf < low < high < np.inf:
                raise PluginError("Ascent.box as a lowest and a highest value", f"{low} and {high}")

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
        """The highest loss on the path from `start` (d,), and its place."""
        first = self.step * float(np.linalg.norm(high - low))
        x, step = start.clip(low, high), first
        value, gradient = problem.loss(x, label)
        direction = None
        for _ in range(self.steps):
            if direction is None:
                direction = gradient()
                # Components that point out of the box are set to zero, because they would only be clipped after the step.
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
        """`data` with `points` rows added; `starts` are `draws(points)` rows and their intended labels."""
        low, high = self.bounds(data)
        rows, labels = starts[0].flat.astype(np.float64), starts[1].tolist()
        added: list[tuple[np.ndarray, int]] = []
        for turn in range(self.rounds * points):
            point, first = turn % points, turn // points * self.starts * points
            others = added[:point] + added[point + 1 :]
            without = reduce(lambda problem, row: problem.add(*row), others, problem)
            # The first start of a point is the row that plain label flipping would add.
            tries = range(first + point, first + self.starts * points, points)
            begun = [(rows[i], labels[i]) for i in tries] + added[point : point + 1]
            ends = [(*self.climb(without, x, label, low, high), label) for x, label in begun]
            _, x, label = max(ends, key=lambda end: end[0])
            added[point : point + 1] = [(x, label)]
        x = np.array([x for x, _ in added]).reshape(len(added), data.flat.shape[1])
        return injected(data, x, np.array([label for _, label in added]))

    def draws(self, points: int) -> int:
        """Number of starting rows."""
        return self.rounds * self.starts * points
