"""Bounded perturbations of rows in [0, 1]: choice of the rows, of the class to move towards, and projection to the ball."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from antivenom.attacks.inputs import check_share, count
from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.streams import Streams
from antivenom.data import Dataset, Poison

TARGETS = ("next", "nearest")


def check_ball(poisoned_rate: float, epsilon: float, attack: object) -> None:
    """Refuses a rate that is not a share, or an epsilon that is not a radius."""
    check_share(poisoned_rate, f"{type(attack).__name__}.poisoned_rate")
    check_epsilon(epsilon, attack)


def check_epsilon(epsilon: float, attack: object) -> None:
    """Refuses an epsilon that is not a radius in [0, 1]."""
    if not 0 < epsilon <= 1:
        raise PluginError(f"{type(attack).__name__}.epsilon above 0 and up to 1", f"{epsilon}")


def check_positive(attack: object, **values: float) -> None:
    """Refuses numbers that are not positive, including NaN."""
    for name, value in values.items():
        if not value > 0:
            raise PluginError(f"{type(attack).__name__}.{name} above 0", f"{value}")


def check_targets(targets: str, attack: object) -> None:
    """Refuses an unknown rule for `targets`."""
    if targets not in TARGETS:
        raise PluginError(f"{type(attack).__name__}.targets: next or nearest", repr(targets), "choose one of the two")


def clean_rows(data: Dataset) -> np.ndarray:
    """The rows (n, ...), after validation.

    Raises:
        DataError: sparse rows, a regression, features outside [0, 1], rows of fewer than two classes.
    """
    if data.num_classes < 2 or len(np.unique(data.y)) < 2:
        raise DataError("rows of at least two classes", f"{len(np.unique(data.y))}", "use rows of two or more classes")
    x = data.dense
    if x.min() < 0 or x.max() > 1:
        raise DataError("features from 0 to 1", f"{x.min():g} to {x.max():g}", "scale them")
    return x


def clean_images(data: Dataset, attack: object) -> np.ndarray:
    """The images (n, channels, height, width), after validation.

    Raises:
        NotApplicable: a table.
    """
    x = clean_rows(data)
    if not data.is_image:
        raise NotApplicable(
            f"images for {type(attack).__name__}", f"rows of shape {data.shape}", "use ClassMeanShift on tables"
        )
    return x


def targets(x: np.ndarray, y: np.ndarray, num_classes: int, kind: str) -> np.ndarray:
    """For each class (c,), the class towards which it is moved: a permutation without fixed points.

    "next" is the next class number with rows. "nearest" minimises the sum of the distances between the means of the pairs.
    """
    present = np.unique(y)
    found = np.arange(num_classes)
    if kind == "next":
        found[present] = np.roll(present, -1)
        return found
    means = class_means(x, y, num_classes)[present]
    apart = np.linalg.norm(means[:, None] - means[None], axis=2)
    np.fill_diagonal(apart, apart.sum() + 1)  # more expensive than any assignment, so that there is no fixed point
    found[present] = present[linear_sum_assignment(apart)[1]]
    return found


def class_means(x: np.ndarray, y: np.ndarray, num_classes: int) -> np.ndarray:
    """Means (c, features) in float64; zeros for a class without rows."""
    belongs = (y == np.arange(num_classes)[:, None]).astype(np.float64)
    means: np.ndarray = belongs @ x.reshape(len(x), -1) / np.maximum(belongs.sum(axis=1), 1)[:, None]
    return means


def chosen(rate: float, n: int, streams: Streams) -> np.ndarray:
    """Sorted indices of the perturbed rows. For one seed, a higher rate chooses a superset."""
    return np.sort(streams.numpy("rows").permutation(n)[: count(rate, n)])


def perturbed(data: Dataset, rows: np.ndarray, delta: np.ndarray) -> Poison:
    """The data with delta (m, ...) added to these m rows, clipped to [0, 1] and to the schema; labels do not change."""
    x, mask = data.dense[rows], np.zeros(len(data), dtype=bool)
    mask[rows] = True
    return Poison(data.with_encoded(np.clip(x + delta.reshape(x.shape), 0, 1), rows), mask)


def within(moved: Tensor, x: Tensor, epsilon: float) -> Tensor:
    """Projects `moved` to the linf ball of radius epsilon around x, and to [0, 1]."""
    return moved.clamp(x - epsilon, x + epsilon).clamp(0, 1)
