"""Malicious agents that act together, and those that act now and then."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch

from antivenom.core.errors import PluginError
from antivenom.core.protocols import Agent, AgentView, Sent, Shard
from antivenom.core.registry import Derived, agent
from antivenom.core.threat import HARMS
from antivenom.federated.guarded import stepped


def spoken_for(view: AgentView, shards: tuple[Shard, ...], each: int) -> AgentView:
    """The view of a few agents that speak for all k, each for itself and the next `each - 1`: their boost stays 1/(a k)."""
    few = len(shards)
    return dataclasses.replace(
        view,
        shards=shards,
        weight=view.weight * len(view.shards) / few,
        past=tuple(dataclasses.replace(past, updates=past.updates[::each][:few]) for past in view.past),
        members=tuple(member // each for member in view.members[::each]),
    )


@agent(goal=HARMS, cite="Bagdasaryan et al. 2020, arXiv:1807.00459")
class Colluding:
    """The inner agent run once for every k malicious agents, on all their rows; each of the k sends the same update.

    More rows make a better backdoor and better estimates, and the boost is shared. An inner agent that counts the attackers
    (ALIE, FangKrum) counts teams. Weakness: equal updates are what FoolsGold looks for.

    Fields:
        agent: the strategy of a team.
        k: agents per team; the last team may be smaller.

    Reference: Bagdasaryan et al. 2020, arXiv:1807.00459, section 3.2 (several colluding attackers).
    """

    agent: Agent
    k: int = 2
    __call__: ClassVar[Derived]

    def __post_init__(self) -> None:
        if self.k < 1:
            raise PluginError("k >= 1", f"{self.k}", "a team has at least one agent")

    def step(self, view: AgentView, state: Any) -> Sent:
        """The state is the inner agent's, which speaks for all teams."""
        teams = [view.shards[i : i + self.k] for i in range(0, len(view.shards), self.k)]
        pooled = tuple((torch.cat([x for x, _ in team]), torch.cat([y for _, y in team])) for team in teams)
        inner = stepped(self.agent, spoken_for(view, pooled, self.k), state)
        sizes = torch.tensor([len(team) for team in teams], device=inner.updates.device)
        return dataclasses.replace(inner, updates=inner.updates.repeat_interleave(sizes, dim=0))


@agent(goal=HARMS, cite="Xie et al. 2020, ICLR (DBA)")
class Every:
    """The inner agent in every so many rounds, honest in between: multi-shot and single-shot attacks.

    Weakness: honest rounds wash a backdoor out; how fast is what a single shot measures.

    Fields:
        agent: the strategy.
        rounds: from one attack to the next.
        first: round of the first attack, from 1.
        last: no attack after this round; None goes on. `first` = `last` is a single shot.

    Reference: Xie et al. 2020, ICLR (attacks A-M and A-S of DBA).
    """

    agent: Agent
    rounds: int = 2
    first: int = 1
    last: int | None = None
    __call__: ClassVar[Derived]

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.first < 1 or (self.last is not None and self.last < self.first):
            raise PluginError(
                "Every with rounds and first >= 1 and last >= first", f"{self.rounds}, {self.first} and {self.last}"
            )

    def step(self, view: AgentView, state: Any) -> Sent:
        """The state is the inner agent's."""
        over = self.last is not None and view.round > self.last
        if over or view.round < self.first or (view.round - self.first) % self.rounds:
            return Sent(view.all_honest(), state)
        return stepped(self.agent, view, state)
