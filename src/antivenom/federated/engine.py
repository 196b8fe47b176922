"""The round engine: it chooses agents, trains them, and hands their updates to the server.

`Federation(...).rounds_of(...)` is an iterator of `Round`s. The caller owns the loop and may stop after any round, and go on
later from the round's `progress`. The engine knows which agents are malicious; the server's side (detector, rule) is never
told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from antivenom.core.errors import ScenarioError
from antivenom.core.protocols import (
    Agent,
    Aggregator,
    ClientDetector,
    LocalTraining,
    Participation,
    Targets,
    Trigger,
)
from antivenom.core.registry import check_fields
from antivenom.core.streams import Streams
from antivenom.core.threat import Knowledge
from antivenom.core.verdict import Verdict
from antivenom.data import IID, Dataset, Partition
from antivenom.federated.aggregators import Mean
from antivenom.federated.attackers import Attackers, copy_of
from antivenom.federated.clients import Shards, train_agents, train_locally
from antivenom.federated.server import Decision, Server, ServerState, require_step
from antivenom.federated.weighting import Weighting, shares_of
from antivenom.models.network import Network
from antivenom.models.training import Training


@dataclass(frozen=True, eq=False)
class Progress:
    """All that a federation carries from one round to the next. Its random streams carry nothing: each round has its own.

    Fields:
        number: of the last round that was played.
        vector: (d,) the global parameters after it.
        server: what the server remembers.
        past: the past rounds that the malicious agents remember.
        agent: the state of their strategy.
    """

    number: int
    vector: Tensor
    server: ServerState
    past: tuple[Participation, ...] = ()
    agent: Any = None

    @property
    def plain(self) -> dict[str, Any]:
        """The same in tensors and plain values, if the states of the plugins consist of these."""
        past = [dict(vars(each)) for each in self.past]
        return vars(self) | {"server": dict(vars(self.server)), "past": past}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Progress:
        """The progress that has this `plain` form."""
        past = tuple(Participation(**each) for each in plain["past"])
        return cls(**plain | {"server": ServerState(**plain["server"]), "past": past})


@dataclass(frozen=True, eq=False)
class Round:
    """One round, as the judge sees it.

    Fields:
        number: from 1.
        start: (d,) global parameters before.
        agents: the chosen agents' numbers, in the order of the rows of `updates`.
        malicious: (n,) bool, which of them are malicious.
        updates: (n, d) the finite updates that arrived.
        weights: (n,) a_i.
        verdict: the verdict of the server's detector, or None without a detector.
        aggregate: (d,) the result of the rule.
        end: (d,) global parameters after.
        notes: problems in this round and how they were handled.
        progress: from which the federation can go on.
        trigger: a trigger of the malicious agents' own, which they would show at test time, or None.
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
    progress: Progress
    notes: tuple[str, ...] = ()
    trigger: Trigger | None = None


@dataclass(frozen=True)
class Federation:
    """The protocol: K agents, some of them chosen per round, each training E epochs from the global parameters.

    Fields:
        num_agents: K.
        agents_per_round: how many are chosen, uniformly without replacement; None is all.
        num_malicious: number of malicious agents; these are the last ones.
        rounds: maximal number of rounds.
        partition: how the rows are divided among the agents.
        training: how an honest agent trains, with a fresh optimiser state in each round. It is also how malicious agents
            train towards goals of their own.
        local: code of the user's own by which honest agents train, in place of `training`; None for none.
        weighting: uniform or examples (in proportion to the rows that each agent claims) are shares among the agents that
            were chosen and kept, as in federated averaging; fixed is 1/K whoever takes part, as in Bhagoji et al. 2019.
        server_learning_rate: what the server multiplies the aggregate with before it moves the model.
        server_momentum: m in v <- m v + aggregate, from 0 to below 1; the server moves the model by v.
        knowledge: whether malicious agents see the benign updates of the round.

    Reference: McMahan et al. 2017, arXiv:1602.05629; Bhagoji et al. 2019, arXiv:1811.12470, section 2.
    """

    num_agents: int = 10
    agents_per_round: int | None = None
    num_malicious: int = 1
    rounds: int = 40
    partition: Partition = IID()
    training: Training = Training()
    local: LocalTraining | None = None
    weighting: Weighting = Weighting.UNIFORM
    server_learning_rate: float = 1.0
    server_momentum: float = 0.0
    knowledge: Knowledge = Knowledge.OWN

    def __post_init__(self) -> None:
        check_fields(self)
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
        require_step(self.server_learning_rate, self.server_momentum)

    @property
    def clients_per_round(self) -> int:
        """How many agents are chosen in a round."""
        return self.num_agents if self.agents_per_round is None else self.agents_per_round

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
        since: Progress | None = None,
    ) -> Iterator[Round]:
        """Run the federation from the network's initial parameters, or go on with the same arguments since an earlier round.

        Without `agent` the malicious agents train honestly: this is the clean twin of an attack with the same seed.
        """
        attackers = None
        if agent is not None:
            attackers = Attackers(
                agent,
                network,
                self.training,
                targets,
                shards,
                self.num_agents,
                self.num_malicious,
                Knowledge(self.knowledge),
                streams.sealed("direction"),
                self.local,
            )
        claims = self._claims(shards, attackers)
        server = Server(
            rule,
            () if detector is None else (detector,),
            network=copy_of(network),
            validation=validation,
            training=self.training,
            weighting=self.weighting,
            num_agents=self.num_agents,
            learning_rate=self.server_learning_rate,
            momentum=self.server_momentum,
            streams=streams,
        )
        first_bad = self.num_agents - self.num_malicious
        vector, done = network.initial.clone(), 0
        if since is not None:
            vector, done, server.state = since.vector, since.number, since.server
            if attackers is not None:
                attackers.memory = since.past, since.agent
        for number in range(done + 1, self.rounds + 1):
            own = streams.child("round", number)
            chosen = self._chosen(own)
            bad = [a for a in chosen if a >= first_bad] if attackers is not None else []
            idle = [a for a in chosen if a not in bad and shards.size(a) == 0]
            good = [a for a in chosen if a not in bad and a not in idle]
            updates = self._honest(network, vector, shards, good, number, own)
            trigger = None
            if attackers is not None and bad:
                shares = shares_of(claims[[*good, *bad]], self.weighting, self.num_agents)
                weight = float(shares[len(good) :].mean())
                sent = attackers.send(number, vector, bad, len(chosen), weight, updates, own.sealed("attack"))
                updates, trigger = torch.cat([updates, sent.updates]), sent.trigger
            arrived = (
                [*updates, *(None for _ in idle)] if idle else updates
            )  # an agent without rows has nothing to send
            ids = (*good, *bad, *idle)
            decision = server.step(number, vector, arrived, ids, claims[list(ids)])
            end = vector + decision.change
            yield Round(
                number=number,
                start=vector,
                agents=decision.clients,
                malicious=torch.tensor([a >= first_bad for a in decision.clients], dtype=torch.bool),
                updates=decision.updates,
                weights=decision.weights,
                verdict=decision.verdicts[0] if decision.verdicts else None,
                aggregate=decision.aggregate,
                end=end,
                progress=Progress(number, end, server.state, *(((), None) if attackers is None else attackers.memory)),
                notes=_notes(number, decision),
                trigger=trigger,
            )
            vector = end

    def _honest(
        self, network: Network, start: Tensor, shards: Shards, agents: Sequence[int], number: int, streams: Streams
    ) -> Tensor:
        """(n, d) the updates of honest agents in a round."""
        if self.local is None:
            return train_agents(network, start, shards, agents, self.training, streams)
        rows, own = [shards.of_agent(a) for a in agents], [streams.child("agent", a) for a in agents]
        return train_locally(self.local, network, start, rows, number, own)

    def _chosen(self, streams: Streams) -> list[int]:
        """The round's agents, by number."""
        if self.agents_per_round is None:
            return list(range(self.num_agents))
        rng = streams.numpy("participants")
        return sorted(rng.choice(self.num_agents, self.agents_per_round, replace=False).tolist())

    def _claims(self, shards: Shards, attackers: Attackers | None) -> Tensor:
        """(K,) the numbers of rows that the agents claim. A server cannot count rows; it uses claims only to weight by them."""
        if Weighting(self.weighting) is not Weighting.EXAMPLES:
            return torch.ones(self.num_agents, dtype=torch.float64)
        sizes = [float(shards.size(a)) for a in range(self.num_agents)]
        if attackers is not None:
            sizes[attackers.first :] = attackers.claimed()
        return torch.tensor(sizes, dtype=torch.float64)


def _notes(number: int, decision: Decision) -> tuple[str, ...]:
    """Notes on clients with unusable updates, and on a round that left the global model as it was."""
    unusable = (out for out in decision.left_out if out.client not in decision.clients)
    notes = tuple(f"round {number}: agent {out.client} {out.reason} and was left out" for out in unusable)
    skipped = decision.failure if decision.clients else None  # the notes on the clients say why nobody is left
    stayed = skipped and f"round {number}: the global model stayed as it was: {skipped}"
    return (*notes, stayed) if stayed else notes
