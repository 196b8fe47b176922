"""The call shapes of the federated arrow. n agents take part in a round, k of them malicious; d is the number of parameters.

An agent and a rule say as much as they need to. Without memory they are a call; with memory they have a `step`, which
takes what they remember and returns it anew:

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
    """What an attacker of integrity wants: r inputs misclassified, never altered at test time, or a trigger obeyed.

    Fields:
        x: (r, ...) inputs (targeted); no rows under another goal.
        y: (r,) their true classes.
        labels: (r,) the class wanted of each.
        wanted: the classes that the attacker wants: of inputs with the trigger (backdoor), or `Rows` of `x` (targeted);
            None where the goal has none.
        trigger: what will be shown at test time (backdoor), or None.
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
    """A past round in which the malicious agents were chosen, as they remember it.

    Fields:
        round: its number.
        start: (d,) the global parameters they were sent.
        updates: (k, d) what they sent back.
        benign: (b, d) the benign updates that they saw; None unless the threat model is omniscient and the agent `Recalls`.
    """

    round: int
    start: Tensor
    updates: Tensor
    benign: Tensor | None = field(default=None, repr=False)


Shard = tuple["Tensor", "Tensor"]  # x (m, ...) and y (m,) of one agent


class Trainer(Protocol):
    """Trains as honest agents do."""

    def __call__(self, view: AgentView, members: Sequence[int], shards: Sequence[Shard], /) -> Tensor:
        """Updates (m, d) of honest agents with these shards, each with the random stream of its member, from `view.start`."""
        ...


@dataclass(frozen=True, eq=False)
class AgentView:
    """What the malicious agents chosen in one round see. All of it is theirs: they may write into it.

    Fields:
        round: its number, from 1.
        start: (d,) the global parameters they were sent.
        training: how an honest agent would train.
        shards: x and y of each of the k malicious agents chosen.
        targets: what the attacker wants.
        num_agents: K, the size of the federation.
        weight: a, the share of one agent in the weighted mean (1/K in the paper).
        past: earlier rounds in which they were chosen, oldest first.
        streams: their randomness in this round.
        network: the architecture; None where the attacker holds parameters and nothing else.
        trainer: trains an honest update; None where they have no training code.
        knowledge: what the threat model grants.
        benign: (b, d) this round's benign updates; None unless the threat model is omniscient.
        members: the k agents' numbers among the attacker's own, from 0; all of them if empty.
        num_chosen: how many agents take part in this round; None is all.
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
        """The factor that undoes averaging, 1/a, shared among the k malicious agents of this round."""
        return 1.0 / (self.weight * len(self.shards))

    def factor(self, boost: float | None) -> float:
        """The boost that a field asks for; 1/a, shared, if it is None."""
        return self.boost if boost is None else boost

    def honest(self, member: int = 0, rows: Shard | None = None) -> Tensor:
        """(d,) the update of an honest agent with that member's shard, or with `rows` instead.

        Raises:
            NotApplicable: the agents have no training code here.
        """
        return self._trained([member], [self.shards[member] if rows is None else rows])[0]

    def all_honest(self) -> Tensor:
        """(k, d) the updates of honest agents with the members' shards, trained together."""
        return self._trained(range(len(self.shards)), self.shards)

    def _trained(self, members: Sequence[int], shards: Sequence[Shard]) -> Tensor:
        if self.trainer is None:
            raise NotApplicable("an agent that can train", "a view without training code", "use another agent")
        return self.trainer(self, members, shards)

    @property
    def architecture(self) -> Network:
        """The network.

        Raises:
            NotApplicable: the agents hold parameters only.
        """
        if self.network is None:
            raise NotApplicable("an agent that knows the network", "a view without one", "use another agent")
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
        state: comes back in the next round in which any of them is chosen; None in the first.
        trigger: what the attacker would show at test time instead of the scenario's trigger, if it made one of its own.
    """

    updates: Tensor
    state: Any = None
    trigger: Trigger | None = None


class Agent(Protocol):
    """A strategy; one made of another strategy holds it in a field."""

    def __call__(self, view: AgentView, /) -> Tensor:
        """The updates (k, d) that the malicious agents send."""
        ...


@runtime_checkable
class StatefulAgent(Protocol):
    """A strategy with memory, or with a trigger of its own."""

    def step(self, view: AgentView, state: Any, /) -> Sent:
        """What is sent, and what is remembered; the state is None in the first round."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """A strategy that looks at more past participations than the two that every strategy is given."""

    @property
    def remembers(self) -> int: ...


@runtime_checkable
class Recalls(Protocol):
    """A strategy that also looks at the benign updates of past participations, where the threat model grants them."""

    @property
    def recalls(self) -> int: ...


@runtime_checkable
class Claims(Protocol):
    """A strategy that claims another number of examples than it has."""

    def examples(self, shards: Sequence[Shard], /) -> Sequence[float]:
        """One number per shard."""
        ...


@dataclass(frozen=True, eq=False)
class ServerView:
    """What the server of a federation sees in one round.

    Fields:
        round: its number, from 1.
        start: (d,) the global parameters before the round.
        updates: (n, d) what the chosen agents sent, finite.
        agents: their n numbers.
        weights: (n,) a_i, each agent's share in the weighted mean.
        network: the architecture; None where the server holds parameters and nothing else.
        validation: rows of the server's own, never the test set; None if it has none.
        training: how an honest agent trains, so that the server can train on its own rows alike; None: Training().
        streams: the server's randomness in this round.
        layout: names and shapes of the layers, where the server knows them without the network.
    """

    round: int
    start: Tensor
    updates: Tensor
    agents: tuple[int, ...]
    weights: Tensor
    network: Network | None = None
    validation: Dataset | None = None
    training: Training | None = None
    streams: Streams = Streams(0)
    layout: Layout | None = None


class Need(enum.StrEnum):
    """What a rule or detector cannot do without, inside a federation. It is checked when the federation starts."""

    LAYERS = "layers"
    NETWORK = "network"
    ROOT_ROWS = "root rows"
    IDS = "ids"
    PAST = "past"


@runtime_checkable
class Needs(Protocol):
    """A rule or detector that says what it needs besides the updates; one made of others needs what they need, too."""

    @property
    def needs(self) -> frozenset[Need]: ...


class ClientDetector(Protocol):
    def __call__(self, view: ServerView, state: Any, /) -> tuple[Verdict, Any]:
        """Suspicion over the n agents; the state returned comes back in the next round (None in the first)."""
        ...


class Aggregator(Protocol):
    def __call__(self, updates: Any, weights: Any = None, view: ServerView | None = None, /) -> Any:
        """(d,) from updates (n, d), optional weights (n,) and, inside a federation, what the server sees."""
        ...


@runtime_checkable
class StatefulAggregator(Protocol):
    """A rule that may remember earlier rounds."""

    @property
    def has_memory(self) -> bool: ...

    def step(self, updates: Any, weights: Any, view: ServerView | None, state: Any, /) -> tuple[Any, Any]:
        """The aggregate (d,) and what is remembered; the state is None in the first round."""
        ...


@runtime_checkable
class LinearAggregator(Protocol):
    """A rule that combines the rows and looks at their geometry only."""

    def coefficients(self, gram: Gram, weights: Tensor | None, view: ServerView | None, /) -> Tensor:
        """(n,) what each row is multiplied by."""
        ...


class Reducer(Protocol):
    def __call__(self, updates: Any, weights: Any = None, view: ServerView | None = None, /) -> Any:
        """(m, d) rows and their (m,) weights or None from updates (n, d), for the rule that follows."""
        ...


@runtime_checkable
class LinearReducer(Protocol):
    """A reducer that combines the rows and looks at their geometry only."""

    def mixing(self, gram: Gram, weights: Tensor | None, view: ServerView | None, /) -> Tensor:
        """(m, n) what each new row takes of the old ones."""
        ...
