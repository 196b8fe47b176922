"""The attacker's half of a federation: it makes the view of the malicious agents and keeps their state between rounds."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import (
    AgentView,
    Claims,
    LocalTraining,
    Participation,
    Recalls,
    Remembers,
    Sent,
    Shard,
    Targets,
)
from antivenom.core.streams import Streams
from antivenom.core.threat import Knowledge
from antivenom.federated.agents.objectives import train_honest
from antivenom.federated.clients import Shards, train_locally
from antivenom.federated.guarded import guarded_agent
from antivenom.models.network import Network
from antivenom.models.training import Training


@dataclass(eq=False)
class Attackers:
    """The malicious agents of one federation. They work on copies, so that their writes reach nobody else.

    Fields:
        agent: their strategy.
        network: the architecture.
        training: how an honest agent trains.
        targets: the inputs or the trigger with the wanted classes.
        shards: the rows of all agents; the malicious ones get only their own.
        num_agents: K, the size of the federation; the last agents are malicious.
        num_malicious: number of malicious agents.
        knowledge: what the threat model grants them.
        lasting: random streams that are the same in every round.
        local: the code by which honest agents train, if not by `training`.
    """

    agent: Any
    network: Network
    training: Training
    targets: Targets
    shards: Shards
    num_agents: int
    num_malicious: int
    knowledge: Knowledge
    lasting: Streams
    local: LocalTraining | None = None
    _past: tuple[Participation, ...] = field(default=(), repr=False)
    _state: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.network = copy_of(self.network)
        self._recalls = asked(self.agent, Recalls, "recalls", 0) if self.knowledge is Knowledge.OMNISCIENT else 0
        self._remembers = max(2, self._recalls, asked(self.agent, Remembers, "remembers", 2))

    @property
    def memory(self) -> tuple[tuple[Participation, ...], Any]:
        """What they carry from one round to the next: the past rounds that they remember, and their strategy's state."""
        return self._past, self._state

    @memory.setter
    def memory(self, memory: tuple[tuple[Participation, ...], Any]) -> None:
        self._past, self._state = memory

    @property
    def first(self) -> int:
        """The number of the first malicious agent."""
        return self.num_agents - self.num_malicious

    def claimed(self) -> list[float]:
        """How many examples each of them claims; the true numbers unless the strategy says otherwise.

        Raises:
            PluginError: the strategy does not claim one finite number for each.
        """
        owned = range(self.first, self.num_agents)
        claims = asked(self.agent, Claims, "examples", None)
        if claims is None:
            return [float(self.shards.size(a)) for a in owned]
        claimed = claims(tuple(self.shards.of_agent(a) for a in owned))
        if len(claimed) != len(owned) or not all(0 <= count < float("inf") for count in claimed):
            raise PluginError(
                f"{len(owned)} finite numbers of examples from {type(self.agent).__name__}",
                f"{claimed}",
                "claim one per malicious agent",
            )
        return list(map(float, claimed))

    def send(
        self,
        number: int,
        start: Tensor,
        chosen: Sequence[int],
        num_chosen: int,
        weight: float,
        benign: Tensor,
        streams: Streams,
    ) -> Sent:
        """The updates of the `chosen` malicious agents in a round; they see `benign` (b, d) only if they are omniscient."""
        omniscient = self.knowledge is Knowledge.OMNISCIENT
        shards: tuple[Shard, ...] = tuple(self.shards.of_agent(a) for a in chosen)
        view = AgentView(
            round=number,
            start=start.clone(),
            training=self.training,
            shards=shards,
            targets=copied(self.targets),
            num_agents=self.num_agents,
            weight=weight,
            past=self._past,
            streams=streams,
            network=self.network,
            trainer=train_honest if self.local is None else self._train_locally,
            knowledge=self.knowledge,
            benign=benign.clone() if omniscient else None,
            members=tuple(a - self.first for a in chosen),
            num_chosen=num_chosen,
            lasting=self.lasting,
        )
        sent = guarded_agent(self.agent, view, self._state)
        sent = dataclasses.replace(sent, updates=sent.updates.to(start))
        seen = view.benign if self._recalls else None
        self._past = (*self._past, Participation(number, view.start, sent.updates, seen))[-self._remembers :]
        self._state = sent.state
        return sent

    def _train_locally(self, view: AgentView, members: Sequence[int], shards: Sequence[Shard]) -> Tensor:
        """(m, d) the updates of honest agents with these shards, by the code of honest agents."""
        assert self.local is not None
        streams = [view.streams.child("member", i, "honest") for i in members]
        return train_locally(self.local, view.architecture, view.start, shards, view.round, streams)


def copy_of(network: Network) -> Network:
    """A deep copy, with an identity of its own where networks are compared."""
    own = copy.deepcopy(network)
    vars(own).pop("architecture", None)  # may be the identity of the original
    return own


def copied(targets: Targets) -> Targets:
    """Targets whose tensors, wanted classes and trigger are the attacker's own."""
    return dataclasses.replace(
        targets,
        x=targets.x.clone(),
        y=targets.y.clone(),
        labels=targets.labels.clone(),
        wanted=copy.deepcopy(targets.wanted),
        trigger=copy.deepcopy(targets.trigger),
    )


def asked(agent: Any, protocol: Any, name: str, default: Any) -> Any:
    """The attribute of that name of the agent, or of an agent that it contains, if one of them follows the protocol."""
    if isinstance(agent, protocol):
        return getattr(agent, name)
    if not dataclasses.is_dataclass(agent):
        return default
    inner = (getattr(agent, each.name) for each in dataclasses.fields(agent))
    found = (asked(part, protocol, name, None) for part in inner if dataclasses.is_dataclass(part))
    return next((value for value in found if value is not None), default)
