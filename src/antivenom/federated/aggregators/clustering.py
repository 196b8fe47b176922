"""Rules that split the updates into clusters and keep the larger one."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from antivenom.core.protocols import Need, ServerView
from antivenom.core.registry import require_range
from antivenom.fast import kernels
from antivenom.federated.aggregation import aggregator
from antivenom.federated.aggregators.selection import chosen
from antivenom.federated.aggregators.signs import largest
from antivenom.federated.distances import Gram, clip_factors, middle_norm
from antivenom.federated.needs import streams_of


@aggregator(goal=("targeted", "backdoor"), cite="Nguyen et al. 2022, arXiv:2101.02281")
class FLAME:
    """Admits the majority cluster of directions, clips it to the median norm, averages, and adds a little noise.

    HDBSCAN on cosine distances looks for a cluster of more than half of the clients; if it finds none, all are
    admitted. Weakness: on uneven shards honest clients fall out of the cluster, and an attack with honest directions
    stays in; the noise costs accuracy as rounds add up.

    Fields:
        noise: standard deviation of the noise per coordinate, as a multiple of the median norm (lambda).

    Reference: Nguyen et al. 2022, USENIX Security 31, arXiv:2101.02281.
    """

    noise: float = 0.001

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "noise")

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        gram = Gram.of(updates)
        middle = middle_norm(gram.norms)
        admitted = torch.from_numpy(_majority((1 - gram.cosines).numpy()))
        shares = admitted / admitted.sum()
        mean = kernels.combine(shares * clip_factors(gram.norms, middle), updates)
        generator = streams_of(view).torch("noise")
        drawn = torch.randn(mean.shape, generator=generator, dtype=torch.float32).to(mean)
        return mean + self.noise * float(middle) * drawn


@aggregator(goal=("availability",), cite="Li et al. 2023, arXiv:2302.07173")
class ClippedClustering:
    """Clips to the median of all norms seen so far, splits the directions into two clusters, averages the larger.

    Average linkage on cosine distances; of two clusters of one size, the tighter. Weakness: a split is made even where
    all are honest, so honest minorities are lost; attacks with honest directions stay in the larger cluster.

    Reference: Li, Ngai and Voigt 2023, arXiv:2302.07173.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PAST})

    def step(
        self, updates: Tensor, weights: Tensor | None, view: ServerView | None, state: tuple[float, ...] | None
    ) -> tuple[Tensor, tuple[float, ...]]:
        """The state is every norm seen so far."""
        gram = Gram.of(updates)
        seen = (*(state or ()), *gram.norms.tolist())
        bound = middle_norm(torch.tensor(seen, dtype=torch.float64))
        kept = torch.from_numpy(_larger_half((1 - gram.cosines).clamp_min(0).numpy()))
        return kernels.combine(chosen(len(gram), kept) * clip_factors(gram.norms, bound), updates), seen


@aggregator(goal=("targeted", "backdoor"), cite="Shen et al. 2016, ACSAC 32")
class Auror:
    """Leaves out clients that stand in the smaller of two clusters in most coordinates where two clusters are apart.

    Every coordinate is split by 2-means; where the two means are more than alpha apart the coordinate is indicative.
    The paper fixes the indicative coordinates in the first rounds; here each round finds its own, in all layers, and
    splits them exactly. Weakness: alpha has no natural unit; an attack that is small in every coordinate is in no minority.

    Fields:
        alpha: distance of the two means from which a coordinate is indicative, in units of one coordinate; the default is
            FLPoison's for gradients.
        tau: share of the indicative coordinates in which a client may be in the minority (0 to 1).

    Reference: Shen, Tople and Saxena 2016, ACSAC 32.
    """

    alpha: float = 0.002
    tau: float = 0.5

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "alpha")
        require_range(self, 0, 1, "tau")

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        n, votes, indicative = len(updates), torch.zeros(len(updates), dtype=torch.float64), 0
        for block in updates.split(1 << 16, dim=1):
            minority, apart = _two_means(block.double().cpu())
            votes += minority[:, apart >= self.alpha].sum(dim=1)
            indicative += int((apart >= self.alpha).sum())
        good = torch.nonzero(votes <= self.tau * indicative).flatten()
        return kernels.combine(chosen(n, good), updates)


def _two_means(x: Tensor) -> tuple[Tensor, Tensor]:
    """(n, d) bool, who is in the smaller cluster, and (d,) how far the two means are apart: the best split of each column.

    In one dimension a cluster is a run of the sorted values, so the best of n - 1 cuts is the optimum. Two clusters of
    one size have no minority.
    """
    n = len(x)
    if n < 2:
        return torch.zeros_like(x, dtype=torch.bool), torch.zeros_like(x[0])
    ordered, order = x.sort(dim=0)
    below = torch.arange(1, n, dtype=x.dtype)[:, None]
    sums = (ordered - ordered.mean(dim=0)).cumsum(dim=0)[:-1]
    gap = -sums / below - sums / (n - below)  # mean of the upper part minus mean of the lower part
    cut = (below * (n - below) * gap.square()).argmax(dim=0)
    place = torch.arange(n)[:, None]
    low = place <= cut
    smaller = torch.where(2 * (cut + 1) < n, low, ~low & (2 * (cut + 1) != n))
    minority = torch.zeros_like(smaller).scatter(0, order, smaller)
    return minority, gap.gather(0, cut[None])[0]


def _majority(apart: np.ndarray) -> np.ndarray:
    """(n,) bool: the HDBSCAN cluster that holds more than half of them; all if there is none."""
    n = len(apart)
    if n < 3:
        return np.ones(n, dtype=bool)
    from sklearn.cluster import HDBSCAN

    found = HDBSCAN(
        min_cluster_size=n // 2 + 1, min_samples=1, metric="precomputed", allow_single_cluster=True, copy=True
    ).fit_predict(apart)
    inside = largest(found)
    return inside if inside.any() else np.ones(n, dtype=bool)


def _larger_half(apart: np.ndarray) -> np.ndarray:
    """Numbers of the rows in the larger of two average-linkage clusters."""
    n = len(apart)
    if n < 3:
        return np.arange(n)
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    labels = fcluster(linkage(squareform(apart), "average"), 2, "maxclust")
    parts = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return max(parts, key=lambda rows: (len(rows), -apart[np.ix_(rows, rows)].mean()))
