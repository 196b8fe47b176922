"""The call shapes of the federated arrow. n agents take part in a round, k of them malicious; d is the number of parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from antivenom.core.errors import ThreatError
from antivenom.core.streams import Streams
from antivenom.core.threat import Knowledge
from antivenom.core.verdict import Verdict

if TYPE_CHECKING:
    from torch import Tensor

    from antivenom.core.protocols.central import Trigger
    from antivenom.data import Dataset
    from antivenom.models.network import Network
    from antivenom.models.training import Training


@dataclass(frozen=True, eq=False)
class Targets:
    """What an attacker of integrity wants: r inputs misclassified, never altered at test time, or a trigger obeyed.

    Fields:
        x: (r, ...) inputs; none with a backdoor goal.
        y: (r,) true classes.
        wanted: (r,) classes the attacker wants.
        target: the class that the trigger leads to (backdoor), or None.
        trigger: what will be shown at test time (backdoor), or None.
    """

    x: Tensor
    y: Tensor
    wanted: Tensor
    target: int | None = None
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
        benign: (b, d) the benign updates that they saw; None unless the threat model is omniscient and the agent `recalls`.
    """

    round: int
    start: Tensor
    updates: Tensor
    benign: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class AgentView:
    """What the malicious agents chosen in one round see.

    Fields:
        round: its number, from 1.
        start: (d,) the global parameters they were sent.
        network: the architecture.
        training: how an honest agent would train.
        shards: x and y of each of the k malicious agents chosen.
        targets: what the attacker wants.
        num_agents: K, the size of the federation.
        weight: a, the share of one agent in the weighted mean (1/K in the paper).
        past: earlier rounds in which they were chosen, oldest first.
        streams: their randomness in this round.
        benign: (b, d) this round's benign updates; only for an omniscient threat model.
        members: the k agents' numbers among the attacker's own, from 0; all of them if empty.
        num_chosen: how many agents take part in this round; None is all.

    Raises:
        ThreatError: on reading `benign_updates` without OMNISCIENT knowledge.
    """

    round: int
    start: Tensor
    network: Network
    training: Training
    shards: tuple[tuple[Tensor, Tensor], ...]
    targets: Targets
    num_agents: int
    weight: float
    past: tuple[Participation, ...]
    streams: Streams
    knowledge: Knowledge = Knowledge.OWN
    benign: Callable[[], Tensor] | None = field(default=None, repr=False)
    members: tuple[int, ...] = ()
    num_chosen: int | None = None

    @property
    def boost(self) -> float:
        """The factor that undoes averaging, 1/a, shared among the k malicious agents of this round."""
        return 1.0 / (self.weight * len(self.shards))

    def factor(self, boost: float | None) -> float:
        """The boost that a field asks for; 1/a, shared, if it is None."""
        return self.boost if boost is None else boost

    @property
    def benign_updates(self) -> Tensor:
        if Knowledge(self.knowledge) is not Knowledge.OMNISCIENT or self.benign is None:
            raise ThreatError(
                "an agent that uses only its own view", "a look at the benign updates", "grant knowledge: omniscient"
            )
        return self.benign()


class Agent(Protocol):
    """A strategy; one made of another strategy holds it in a field.

    What else the engine asks of it, or of the one inside it, where it has it: `remembers`, how many past participations
    it looks at (2 if absent); `recalls`, of how many of them it keeps the benign updates too (0 if absent); and
    `examples(shards)`, the k numbers of examples that it claims (the true ones if absent).
    """

    def __call__(self, view: AgentView, /) -> Tensor:
        """The updates (k, d) that the malicious agents send."""
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
        network: the architecture.
        validation: rows of the server's own, never the test set; None if it has none.
        training: how an honest agent trains, so that the server can train on its own rows alike; None: Training().
        streams: the server's randomness in this round.
    """

    round: int
    start: Tensor
    updates: Tensor
    agents: tuple[int, ...]
    weights: Tensor
    network: Network
    validation: Dataset | None = None
    training: Training | None = None
    streams: Streams = Streams(0)


class ClientDetector(Protocol):
    def __call__(self, view: ServerView, state: Any, /) -> tuple[Verdict, Any]:
        """Suspicion over the n agents; the state returned comes back in the next round (None in the first)."""
        ...


class Aggregator(Protocol):
    def __call__(self, updates: Any, weights: Any = None, view: ServerView | None = None, /) -> Any:
        """(d,) from updates (n, d), optional weights (n,) and, inside a federation, what the server sees."""
        ...


class Reducer(Protocol):
    def __call__(self, updates: Any, weights: Any = None, view: ServerView | None = None, /) -> Any:
        """(m, d) rows and their (m,) weights or None from updates (n, d), for the rule that follows."""
        ...
