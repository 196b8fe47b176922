"""Agents made of other agents: estimate the others, wait, hold off, add an honest update."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Any, ClassVar

from torch import Tensor

from antivenom.core.protocols import Agent, AgentView, Sent
from antivenom.core.registry import Derived, agent, require_range
from antivenom.core.threat import HARMS, Goal
from antivenom.federated.agents.objectives import estimated_benign
from antivenom.federated.answers import probabilities
from antivenom.federated.guarded import stepped


class Correction(enum.StrEnum):
    """Where the estimate of the others' update enters."""

    PRE = "pre"
    POST = "post"


@agent(goal=HARMS, cite="Bhagoji et al. 2019, arXiv:1811.12470, section 5")
class BenignEstimation:
    """Any agent, improved by an estimate of what the others will send: their last aggregate.

    "pre" lets the inner agent optimise from where the global model will be, w + estimate; "post" subtracts the boosted
    estimate from what it sends. Weakness: "post" lowers success and disturbs training, as in the paper; "pre" helps in
    early rounds only, and where the agent is seldom chosen its estimate is old.

    Fields:
        agent: the strategy to improve.
        correction: "pre" or "post".
        boost: factor of the estimate in "post"; None is 1/a shared among the malicious agents.

    Reference: Bhagoji et al. 2019, arXiv:1811.12470, section 5.
    """

    agent: Agent
    correction: Correction = Correction.PRE
    boost: float | None = None
    __call__: ClassVar[Derived]

    def step(self, view: AgentView, state: Any) -> Sent:
        """The state is the inner agent's."""
        estimate = estimated_benign(view)
        if estimate is None:
            return stepped(self.agent, view, state)
        if Correction(self.correction) is Correction.PRE:
            ahead = dataclasses.replace(view, start=view.start + estimate, past=self._shifted(view, estimate))
            return stepped(self.agent, ahead, state)
        inner = stepped(self.agent, view, state)
        return dataclasses.replace(inner, updates=inner.updates - view.factor(self.boost) * estimate)

    @staticmethod
    def _shifted(view: AgentView, estimate: Tensor) -> tuple:  # type: ignore[type-arg]
        """The past moved along with the start, so that the inner agent's own estimate stays what it was."""
        return tuple(dataclasses.replace(past, start=past.start + estimate) for past in view.past)


@agent(goal=HARMS, cite="Bhagoji et al. 2019, arXiv:1811.12470, authors' code")
class Delayed:
    """Honest until a given round, then the inner agent.

    Weakness: rounds are counted from the start of training, which an agent that joins late does not know.

    Fields:
        agent: the strategy to delay.
        rounds: honest rounds.

    Reference: Bhagoji et al. 2019, arXiv:1811.12470, authors' code.
    """

    agent: Agent
    rounds: int = 5
    __call__: ClassVar[Derived]

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "rounds")

    def step(self, view: AgentView, state: Any) -> Sent:
        """The state is the inner agent's."""
        return Sent(view.all_honest(), state) if view.round <= self.rounds else stepped(self.agent, view, state)


@agent(goal=Goal.TARGETED, cite="Bhagoji et al. 2019, arXiv:1811.12470, authors' code")
class HoldOff:
    """Honest in rounds in which the global model already gives the targets what is wanted, else the inner agent.

    Weakness: the honest rounds wash the targets out again, so it attacks on and off.

    Fields:
        agent: the strategy to hold off.
        confidence: mean target confidence (0 to 1) of the global model above which the agent stays honest.

    Reference: Bhagoji et al. 2019, arXiv:1811.12470, authors' code.
    """

    agent: Agent
    confidence: float = 0.8
    __call__: ClassVar[Derived]

    def __post_init__(self) -> None:
        require_range(self, 0, 1, "confidence")

    def step(self, view: AgentView, state: Any) -> Sent:
        """The state is the inner agent's."""
        shares = probabilities(view.architecture, view.start, view.targets.x)
        wanted = shares.gather(1, view.targets.labels[:, None]).mean()
        return Sent(view.all_honest(), state) if float(wanted) > self.confidence else stepped(self.agent, view, state)


@agent(goal=HARMS, cite="Bhagoji et al. 2019, arXiv:1811.12470, authors' code")
class WithHonest:
    """The inner agent's update plus an honest one.

    Weakness: the honest part is not boosted, so it hides little of a boosted update.

    Fields:
        agent: the strategy to add to.

    Reference: Bhagoji et al. 2019, arXiv:1811.12470, authors' code.
    """

    agent: Agent
    __call__: ClassVar[Derived]

    def step(self, view: AgentView, state: Any) -> Sent:
        """The state is the inner agent's."""
        inner = stepped(self.agent, view, state)
        return dataclasses.replace(inner, updates=inner.updates + view.all_honest())
