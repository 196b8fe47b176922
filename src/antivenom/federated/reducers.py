"""Reducers: what is done to the updates before a rule sees them. (n, d) rows to (m, d)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import ServerView
from antivenom.core.registry import Derived, require_range
from antivenom.core.threat import HARMS
from antivenom.fast import kernels
from antivenom.federated.aggregation import reducer, require_min_updates
from antivenom.federated.distances import Gram, clip_factors
from antivenom.federated.needs import streams_of


@reducer(goal=HARMS, cite="Sun et al. 2019, arXiv:1911.07963")
class Clip:
    """Shortens every update whose norm exceeds a bound.

    Weakness: an attacker who stays within the bound is not touched, and a patient one needs no more; too small a bound
    slows honest training.

    Fields:
        bound: the largest norm, in L2 units of an update.

    Reference: Sun et al. 2019, arXiv:1911.07963.
    """

    bound: float = 3.0
    __call__: ClassVar[Derived]

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "bound")

    def mixing(self, gram: Gram, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        return clip_factors(gram.norms, self.bound).diag()


@reducer(goal=HARMS, cite="Sun et al. 2019, arXiv:1911.07963")
class WeakDP:
    """Weak differential privacy: clips every update and adds Gaussian noise.

    One draw of noise is added to all rows, so that the aggregate of any rule that moves along with its inputs carries
    exactly that noise, as in the paper, where it is added after the mean. Weakness: as for clipping; the noise is far
    below what a privacy guarantee needs, and costs accuracy as rounds add up.

    Fields:
        bound: the largest norm, in L2 units of an update.
        noise: standard deviation of the noise in each coordinate.

    Reference: Sun et al. 2019, arXiv:1911.07963.
    """

    bound: float = 3.0
    noise: float = 0.001

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "bound", "noise")

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None
    ) -> tuple[Tensor, Tensor | None]:
        norms = kernels.norms(updates)
        generator = streams_of(view).torch("noise")
        drawn = torch.randn(updates.shape[1], generator=generator, dtype=torch.float32).to(updates)
        return updates * clip_factors(norms, self.bound).to(updates)[:, None] + self.noise * drawn, weights


@reducer(goal=HARMS, cite="Allouah et al. 2025, arXiv:2405.14432")
class ARC:
    """Adaptive robust clipping: shortens the k = floor(2 f/n (n - f)) longest updates to the length of the next one.

    Nothing has to be tuned, and the guarantees of the rule that follows are kept. Weakness: k honest updates may be
    shortened where nobody attacks.

    Fields:
        f: how many malicious agents are assumed; n >= 2f + 1.

    Reference: Allouah et al. 2025, ICLR, arXiv:2405.14432.
    """

    f: int = 1
    __call__: ClassVar[Derived]
    fewest: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")

    def mixing(self, gram: Gram, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        n = len(gram)
        require_min_updates(self, n)
        k = 2 * self.f * (n - self.f) // n
        return clip_factors(gram.norms, gram.norms.sort().values[n - 1 - k]).diag()


@reducer(goal=HARMS, cite="Allouah et al. 2023, arXiv:2302.01772")
class NNM:
    """Nearest-neighbour mixing: replaces every update by the mean of the n - f updates nearest to it, itself included.

    Honest updates come closer to each other, which is what rules need on uneven shards. Of equally near ones the first
    is taken. Weakness: a malicious update near the honest ones is mixed into all of them.

    Fields:
        f: how many malicious agents are assumed; n >= 2f + 1.

    Reference: Allouah et al. 2023, AISTATS, arXiv:2302.01772.
    """

    f: int = 1
    __call__: ClassVar[Derived]
    fewest: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")

    def mixing(self, gram: Gram, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        n = len(gram)
        require_min_updates(self, n)
        near = gram.squared_distances.sort(dim=1, stable=True).indices[:, : n - self.f]
        return torch.zeros(n, n, dtype=torch.float64).scatter(1, near, 1 / (n - self.f))


@reducer(goal=HARMS, cite="Karimireddy et al. 2022, arXiv:2006.09365")
class Bucketing:
    """Shuffles the updates and replaces every `size` of them by their mean; the last bucket may be smaller.

    What is left differs less, and the rule that follows sees fewer rows, of which as many are malicious: its f must fit
    the ceil(n / size) buckets. Weakness: malicious updates spread over the buckets, so their share grows.

    Fields:
        size: updates per bucket, s in the paper.

    Reference: Karimireddy, He and Jaggi 2022, ICLR, arXiv:2006.09365.
    """

    size: int = 2
    __call__: ClassVar[Derived]

    def __post_init__(self) -> None:
        if self.size < 1:
            raise PluginError("size >= 1 for Bucketing", f"{self.size}", "use 2, as the paper does")

    def mixing(self, gram: Gram, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        streams = streams_of(view)
        return self.buckets(torch.randperm(len(gram), generator=streams.torch("buckets")))

    def buckets(self, order: Tensor) -> Tensor:
        """(m, n) the means of the rows in this order, `size` at a time."""
        parts = order.split(self.size)
        mixing = torch.zeros(len(parts), len(order), dtype=torch.float64)
        for bucket, rows in enumerate(parts):
            mixing[bucket, rows] = 1 / len(rows)
        return mixing
