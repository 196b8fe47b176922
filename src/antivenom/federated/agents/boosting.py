"""Targeted model poisoning: learn the targets alone, and boost the update so that it survives averaging."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from antivenom.core.protocols import AgentView
from antivenom.core.registry import agent, require_range
from antivenom.core.threat import Goal
from antivenom.federated.agents.objectives import AdamSteps, Objectives, each_member


@agent(goal=Goal.TARGETED, cite="Bhagoji et al. 2019, arXiv:1811.12470, section 3.1")
class ExplicitBoosting:
    """A few Adam steps on the targets alone, then the whole update times 1/a.

    With a boost of 1/a the global model becomes the malicious one plus the others' mean. Weakness: it is plain to see;
    the malicious model alone is useless on everything else, and its distances to the others stand out.

    Fields:
        steps: optimiser steps on the targets; the least number if `until_loss` is set.
        until_loss: go on until the loss on the targets is below this; None stops after `steps`.
        max_steps: the most steps with `until_loss`.
        learning_rate: of Adam.
        boost: the factor; None is 1/a shared among the malicious agents (n for one of n chosen agents with
            equal weights, K with fixed ones).

    Reference: Bhagoji et al. 2019, arXiv:1811.12470, section 3.1.
    """

    steps: int = 5
    until_loss: float | None = None
    max_steps: int = 1000
    learning_rate: float = 1e-3
    boost: float | None = None

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "steps", "max_steps", "learning_rate", "until_loss", "boost")

    def __call__(self, view: AgentView) -> Tensor:
        boost = view.factor(self.boost)

        def update(member: int) -> Tensor:
            objectives = Objectives(view, member)
            step = AdamSteps(view.start, self.learning_rate)
            at = view.start.clone()
            for count in range(self.steps if self.until_loss is None else self.max_steps):
                loss, gradient = objectives.on_targets(at)
                if self.until_loss is not None and count >= self.steps and loss <= self.until_loss:
                    break
                at += step(gradient)
            return boost * (at - view.start)

        return each_member(view, update)


@agent(goal=Goal.TARGETED, cite="Bhagoji et al. 2019, arXiv:1811.12470, appendix A")
class ImplicitBoosting:
    """Minimises the loss of the targets at w + a * update over the update itself, so that no factor is needed.

    Weakness: the gradient is scaled by a, so it takes about four times an honest agent's steps, and the paper reports
    success in 4 of 10 rounds only. Kept as an ablation.

    Fields:
        steps: optimiser steps.
        learning_rate: of Adam, on the update.

    Reference: Bhagoji et al. 2019, arXiv:1811.12470, appendix A.
    """

    steps: int = 2000
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "steps", "learning_rate")

    def __call__(self, view: AgentView) -> Tensor:
        share = 1.0 / view.boost

        def update(member: int) -> Tensor:
            objectives = Objectives(view, member)
            step = AdamSteps(view.start, self.learning_rate)
            sent = torch.zeros_like(view.start)
            for _ in range(self.steps):
                sent += step(share * objectives.on_targets(view.start + share * sent)[1])
            return sent

        return each_member(view, update)
