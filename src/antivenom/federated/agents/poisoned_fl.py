"""PoisonedFL: the same random direction in every round, so that rounds add up instead of cancelling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import AgentView
from antivenom.core.registry import agent, require_range
from antivenom.core.threat import Goal
from antivenom.federated.agents.knowledge import alike


@agent(goal=Goal.AVAILABILITY, cite="Xie et al. 2025, arXiv:2404.15611")
class PoisonedFL:
    """Fake clients that push along a fixed random sign vector; they need no data and know nothing of the others.

    Coordinate magnitudes follow what of the last global change the attack did not cause; the length is c times the last
    global change. Every `window` rounds c is multiplied by `decay` if the signs of the global change over them agree
    with the vector no more often than by chance. c is read off from what was sent last. Weakness: it needs many rounds,
    and a rule that compares a client's updates over rounds sees that they all point the same way.

    Fields:
        scale: c at the start; 8 in the paper.
        decay: what c is multiplied by when the attack does not get through; 0.7 in the paper.
        smallest: c is not lowered below this; 0.5 in the authors' code.
        window: rounds taken part in between two such tests; 50 in the paper.
        chance: one-sided p-value of the test; 0.01 in the paper.

    Reference: Xie et al. 2025, CVPR, arXiv:2404.15611, section 4.
    """

    scale: float = 8.0
    decay: float = 0.7
    smallest: float = 0.5
    window: int = 50
    chance: float = 0.01

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "scale", "smallest")
        if self.window < 1 or not 0 < self.decay <= 1 or not 0 < self.chance < 1:
            raise PluginError(
                "PoisonedFL with window >= 1, 0 < decay <= 1 and chance between 0 and 1",
                f"{self.window}, {self.decay} and {self.chance}",
            )

    @property
    def remembers(self) -> int:
        """Past participations that are looked at."""
        return self.window + 1

    def __call__(self, view: AgentView) -> Tensor:
        if not view.past:
            return torch.zeros(len(view.shards), view.start.numel(), dtype=view.start.dtype, device=view.start.device)
        last = view.past[-1]
        moved, sent = view.start - last.start, last.updates[0]
        own = sent * (moved.norm() / sent.norm().clamp_min(1e-12))
        magnitude = (moved - own).abs()
        magnitude = magnitude / magnitude.norm().clamp_min(1e-12)
        return alike(view, self._scale(view) * moved.norm() * magnitude * self.direction(view))

    @staticmethod
    def direction(view: AgentView) -> Tensor:
        """(d,) of 1 and -1, the same in every round."""
        generator = view.lasting.torch(device=view.start.device)
        draws = torch.rand(view.start.shape, generator=generator, device=view.start.device, dtype=view.start.dtype)
        return torch.where(draws < 0.5, -1.0, 1.0).to(view.start.dtype)

    def _scale(self, view: AgentView) -> float:
        """c of this round."""
        current = self.scale
        if len(view.past) > 1:
            before, last = view.past[-2:]
            moved = float((last.start - before.start).norm())
            current = float(last.updates[0].norm()) / moved if moved > 0 and last.updates.any() else self.scale
        due = (
            view.round // self.window > view.past[-1].round // self.window
        )  # a multiple was passed since it last took part
        if not due or len(view.past) <= self.window or current * self.decay < self.smallest:
            return current
        from scipy.stats import binom

        total = view.start - view.past[-self.window].start
        agreeing = int((torch.sign(total) == self.direction(view)).sum())
        through = agreeing >= binom.ppf(1 - self.chance, total.numel(), 0.5)
        return current if through else self.decay * current
