"""Attackers who know the defence: stay within its bound, or tune the scale against the defence that is in use."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from typing import Any, ClassVar, TypeGuard

import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import Agent, AgentView, Aggregator, ClientDetector, Need, Sent, ServerView
from antivenom.core.registry import Derived, Kind, agent, require_range
from antivenom.core.registry.entry import registered
from antivenom.core.threat import HARMS, Knowledge
from antivenom.data import Dataset
from antivenom.federated.agents.knowledge import benign, crowd
from antivenom.federated.aggregation import has_memory, step_of
from antivenom.federated.aggregators import Mean
from antivenom.federated.guarded import stepped
from antivenom.federated.needs import needs_of

RECALLED = 50  # rounds that are gone through again, at most: each costs a call of the rule and a matrix of updates


class Centre(enum.StrEnum):
    """What an update is scaled about."""

    ZERO = "zero"
    BENIGN = "benign"


class Damage(enum.StrEnum):
    """What an aggregate is worth to the attacker."""

    DISTANCE = "distance"
    REVERSAL = "reversal"


@agent(goal=HARMS, cite="Sun et al. 2019, arXiv:1911.07963")
class NormBounded:
    """Any agent, its update shortened to the length that the server lets pass.

    Without it a clipping server is judged against an attacker who does not know of the clipping. Weakness: a bound of
    the length of honest updates leaves a boosted attack no more than an honest agent's share.

    Fields:
        agent: the strategy.
        bound: largest L2 length, in the unit of an update; None takes the median length of the benign updates.
        factor: the largest multiple of that median; ignored with a bound.
        knowledge: for a bound of None: own or omniscient; None is what the threat model grants.

    Reference: Sun et al. 2019, arXiv:1911.07963, section 4.
    """

    agent: Agent
    bound: float | None = None
    factor: float = 1.0
    knowledge: Knowledge | None = None
    __call__: ClassVar[Derived]

    def __post_init__(self) -> None:
        if self.bound is not None and not self.bound >= 0:
            raise PluginError("bound >= 0", f"{self.bound}", "give an L2 length")
        require_range(self, 0, math.inf, "factor")

    def step(self, view: AgentView, state: Any) -> Sent:
        """The state is the inner agent's."""
        inner = stepped(self.agent, view, state)
        sent, bound = inner.updates, self.bound
        if bound is None:
            bound = self.factor * float(benign(view, self.knowledge).norm(dim=1).quantile(0.5))
        lengths = sent.double().norm(dim=1, keepdim=True)
        shortened = sent * (bound / lengths.clamp_min(1e-30)).clamp(max=1.0).to(sent.dtype)
        # Rounding may leave it a hair too long, and a server's bound is exact.
        too_long = shortened.double().norm(dim=1, keepdim=True) > bound
        return dataclasses.replace(inner, updates=torch.where(too_long, shortened * (1 - 1e-6), shortened))


@agent(goal=HARMS, cite="Shejwalkar et al. 2022, arXiv:2108.10241")
class Scaled:
    """Any agent, its update scaled about zero or about the mean of the benign updates.

    Weakness: a fixed factor is a guess; `LineSearch` finds it.

    Fields:
        agent: the strategy.
        factor: 1 leaves the update as it is.
        centre: zero, or benign for the mean of the benign updates.
        knowledge: for the benign mean: own or omniscient; None is what the threat model grants.

    Reference: Shejwalkar et al. 2022, IEEE S&P, arXiv:2108.10241 (PGA scales its update so).
    """

    agent: Agent
    factor: float = 1.0
    centre: Centre = Centre.ZERO
    knowledge: Knowledge | None = None
    __call__: ClassVar[Derived]

    def step(self, view: AgentView, state: Any) -> Sent:
        """The state is the inner agent's."""
        middle = _middle(view, self.centre, self.knowledge)
        inner = stepped(self.agent, view, state)
        return dataclasses.replace(inner, updates=middle + self.factor * (inner.updates - middle))


@agent(goal=HARMS, cite="Allouah et al. 2023, arXiv:2302.01772; byzfl's Opt attacks")
class LineSearch:
    """Any agent, its scale tuned against the actual defence, so that the aggregate is damaged most.

    The defence is an aggregation rule, or a client detector, whose threshold bounds the scale: the flagged updates are left
    out, and the mean of the others is the aggregate. Opt-IPM is `LineSearch(IPM(tau=1))`, Opt-ALIE `LineSearch(ALIE(z=-1), centre="benign")`. The step doubles while the
    damage grows and shrinks from then on. With own knowledge the search runs on estimates, filled up to the number of
    benign agents. A rule that looks at the server's rows is given the attacker's own in their place. A rule with memory is
    met in the state that it must be in: the attacker takes it through the rounds it took part in, up to the last 50, with
    what it sent and what it saw of the others (with own knowledge, this round's estimates). Weakness: one round's
    aggregate is not the end metric (`worst_case` is), one scale is one dimension, and rounds that it missed are missing
    from the rule's memory.

    Fields:
        agent: the strategy whose scale is tuned.
        rule: the aggregation rule in use, with all its steps, or the client detector.
        centre: what is scaled about: zero, or benign for the mean of the benign updates.
        damage: distance of the aggregate from the benign mean, or reversal, its length against the benign mean.
        evaluations: of the rule, per round.
        start: first scale tried, 0 or more.
        first_step: what is added to the scale at first.
        ratio: what the step is multiplied by while closing in, between 0.5 and 1.
        knowledge: own or omniscient; None is what the threat model grants.

    Reference: the search is that of byzfl 0.0.11 (LineMaximize); Allouah et al. 2023, AISTATS, arXiv:2302.01772.
    """

    agent: Agent
    rule: Aggregator | ClientDetector = Mean()
    centre: Centre = Centre.ZERO
    damage: Damage = Damage.DISTANCE
    evaluations: int = 20
    start: float = 0.0
    first_step: float = 10.0
    ratio: float = 0.8
    knowledge: Knowledge | None = None
    __call__: ClassVar[Derived]

    def __post_init__(self) -> None:
        if self.evaluations < 1 or self.start < 0 or self.first_step <= 0 or not 0.5 < self.ratio < 1:
            raise PluginError(
                "LineSearch with evaluations >= 1, start >= 0, first_step > 0 and ratio between 0.5 and 1",
                f"{self.evaluations}, {self.start}, {self.first_step} and {self.ratio}",
            )

    @property
    def recalls(self) -> int:
        """Past participations of which the benign updates are wanted."""
        remembers = Need.PAST in needs_of(self.rule) if _is_detector(self.rule) else has_memory(self.rule)
        return RECALLED if remembers else 0

    def step(self, view: AgentView, state: Any) -> Sent:
        """The state is the inner agent's."""
        known = crowd(view, self.knowledge)
        memory = self._memory(view, known)
        middle = _middle(view, self.centre, self.knowledge)
        inner = stepped(self.agent, view, state)
        sent = inner.updates - middle
        mean, reversal = known.mean(dim=0), Damage(self.damage) is Damage.REVERSAL

        def damage(scale: float) -> float:
            moved, _ = self._aggregated(view, known, middle + scale * sent, memory)
            harm = float(-(moved @ mean) if reversal else (moved - mean).norm())
            return harm if math.isfinite(harm) else -math.inf

        scale = line_maximum(damage, self.evaluations, self.start, self.first_step, self.ratio)
        return dataclasses.replace(inner, updates=middle + scale * sent)

    def _memory(self, view: AgentView, known: Tensor) -> Any:
        """The state in which the rule comes into this round, as far as the attacker can tell."""
        state = None
        own = Knowledge(view.knowledge if self.knowledge is None else self.knowledge) is Knowledge.OWN
        for past in view.past[-self.recalls :] if self.recalls else ():
            then = dataclasses.replace(view, round=past.round, start=past.start)
            others = known if own or past.benign is None else past.benign
            state = self._aggregated(then, others, past.updates, state)[1]
        return state

    def _aggregated(self, view: AgentView, others: Tensor, sent: Tensor, state: Any) -> tuple[Tensor, Any]:
        """What the defence makes of a round, and its state after it."""
        rows = torch.cat([others, sent])
        weights = torch.full((len(rows),), view.weight, dtype=rows.dtype, device=rows.device)
        server = _server(view, rows, weights)
        if _is_detector(self.rule):
            verdict, state = self.rule(server, state)
            kept = rows[torch.as_tensor(~verdict.flags, device=rows.device)]
            return kept.mean(dim=0) if len(kept) else torch.zeros_like(view.start), state
        return step_of(self.rule)(rows, weights, server, state)


def _is_detector(defence: object) -> TypeGuard[ClientDetector]:
    entry = registered(type(defence))
    return entry is not None and entry.kind is Kind.CLIENT_DETECTOR


def line_maximum(
    function: Callable[[float], float], evaluations: int, start: float, step: float, ratio: float
) -> float:
    """The best of so many points x >= start: the step doubles while the value grows, and shrinks from then on."""
    best, value, growing = start, function(start), True
    for _ in range(evaluations - 1):
        found = function(best + step)
        better = found > value
        if better:
            best, value = best + step, found
        growing = growing and better
        step *= 2 if growing else ratio
    return best


def _middle(view: AgentView, centre: Centre, knowledge: Knowledge | None) -> Tensor:
    if Centre(centre) is Centre.BENIGN:
        return benign(view, knowledge).mean(dim=0)
    return torch.zeros_like(view.start)


def _server(view: AgentView, rows: Tensor, weights: Tensor) -> ServerView:
    """What the attacker can play of the server: its own first shard stands for the server's rows."""
    x, y = view.shards[0]
    own = Dataset(x.cpu().numpy(), y.cpu().numpy(), tuple(map(str, range(view.architecture.num_classes))))
    return ServerView(
        round=view.round,
        start=view.start,
        updates=rows,
        agents=tuple(range(len(rows))),
        weights=weights,
        network=view.network,
        validation=own if len(own) else None,
        training=view.training,
        total=min(1.0, len(rows) * view.weight),
    )
