"""Rules that bound how far one update can pull."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from antivenom.core.protocols import Need, ServerView
from antivenom.core.registry import require_range
from antivenom.core.threat import HARMS
from antivenom.fast import kernels
from antivenom.federated.aggregation import aggregator
from antivenom.federated.distances import clip_factors


@aggregator(goal=HARMS, cite="Karimireddy et al. 2021, arXiv:2012.10333", reads_all=True)
class CenteredClipping:
    """Clips every update's distance to the last aggregate, then averages: v <- v + mean of clip(u_i - v, tau).

    The aggregate is remembered, so malicious updates must pull to one side for many rounds. Weakness: tau has no
    natural unit, it must be near the spread of honest updates; on a bare matrix, and in the first round, v starts at
    zero. The proof assumes clients with momentum.

    Fields:
        tau: clipping radius, in L2 units of an update.
        steps: how often the clipping is repeated in a round.

    Reference: Karimireddy, He and Jaggi 2021, arXiv:2012.10333.
    """

    tau: float = 10.0
    steps: int = 1
    needs: ClassVar[frozenset[Need]] = frozenset({Need.PAST})

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "tau")
        require_range(self, 1, math.inf, "steps")

    def step(
        self, updates: Tensor, weights: Tensor | None, view: ServerView | None, state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The state is the last aggregate."""
        v = state
        for _ in range(self.steps):
            lengths = kernels.norms(updates) if v is None else kernels.norms_about(updates, v)
            share = clip_factors(lengths, self.tau).to(updates.device) / len(updates)
            pulled = kernels.combine(share, updates)
            v = pulled if v is None else pulled.add_(v, alpha=1 - float(share.sum()))
        assert v is not None  # steps >= 1
        return v, v.clone()
