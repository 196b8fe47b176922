"""Averages over clients: the undefended mean, and means that bound the effect of one client's weight or of one round."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import Need, ServerView
from antivenom.core.registry import require_range
from antivenom.core.threat import HARMS
from antivenom.fast import kernels
from antivenom.federated.aggregation import aggregator, require_min_updates
from antivenom.federated.needs import streams_of
from antivenom.federated.weighting import averaged


@aggregator(goal=(), cite="McMahan et al. 2017, arXiv:1602.05629", reads_all=True)
class Mean:
    """The weighted mean of federated averaging; the undefended rule.

    Weights count in proportion and need not sum to 1.

    >>> from antivenom import Mean
    >>> Mean()([[1.0, 2.0], [3.0, 2.0], [5.0, 6.0]], [1, 2, 1])  # (1 + 2 * 3 + 5) / 4 and (2 + 2 * 2 + 6) / 4
    array([3., 3.])

    Weakness: one agent that boosts its update by 1/a decides the result alone.

    Reference: McMahan et al. 2017, arXiv:1602.05629.
    """

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        return averaged(updates, weights, view)


@aggregator(goal=HARMS, cite="Portnoy et al. 2020, arXiv:2004.04986")
class CappedMean:
    """The weighted mean with capped weights, against clients that lie about their number of examples.

    Weights above a cap are lowered to it. The cap is the largest one at which the f heaviest clients hold at most `share`
    of the sum. All weights are then scaled back to their old sum, which returns to honest clients what a liar took.
    Weakness: it bounds weights and not updates, so that a boosted update passes.

    Fields:
        f: how many clients are assumed to lie; f < n.
        share: the most that the f heaviest clients may hold together (0 to 1); below f/n all weights become equal.

    Reference: Portnoy et al. 2020, arXiv:2004.04986.
    """

    f: int = 1
    share: float = 0.3
    fewest: ClassVar[tuple[int, int]] = (1, 1)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")
        if not 0 < self.share <= 1:
            raise PluginError("CappedMean.share above 0 and at most 1", f"{self.share}")

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        require_min_updates(self, len(updates))
        return averaged(updates, None if weights is None else self.capped(weights), view)

    def capped(self, weights: Tensor) -> Tensor:
        """(n,) the weights that are used."""
        n, share = len(weights), self.share
        ordered = weights.double().sort(descending=True).values
        # With the k heaviest at the cap c and the rest below it, the f heaviest hold min(k, f) c + the next f - k.
        # Solve "they hold `share`" for every k; the right k is the one whose c separates the k-th from the next. For a
        # share below f/n there is none, and all weights become equal.
        sums = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
        if sums[self.f] <= share * sums[n]:
            return weights
        cap = ordered[n - 1]
        for k in range(1, n):
            inside = sums[max(k, self.f)] - sums[k]  # among the f heaviest, but below the cap
            c = (share * (sums[n] - sums[k]) - inside) / (min(k, self.f) - share * k)
            if min(k, self.f) > share * k and ordered[k] <= c <= ordered[k - 1]:
                cap = c
                break
        used = weights.double().clamp(max=float(cap))
        if not used.any():  # all but the f heaviest hold nothing: no cap but 0 bounds them
            used = torch.ones_like(used)
        return (used / used.sum() * float(weights.sum())).to(weights)


@aggregator(goal=HARMS, cite="Xie et al. 2020, arXiv:1903.06996")
class SLSGD:
    """The trimmed mean, of which only a share is applied: w <- (1 - alpha) w + alpha (w + trimmed mean).

    The moving average damps what one round of malicious updates can do. Weakness: it damps the honest updates as much,
    so an attack that persists over rounds loses nothing.

    Fields:
        f: how many values are cut at each end of each coordinate; n >= 2f + 1.
        alpha: share of the aggregate that is applied (0 to 1).

    Reference: Xie, Koyejo and Gupta 2020, arXiv:1903.06996.
    """

    f: int = 1
    alpha: float = 0.8
    fewest: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")
        require_range(self, 0, 1, "alpha")

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        require_min_updates(self, len(updates))
        return self.alpha * kernels.trimmed_mean(updates, self.f)


@aggregator(goal=HARMS, cite="Sun et al. 2021, arXiv:2110.13864")
class WBC:
    """White blood cells: the mean, with noise where it hardly changes from one round to the next.

    Where two successive steps are nearly equal, the loss is nearly flat, and what an attack left there stays for many
    rounds: those coordinates are shaken by Laplace noise, the others left alone. In the paper each client does this
    between its own mini-batches, and the authors' code spares biases; a server sees rounds only, so here a step is a
    round and all coordinates are alike. Weakness: it shortens an attack's life and does not stop it in the round it is
    made; the noise costs accuracy.

    Fields:
        scale: b of the Laplace noise, in units of one coordinate of an update (the code's strength times learning rate);
            noise is added where it exceeds the change.

    Reference: Sun et al. 2021, NeurIPS 34, arXiv:2110.13864.
    """

    scale: float = 1e-4
    needs: ClassVar[frozenset[Need]] = frozenset({Need.PAST})

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "scale")

    def step(
        self, updates: Tensor, weights: Tensor | None, view: ServerView | None, state: Any
    ) -> tuple[Tensor, Tensor]:
        """The state is the mean of the round before."""
        mean = averaged(updates, weights, view)
        if state is None:
            return mean, mean.clone()
        streams = streams_of(view)
        drawn = torch.empty(2, *mean.shape).exponential_(generator=streams.torch("white blood cells"))
        noise = self.scale * (drawn[0] - drawn[1]).to(mean)  # a difference of two exponential numbers is Laplacian
        return torch.where((mean - state).abs() < noise.abs(), mean + noise, mean), mean
