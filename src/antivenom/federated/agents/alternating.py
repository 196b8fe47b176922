"""Alternating minimisation: the paper's strongest attack."""

from __future__ import annotations

import dataclasses
import enum
import math

import torch
from torch import Tensor

from antivenom.core.protocols import AgentView
from antivenom.core.registry import agent, require_range
from antivenom.core.threat import Goal
from antivenom.federated.agents.objectives import AdamSteps, Objectives, each_member, estimated_benign, honest, pull


class Centre(enum.StrEnum):
    """What the malicious model is kept near."""

    OWN_HONEST = "own-honest"
    LAST_BENIGN = "last-benign"
    NONE = "none"


@agent(goal=Goal.TARGETED, cite="Bhagoji et al. 2019, arXiv:1811.12470, section 3.3")
class AlternatingMinimization:
    """Turns between honest minibatches with a distance term and one boosted step on the targets.

    Boosting happens at every malicious step, never at the end, so the honest steps can repair what it breaks. The order
    (stealth first) and the centre (an honest update of its own, half-squared distance) are those that the authors ran;
    the paper's text has the malicious step first and the last benign aggregate as centre. Weakness: it costs several
    honest trainings per round, and against the median its unboosted share is too small.

    Fields:
        epochs: passes over the own shard (E_m).
        stealth_steps: honest minibatches per malicious step.
        boost: factor of each malicious step; None is 1/a shared among the malicious agents.
        rho: weight of the distance in the stealth loss.
        centre: own-honest, last-benign (no distance in the agent's first round) or none.
        half_squared: half the squared distance instead of the distance; the gradient of the plain one is negligible.
        malicious_first: begin each turn with the malicious step, as the paper's text does.
        weights_only: boost and measure distance on weights of two or more dimensions only, as the authors' code does.
        learning_rate: of both Adam optimisers, whose moments last through the round.

    Reference: Bhagoji et al. 2019, arXiv:1811.12470, section 3.3.
    """

    epochs: int = 10
    stealth_steps: int = 10
    boost: float | None = None
    rho: float = 1e-4
    centre: Centre = Centre.OWN_HONEST
    half_squared: bool = True
    malicious_first: bool = False
    weights_only: bool = True
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "epochs", "stealth_steps")
        require_range(self, 0, math.inf, "rho", "learning_rate", "boost")

    def __call__(self, view: AgentView) -> Tensor:
        return each_member(view, lambda member: self._update(view, member))

    def _update(self, view: AgentView, member: int) -> Tensor:
        objectives = Objectives(view, member)
        centre = self._centre(view, member)
        measured = (
            view.architecture.kernels.to(view.start.device) if self.weights_only else torch.ones_like(view.start).bool()
        )
        boost = torch.where(measured, view.factor(self.boost), 1.0)
        measured = measured.to(view.start.dtype)
        centre = None if centre is None else centre * measured
        malicious, stealth = (AdamSteps(view.start, self.learning_rate) for _ in range(2))
        training = dataclasses.replace(view.training, epochs=self.epochs)
        at = view.start.clone()
        rng = view.streams.child("member", member).numpy("order")
        for count, batch in enumerate(training.batches(len(objectives.y), rng), start=1):
            rows = torch.as_tensor(batch, device=at.device)
            if self.malicious_first and (count - 1) % self.stealth_steps == 0:
                at += boost * malicious(objectives.on_targets(at)[1])
            gradient = objectives.on_rows(at, rows)[1]
            if centre is not None:
                gradient = gradient + self.rho * pull(at * measured, centre, self.half_squared)
            at += stealth(gradient)
            if not self.malicious_first and count % self.stealth_steps == 0:
                loss, gradient = objectives.on_targets(at)
                change = malicious(gradient)
                if loss > 0:  # a loss of exactly 0 has saturated: the authors stop there
                    at += boost * change
        return at - view.start

    def _centre(self, view: AgentView, member: int) -> Tensor | None:
        """(d,) the parameters to stay near, or None."""
        if Centre(self.centre) is Centre.OWN_HONEST:
            return view.start + honest(view, member, max(self.epochs, view.training.epochs))
        previous = estimated_benign(view) if Centre(self.centre) is Centre.LAST_BENIGN else None
        return None if previous is None else view.start + previous
