"""The round engine: who is chosen, who trains, what the server gets and what it does with it.

`Federation(...).rounds(...)` is an iterator of `Round`s; the caller owns the loop, looks at each round, and stops when
it likes. The engine knows which agents are malicious; the server's side (detector, rule) is never told.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import PluginError, ScenarioError
from antivenom.core.protocols import Agent, AgentView, Aggregator, ClientDetector, Participation, ServerView, Targets
from antivenom.core.streams import Streams
from antivenom.core.threat import Knowledge
from antivenom.core.verdict import Verdict
from antivenom.data import IID, Dataset, Partition
from antivenom.fast import kernels
from antivenom.federated.aggregation import step_of
from antivenom.federated.aggregators import Mean
from antivenom.federated.clients import Shards, train_agents
from antivenom.models.network import Network
from antivenom.models.training import Training


class Weighting(enum.StrEnum):
    """What an agent's share a_i in the weighted mean is."""

    UNIFORM = "uniform"
    EXAMPLES = "examples"


@dataclass(frozen=True, eq=False)
class Round:
    """One round, as the judge sees it.

    Fields:
        number: from 1.
        start: (d,) global parameters before.
        agents: the chosen agents' numbers, in the order of the rows of `updates`.
        malicious: (n,) bool, which of them are malicious.
        updates: (n, d) what arrived and was finite.
        weights: (n,) a_i.
        verdict: what the server's detector said, or None.
        aggregate: (d,) what the server added.
        end: (d,) global parameters after.
        notes: what went wrong and how it was handled.
    """

    number: int
    start: Tensor
    agents: tuple[int, ...]
    malicious: Tensor
    updates: Tensor
    weights: Tensor
    verdict: Verdict | None
    aggregate: Tensor
    end: Tensor
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Federation:
    """The protocol: K agents, some of them chosen per round, each training E epochs from the global parameters.

    Fields:
        num_agents: K.
        agents_per_round: how many are chosen, uniformly without replacement; None is all.
        num_malicious: how many agents the attacker owns; the last ones.
        rounds: the most rounds.
        partition: how the rows are shared.
        training: what an honest agent does; its optimiser state is fresh each round.
        weighting: a_i = 1/K, or by the share of all rows that each agent claims; never rescaled to the chosen agents.
        knowledge: whether malicious agents see the benign updates of the round.

    Reference: McMahan et al. 2017, arXiv:1602.05629; Bhagoji et al. 2019, arXiv:1811.12470, section 2.
    """

    num_agents: int = 10
    agents_per_round: int | None = None
    num_malicious: int = 1
    rounds: int = 40
    partition: Partition = IID()
    training: Training = Training()
    weighting: Weighting = Weighting.UNIFORM
    knowledge: Knowledge = Knowledge.OWN

    def __post_init__(self) -> None:
        chosen = self.agents_per_round
        if self.num_agents < 1 or self.rounds < 1:
            raise ScenarioError("num_agents >= 1 and rounds >= 1", f"{self.num_agents} and {self.rounds}")
        if not 0 <= self.num_malicious <= self.num_agents:
            raise ScenarioError(
                f"num_malicious from 0 to num_agents = {self.num_agents}",
                f"{self.num_malicious}",
                "lower num_malicious",
            )
        if chosen is not None and not 1 <= chosen <= self.num_agents:
            raise ScenarioError(f"agents_per_round from 1 to num_agents = {self.num_agents}", f"{chosen}")

    def shards(self, data: Dataset, streams: Streams, device: torch.device | str = "cpu") -> Shards:
        """The agents' rows, by the stream "shards"."""
        return Shards.of(data, self.partition(data, self.num_agents, streams.numpy("shards")), device)

    def rounds_of(
        self,
        network: Network,
        shards: Shards,
        targets: Targets,
        streams: Streams,
        agent: Agent | None = None,
        rule: Aggregator = Mean(),
        detector: ClientDetector | None = None,
        validation: Dataset | None = None,
    ) -> Iterator[Round]:
        """Run the federation from the network's initial parameters.

        Without `agent` the malicious agents are honest, which is the clean twin of an attack with the same seed.
        """
        weights = self._weights(shards, agent)
        recalls = _asked(agent, "recalls", 0) if Knowledge(self.knowledge) is Knowledge.OMNISCIENT else 0
        remembers = max(2, recalls, _asked(agent, "remembers", 2))
        vector, state, memory = network.initial.clone(), None, None  # type: tuple[Tensor, Any, Any]
        past: tuple[Participation, ...] = ()
        for number in range(1, self.rounds + 1):
            own = streams.child("round", number)
            chosen = self._chosen(own)
            bad = [a for a in chosen if a >= self.num_agents - self.num_malicious] if agent is not None else []
            good = [a for a in chosen if a not in bad]
            updates = train_agents(network, vector, shards, good, self.training, own)
            if agent is not None and bad:
                view = AgentView(
                    round=number,
                    start=vector,
                    network=network,
                    training=self.training,
                    shards=tuple(shards.of_agent(a) for a in bad),
                    targets=targets,
                    num_agents=self.num_agents,
                    weight=float(weights[bad].mean()),
                    past=past,
                    streams=own.child("attack"),
                    knowledge=self.knowledge,
                    benign=updates.clone,
                    members=tuple(a - self.num_agents + self.num_malicious for a in bad),
                    num_chosen=len(chosen),
                )
                sent = _checked(agent(view), len(bad), network.dimension, agent).to(vector)
                seen = updates if recalls else None
                past = (*past, Participation(number, vector, sent, seen))[-remembers:]  # a bound on the memory
                updates = torch.cat([updates, sent])
            agents = (*good, *bad)
            finite = kernels.finite_rows(updates)
            notes = tuple(
                f"round {number}: agent {agents[i]} sent NaN or infinity and was left out"
                for i in torch.nonzero(~finite).flatten().tolist()
            )
            agents = tuple(a for a, ok in zip(agents, finite.tolist(), strict=True) if ok)
            updates = updates if finite.all() else updates[finite]
            shares = weights[list(agents)].to(updates)
            view_of_server = ServerView(
                number, vector, updates, agents, shares, network, validation, self.training, own.child("server")
            )
            verdict = None
            try:
                if detector is not None:
                    verdict, state = detector(view_of_server, state)
                aggregate, memory = self._aggregate(rule, view_of_server, verdict, memory)
            except PluginError as error:
                if finite.all():  # the scenario's own mistake; else a hostile client must not end the training
                    raise
                aggregate = torch.zeros_like(vector)
                notes = (*notes, f"round {number}: the global model stayed as it was: {error}")
            end = vector + aggregate
            owned = torch.tensor([a >= self.num_agents - self.num_malicious for a in agents])
            yield Round(number, vector, agents, owned, updates, shares, verdict, aggregate, end, notes)
            vector = end

    def _chosen(self, streams: Streams) -> list[int]:
        """The round's agents, by number."""
        if self.agents_per_round is None:
            return list(range(self.num_agents))
        rng = streams.numpy("participants")
        return sorted(rng.choice(self.num_agents, self.agents_per_round, replace=False).tolist())

    def _weights(self, shards: Shards, agent: Agent | None) -> Tensor:
        """(K,) a_i. A server cannot count rows: it takes the numbers that the agents claim."""
        if Weighting(self.weighting) is Weighting.UNIFORM:
            return torch.full((self.num_agents,), 1.0 / self.num_agents)
        sizes = [float(shards.size(a)) for a in range(self.num_agents)]
        owned = range(self.num_agents - self.num_malicious, self.num_agents)
        claims = _asked(agent, "examples", None)
        if callable(claims):
            claimed = claims(tuple(shards.of_agent(a) for a in owned))
            if len(claimed) != len(owned) or not all(0 <= count < float("inf") for count in claimed):
                raise PluginError(
                    f"{len(owned)} finite numbers of examples from {type(agent).__name__}",
                    f"{claimed}",
                    "claim one per malicious agent",
                )
            sizes[owned.start :] = map(float, claimed)
        shares = torch.tensor(sizes, dtype=torch.float64)  # claims may sum to more than single precision holds
        shares /= shares.max().clamp(min=1)
        return (shares / shares.sum().clamp(min=1e-300)).float()

    @staticmethod
    def _aggregate(rule: Aggregator, view: ServerView, verdict: Verdict | None, memory: Any) -> tuple[Tensor, Any]:
        """(d,) what the rule makes of the updates that were not flagged, zeros if none is left; and what it remembers."""
        if verdict is not None:
            if len(verdict) != len(view.updates):
                raise PluginError(
                    f"a verdict over {len(view.updates)} agents", f"{len(verdict)}", "one score and flag per update"
                )
            view = _without(view, verdict.flags)
        if len(view.updates) == 0:
            return torch.zeros_like(view.start), memory
        return step_of(rule)(view.updates, view.weights, view, memory)


def _without(view: ServerView, flags: np.ndarray) -> ServerView:
    """What the server sees of the agents that are not flagged; the view as it is, not a copy, if none is."""
    if not flags.any():
        return view
    keep = torch.as_tensor(~flags, device=view.updates.device)
    agents = tuple(agent for agent, flagged in zip(view.agents, flags, strict=True) if not flagged)
    return dataclasses.replace(view, updates=view.updates[keep], agents=agents, weights=view.weights[keep])


def _asked(agent: Any, name: str, default: Any) -> Any:
    """What the agent, or an agent that it is made of, says under that name."""
    if hasattr(agent, name):
        return getattr(agent, name)
    inner = (
        [getattr(agent, field.name) for field in dataclasses.fields(agent)] if dataclasses.is_dataclass(agent) else []
    )
    found = (_asked(part, name, None) for part in inner if dataclasses.is_dataclass(part))
    return next((value for value in found if value is not None), default)


def _checked(sent: Any, k: int, d: int, agent: Agent) -> Tensor:
    """The one place where an agent's return value is looked at. NaN is not an error: a hostile client may send it."""
    if not isinstance(sent, Tensor) or sent.shape != (k, d) or not sent.is_floating_point():
        got = tuple(sent.shape) if isinstance(sent, Tensor) else type(sent).__name__
        raise PluginError(
            f"updates of shape ({k}, {d}) from {type(agent).__name__}", f"{got}", "return one row per agent"
        )
    return sent.detach()
