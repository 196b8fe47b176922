"""Stealthy model poisoning: one loss that joins the targets, the honest task and the distance to the others."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from antivenom.core.protocols import AgentView
from antivenom.core.registry import agent, require_range
from antivenom.core.threat import Goal
from antivenom.federated.agents.objectives import AdamSteps, Objectives, each_member, estimated_benign, pull


@agent(goal=Goal.TARGETED, cite="Bhagoji et al. 2019, arXiv:1811.12470, section 3.2")
class StealthyPoisoning:
    """Minimises boost * L(targets) + L(own shard) + rho * distance to the last benign aggregate.

    By default each minibatch takes two Adam steps from the same point, one honest and one on the targets times the
    boost, as the authors run it; otherwise one step on the sum. Weakness: the two goals fight in every step, so the
    malicious model alone stays less accurate than an honest one, and its distances vary widely.

    Fields:
        epochs: passes over the own shard; at least the federation's E are made.
        boost: weight of the targets; None is 1/a shared among the malicious agents.
        rho: weight of the distance; 0 in the agent's first round, where no aggregate is known.
        half_squared: half the squared distance instead of the distance.
        one_loss: one Adam on the summed loss instead of two.
        learning_rate: of Adam.

    Reference: Bhagoji et al. 2019, arXiv:1811.12470, section 3.2.
    """

    epochs: int = 5
    boost: float | None = None
    rho: float = 1e-4
    half_squared: bool = False
    one_loss: bool = False
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "epochs", "rho", "learning_rate", "boost")

    def __call__(self, view: AgentView) -> Tensor:
        boost = view.factor(self.boost)
        training = dataclasses.replace(view.training, epochs=max(self.epochs, view.training.epochs))
        previous = estimated_benign(view)

        def update(member: int) -> Tensor:
            objectives = Objectives(view, member)
            honest_step = AdamSteps(view.start, self.learning_rate)
            target_step = AdamSteps(view.start, self.learning_rate)
            at = view.start.clone()
            rng = view.streams.child("member", member).numpy("order")
            for batch in training.batches(len(objectives.y), rng):
                rows = torch.as_tensor(batch, device=at.device)
                on_rows, on_targets = objectives.on_rows(at, rows)[1], objectives.on_targets(at)[1]
                if previous is not None:
                    on_rows = on_rows + self.rho * pull(at - view.start, previous, self.half_squared)
                if self.one_loss:
                    at += honest_step(on_rows + boost * on_targets)
                else:
                    at += honest_step(on_rows) + boost * target_step(on_targets)
            return at - view.start

        return each_member(view, update)
