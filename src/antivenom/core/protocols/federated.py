"""The call signatures of the federated pipeline. n agents take part in a round, k of them malicious; d parameters.

An update is an agent's parameters after its local training minus the global parameters, a vector (d,). Agents and rules
without memory are plain calls. Those with memory have the method `step`, which takes their state and returns the next one:

    Agent           (view) -> updates (k, d)                   StatefulAgent       step(view, state) -> Sent
    Aggregator      (updates, weights, view) -> (d,)           StatefulAggregator  step(updates, weights, view, state)
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from antivenom.core.errors import NotApplicable, ThreatError
from antivenom.core.streams import Streams
from antivenom.core.threat import Knowledge
from antivenom.core.verdict import Verdict

if TYPE_CHECKING:
    from torch import Tensor

    from antivenom.core.protocols.central import Trigger, Wanted
    from antivenom.data import Dataset
    from antivenom.federated.distances import Gram
    from antivenom.models.layout import Layout
    from antivenom.models.network import Network
    from antivenom.models.training import Training


@dataclass(frozen=True, eq=False)
class Targets:
    """What an integrity attacker wants: r chosen inputs misclassified as they are, or inputs with a trigger.

    Fields:
        x: (r, ...) chosen inputs; r is 0 unless the goal is targeted.
        y: (r,) their true classes.
        labels: (r,) the classes that the attacker wants for them.
        wanted: the classes that the attacker wants: for inputs with the trigger (backdoor), or `Rows` of `x` (targeted);
            None for another goal.
        trigger: the trigger that will be shown at test time (backdoor), or None.
    """

    x: Tensor
    y: Tensor
    labels: Tensor
    wanted: Wanted | None = None
    trigger: Trigger | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Participation:
    """A past round in which malicious agents were chosen, as they remember it.

    Fields:
        round: its number, from 1.
        start: (d,) the global parameters that they received.
        updates: (k, d) what they sent back.
        benign: (b, d) the benign updates that they saw; None unless the threat model is omniscient and the agent `Recalls`.
    """

    round: int
    start: Tensor
    updates: Tensor
    benign: Tensor | None = field(default=None, repr=False)


Shard = tuple["Tensor", "Tensor"]  # x (m, ...) and y (m,) of one agent


class LocalTraining(Protocol):
    """Trains as one honest agent does in one round, by code of its own."""

    def __call__(self, network: Network, start: Tensor, shard: Shard, round: int, streams: Streams, /) -> Tensor:
        """Train on the shard from the parameters `start` (d,) and return those afterwards (d,).

        Args:
            network: the architecture, which says which parameter is where in the vector.
            start: the global parameters, which must not be changed.
            shard: the agent's rows and labels.
            round: the number of the round, from 1.
            streams: the agent's randomness in this round.
        """
        ...


class Trainer(Protocol):
    """Trains as honest agents do."""

    def __call__(self, view: AgentView, members: Sequence[int], shards: Sequence[Shard], /) -> Tensor:
        """Train from `view.start` and return the updates (m, d), one per shard; each member has its own random stream."""
        ...


@dataclass(frozen=True, eq=False)
class AgentView:
    """What the malicious agents chosen in one round see. The tensors are copies, so an agent may write into them.

    Fields:
        round: the number of the round, from 1.
        start: (d,) the global parameters that they received.
        training: how an honest agent would train.
        shards: x and y of each of the k malicious agents chosen.
        targets: what the attacker wants.
        num_agents: K, the size of the federation.
        weight: a, the mean share of these agents in the weighted mean of this round: 1/n for equal shares among n chosen
            agents, 1/K for fixed shares, as in Bhagoji et al. 2019 (arXiv:1811.12470).
        past: earlier rounds in which malicious agents were chosen, oldest first.
        streams: their randomness in this round.
        network: the architecture; None where the attacker holds only the parameters.
        trainer: trains as an honest agent does; None where the attacker has no training code.
        knowledge: what the threat model grants.
        benign: (b, d) this round's benign updates; None unless the threat model is omniscient.
        members: the k agents' numbers among the attacker's own, from 0; all of them if empty.
        num_chosen: how many agents take part in this round; None for all of them.
        lasting: their randomness that is the same in every round.
    """

    round: int
    start: Tensor
    training: Training
    shards: tuple[Shard, ...]
    targets: Targets
    num_agents: int
    weight: float
    past: tuple[Participation, ...]
    streams: Streams
    network: Network | None = None
    trainer: Trainer | None = field(default=None, repr=False)
    knowledge: Knowledge = Knowledge.OWN
    benign: Tensor | None = field(default=None, repr=False)
    members: tuple[int, ...] = ()
    num_chosen: int | None = None
    lasting: Streams = Streams(0)

    @property
    def boost(self) -> float:
        """The factor 1/a that cancels averaging, divided by k, because k malicious agents send boosted updates."""
        return 1.0 / (self.weight * len(self.shards))

    def factor(self, boost: float | None) -> float:
        """The boost given by a plugin's field, or `self.boost` if the field is None."""
        return self.boost if boost is None else boost

    def honest(self, member: int = 0, rows: Shard | None = None) -> Tensor:
        """(d,) the update that an honest agent would send, trained on that member's shard, or on `rows` instead.

        Raises:
            NotApplicable: the attacker has no training code here.
        """
        return self._trained([member], [self.shards[member] if rows is None else rows])[0]

    def all_honest(self) -> Tensor:
        """(k, d) the updates that honest agents with the members' shards would send.

        Raises:
            NotApplicable: the attacker has no training code here.
        """
        return self._trained(range(len(self.shards)), self.shards)

    def _trained(self, members: Sequence[int], shards: Sequence[Shard]) -> Tensor:
        if self.trainer is None:
            raise NotApplicable("an agent that needs no training code", "one that trains", "use another agent")
        return self.trainer(self, members, shards)

    @property
    def architecture(self) -> Network:
        """The network, for agents that cannot do without it.

        Raises:
            NotApplicable: the attacker holds only the parameters.
        """
        if self.network is None:
            raise NotApplicable("an agent that needs no network", "one that asks for it", "use another agent")
        return self.network

    @property
    def benign_updates(self) -> Tensor:
        """(b, d) this round's benign updates.

        Raises:
            ThreatError: the threat model does not grant OMNISCIENT knowledge.
        """
        if self.benign is None:
            raise ThreatError(
                "an agent that uses only its own view", "a look at the benign updates", "grant knowledge: omniscient"
            )
        return self.benign


@dataclass(frozen=True, eq=False)
class Sent:
    """What the malicious agents send in a round, and what they keep for the next one.

    Fields:
        updates: (k, d) one row per agent.
        state: any value; the agent gets it back in the next round in which malicious agents are chosen.
        trigger: a trigger of the attacker's own, shown at test time instead of the scenario's, or None.
    """

    updates: Tensor
    state: Any = None
    trigger: Trigger | None = None


class Agent(Protocol):
    """The joint strategy of all malicious agents. A strategy that modifies another one holds it in a field."""

    def __call__(self, view: AgentView, /) -> Tensor:
        """The updates (k, d) that the malicious agents send."""
        ...


@runtime_checkable
class StatefulAgent(Protocol):
    """A strategy with memory, or with a trigger of its own."""

    def step(self, view: AgentView, state: Any, /) -> Sent:
        """The updates sent and the state for the next round; `state` is None in the first round."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """A strategy that needs more entries in `AgentView.past` than the two that every strategy gets."""

    @property
    def remembers(self) -> int:
        """The number of past participations needed."""
        ...


@runtime_checkable
class Recalls(Protocol):
    """A strategy that also needs the benign updates of past participations; only an omniscient attacker gets them."""

    @property
    def recalls(self) -> int:
        """The number of past participations whose benign updates are needed."""
        ...


@runtime_checkable
class Claims(Protocol):
    """A strategy that lies about how many examples its agents have, on which their weights in the mean depend."""

    def examples(self, shards: Sequence[Shard], /) -> Sequence[float]:
        """The claimed number of examples, one for each shard."""
        ...


@dataclass(frozen=True, eq=False)
class ServerView:
    """What the server of a federation sees in one round.

    Fields:
        round: the number of the round, from 1.
        start: (d,) the global parameters before the round.
        updates: (n, d) the updates of the chosen agents; all finite.
        agents: the ids of these n agents.
        weights: (n,) a_i, each agent's share in the weighted mean.
        network: the architecture; None where the server holds only the parameters.
        validation: the server's own rows ("root rows"), never the test set; None if it has none.
        training: how an honest agent trains, so that the server can train in the same way on its own rows; None stands
            for Training().
        streams: the server's randomness in this round; by default fresh and different in every view.
        layout: names and shapes of the layers, for a server that knows them but not the network; otherwise None.
        total: the sum of the shares in a weighted mean: 1, or n/K with fixed shares.
    """

    round: int
    start: Tensor
    updates: Tensor
    agents: tuple[int, ...]
    weights: Tensor
    network: Network | None = None
    validation: Dataset | None = None
    training: Training | None = None
    streams: Streams = field(default_factory=Streams.fresh)
    layout: Layout | None = None
    total: float = 1.0


class Need(enum.StrEnum):
    """What a rule or detector requires of a federation; checked when the federation starts.

    LAYERS are the layers' names and shapes, ROOT_ROWS the server's own rows, IDS agent numbers that stay the same over the
    rounds, and PAST a state that the server keeps between rounds.
    """

    LAYERS = "layers"
    NETWORK = "network"
    ROOT_ROWS = "root rows"
    IDS = "ids"
    PAST = "past"


@runtime_checkable
class Needs(Protocol):
    """A rule or detector that needs more than the updates. The needs of plugins in its fields are added to its own."""

    @property
    def needs(self) -> frozenset[Need]:
        """What the plugin itself requires."""
        ...


class ClientDetector(Protocol):
    """Finds malicious agents by the updates of a round; flagged updates are left out of the aggregate."""

    def __call__(self, view: ServerView, state: Any, /) -> tuple[Verdict, Any]:
        """A verdict over the n agents, and the state for the next round; `state` is None in the first round.

        A server's checkpoint holds the state, which may therefore contain tensors, numbers, strings, None, and tuples,
        lists and dicts of these only.
        """
        ...


class Aggregator(Protocol):
    """A rule that combines the updates of a round."""

    def __call__(self, updates: Any, weights: Any = None, view: ServerView | None = None, /) -> Any:
        """The aggregate (d,) of updates (n, d), optional weights (n,) and, inside a federation, the server's view."""
        ...


@runtime_checkable
class StatefulAggregator(Protocol):
    """A rule with a `step`, which may use a state from earlier rounds."""

    @property
    def has_memory(self) -> bool:
        """Whether the state matters; a rule built of others may or may not have memory, depending on these."""
        ...

    def step(self, updates: Any, weights: Any, view: ServerView | None, state: Any, /) -> tuple[Any, Any]:
        """The aggregate (d,) and the state for the next round; `state` is None in the first round.

        It may contain what the state of a `ClientDetector` may.
        """
        ...


@runtime_checkable
class LinearAggregator(Protocol):
    """A rule whose result is a linear combination of the updates, with coefficients that depend on their Gram matrix only.

    Such a rule never needs the (n, d) matrix in one piece.
    """

    def coefficients(self, gram: Gram, weights: Tensor | None, view: ServerView | None, /) -> Tensor:
        """(n,) the coefficient of each update."""
        ...


class Reducer(Protocol):
    """Replaces the updates by fewer or more similar ones, such as means of groups, before a rule combines them."""

    def __call__(self, updates: Any, weights: Any = None, view: ServerView | None = None, /) -> Any:
        """New rows (m, d), with weights (m,) or None, made of updates (n, d); the next rule aggregates them."""
        ...


@runtime_checkable
class LinearReducer(Protocol):
    """A reducer whose new rows are linear combinations of the updates, depending on their Gram matrix only."""

    def mixing(self, gram: Gram, weights: Tensor | None, view: ServerView | None, /) -> Tensor:
        """(m, n) the coefficients: new row i is the sum over j of entry (i, j) times update j."""
        ...
