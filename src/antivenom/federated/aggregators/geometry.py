"""Rules that weight every update by its position among the others."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from antivenom.core.protocols import ServerView
from antivenom.core.registry import Derived, require_range
from antivenom.core.threat import HARMS
from antivenom.federated.aggregation import aggregator, require_min_updates
from antivenom.federated.distances import Gram


@aggregator(goal=HARMS, cite="Pillutla et al. 2022, arXiv:1912.13445")
class GeometricMedian:
    """The point with the smallest sum of distances to the updates (RFA).

    Weiszfeld's iteration, smoothed near the updates, runs until the unit vectors from the point to the updates cancel,
    not for a fixed number of steps. It needs the Gram matrix only. Weakness: malicious agents that agree on a direction
    shift the point as far as their share allows, and the rule does not look at single coordinates.

    Fields:
        nu: smoothing; distances below nu times the median distance to the mean of the smaller updates count as that.
        tolerance: largest length (0 to 1) of the mean of the unit vectors at the end.
        most_steps: maximal number of iterations.

    Reference: Weiszfeld 1937; Pillutla, Kakade and Harchaoui 2022, arXiv:1912.13445.
    """

    nu: float = 1e-6
    tolerance: float = 1e-6
    most_steps: int = 1000
    __call__: ClassVar[Derived]

    def __post_init__(self) -> None:
        require_range(self, 0, 1, "nu", "tolerance")
        require_range(self, 1, math.inf, "most_steps")

    def coefficients(self, gram: Gram, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        products = gram.centred.numpy()
        n = len(products)
        squares, c = products.diagonal(), np.full(n, 1 / n)
        spread = np.sqrt(squares)
        if not spread.any():
            return torch.from_numpy(c)
        # Where a majority lies in one point the median is zero, and any positive floor will do.
        floor = self.nu * float(np.median(spread)) or 1e-9 * spread[spread > 0].min()
        for _ in range(self.most_steps):
            towards = products @ c
            apart = np.sqrt(np.maximum(squares - 2 * towards + c @ towards, 0))
            pull = 1 / np.maximum(apart, floor)
            pull_sum = pull.sum()
            slope = (pull_sum * c - pull) / n  # the mean of the unit vectors, as coefficients of the rows
            if slope @ products @ slope <= self.tolerance**2:
                break
            c = pull / pull_sum
        return torch.from_numpy(c)


@aggregator(goal=HARMS, cite="Allouah et al. 2025, arXiv:2505.01874")
class CAF:
    """Covariance-bound agnostic filter: takes weight from the updates that stretch the covariance, and the best mean met.

    Each update's weight is lowered in proportion to its squared projection onto the top eigenvector of the weighted
    covariance, until only n - 2f of the weight is left. Of all the means on the way, the one with the smallest top
    eigenvalue is returned. Weakness: f must be below n/2, and malicious updates in no common direction keep weight.

    Fields:
        f: how many malicious agents are assumed; n >= 2f + 1.

    Reference: Allouah, Guerraoui and Stephan 2025, arXiv:2505.01874.
    """

    f: int = 1
    __call__: ClassVar[Derived]
    fewest: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")

    def coefficients(self, gram: Gram, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        products = gram.centred.numpy()
        n = len(products)
        require_min_updates(self, n)
        c = np.ones(n)
        best, smallest = c / n, np.inf
        while c.sum() > n - 2 * self.f:
            share = c / c.sum()
            towards = products @ share
            centred = products - towards[:, None] - towards[None, :] + share @ towards
            root = np.sqrt(share)
            values, vectors = np.linalg.eigh(root[:, None] * centred * root[None, :])
            if values[-1] < smallest:
                best, smallest = share, values[-1]
            # The top eigenvector of the covariance is a combination of the rows: its projections, up to one factor. They
            # are compared among rows that have weight: one far off without weight would stop the filter for good.
            along, live = np.abs(centred @ (root * vectors[:, -1])), c > 0
            if along[live].max() <= np.finfo(float).eps * np.abs(centred[live][:, live]).max():
                break  # what has weight lies in one point
            c = c * (1 - (along / along[live].max()).clip(max=1) ** 2)
            c[c < 1e-12] = 0
        return torch.from_numpy(best)
