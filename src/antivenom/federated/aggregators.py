"""Aggregation rules: (n, d) updates to the one (d,) that moves the global model."""

from __future__ import annotations

import torch
from torch import Tensor

from antivenom.errors import PluginError
from antivenom.federated.aggregation import aggregator
from antivenom.federated.distances import squared_distances
from antivenom.protocols import ServerView


@aggregator(goal=(), cite="McMahan et al. 2017, arXiv:1602.05629")
class Mean:
    """The weighted mean of federated averaging; the undefended rule.

    Weakness: one agent that boosts its update by 1/a decides the result alone.

    Reference: McMahan et al. 2017, arXiv:1602.05629.
    """

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        """Sum of a_i u_i; the a_i are used as they come and are 1/n if absent."""
        return updates.mean(dim=0) if weights is None else weights @ updates


@aggregator(goal=("availability", "targeted", "backdoor"), cite="Blanchard et al. 2017, NeurIPS 30")
class Krum:
    """The one update whose nearest neighbours are nearest.

    Each update is scored by the sum of its squared distances to its n-f-2 nearest others; the lowest score is taken,
    the first of them on a tie. Weakness: it keeps one agent's update, so it is slow on uneven shards, and a malicious
    update near the others is taken whole (alternating minimisation with a small boost).

    Fields:
        f: how many malicious agents are assumed; n >= 2f + 3.
        squared: squared distances, as in the paper; False is the variant in the code of Bhagoji et al.
        kernels_only: distances over weights of two or more dimensions only, biases left out, as in that code.

    Reference: Blanchard et al. 2017, NeurIPS 30.
    """

    f: int = 1
    squared: bool = True
    kernels_only: bool = False

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        n = len(updates)
        if self.f < 0 or n < 2 * self.f + 3:
            raise PluginError(
                f"n >= 2f + 3 updates for Krum with f = {self.f}", f"n = {n}", f"use f <= {max((n - 3) // 2, 0)}"
            )
        return updates[self.scores(_compared(updates, self.kernels_only, view)).argmin()]

    def scores(self, updates: Tensor) -> Tensor:
        """(n,) sums of distances to the n-f-2 nearest others."""
        apart = squared_distances(updates)
        apart = apart if self.squared else apart.sqrt()
        nearest = apart.sort(dim=1).values  # column 0 is the update itself
        return nearest[:, 1 : len(updates) - self.f - 1].sum(dim=1)


@aggregator(goal=("availability", "targeted", "backdoor"), cite="Yin et al. 2018, arXiv:1803.01498")
class Median:
    """The coordinate-wise median; for even n the mean of the two middle values.

    Weakness: on uneven shards it is biased, and many small steps to one side pass: an unboosted targeted update shifts
    the coordinates that the others leave alone.

    Reference: Yin et al. 2018, arXiv:1803.01498.
    """

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        n = len(updates)
        ordered = updates.sort(dim=0).values
        return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def _compared(updates: Tensor, kernels_only: bool, view: ServerView | None) -> Tensor:
    """The columns that distances are taken over."""
    if not kernels_only:
        return updates
    if view is None:
        raise PluginError(
            "a ServerView for kernels_only", "a bare matrix", "use kernels_only=False outside a federation"
        )
    return updates[:, view.network.kernels.to(updates.device)]


def selected(updates: Tensor, aggregate: Tensor) -> Tensor:
    """(n,) bool: the rows that a selecting rule returned unchanged; all False for a rule that mixes."""
    return torch.all(updates == aggregate, dim=1)
