"""Rules that look at one coordinate at a time."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from antivenom.core.protocols import ServerView
from antivenom.core.registry import require_range
from antivenom.core.threat import HARMS
from antivenom.fast import kernels
from antivenom.federated.aggregation import aggregator, require_min_updates


@aggregator(goal=HARMS, cite="Yin et al. 2018, arXiv:1803.01498", reads_all=True)
class Median:
    """The coordinate-wise median; for even n the mean of the two middle values.

    Weakness: on uneven shards it is biased, and many small steps to one side pass: an unboosted targeted update shifts
    the coordinates that the others leave alone.

    Reference: Yin et al. 2018, arXiv:1803.01498.
    """

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        return kernels.median(updates)


@aggregator(goal=HARMS, cite="Yin et al. 2018, arXiv:1803.01498", reads_all=True)
class TrimmedMean:
    """The mean of each coordinate without its f lowest and its f highest values.

    Weakness: values just inside the honest range are averaged in, so many small steps to one side pass (ALIE), and rare
    honest values, which uneven shards need, are cut.

    Fields:
        f: how many values are cut at each end; n >= 2f + 1.

    Reference: Yin et al. 2018, arXiv:1803.01498.
    """

    f: int = 1
    fewest: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        require_min_updates(self, len(updates))
        return kernels.trimmed_mean(updates, self.f)


@aggregator(goal=HARMS, cite="Xie et al. 2018, arXiv:1802.10116", reads_all=True)
class Meamed:
    """Mean around the median: of each coordinate, the mean of the n - f values nearest to its median.

    Weakness: as for the trimmed mean; with an even n the two middle values decide together where "near" is.

    Fields:
        f: how many values are left out; n >= 2f + 1.

    Reference: Xie, Koyejo and Gupta 2018, arXiv:1802.10116.
    """

    f: int = 1
    fewest: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        require_min_updates(self, len(updates))
        return kernels.mean_around_median(updates, len(updates) - self.f)
