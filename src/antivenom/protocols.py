"""The call shapes, and what each side may see. Read this file first.

    central     clean -[DataAttack]-> rows -[Sanitizer]-> rows -fit (its loss: LogicAttack)-> model -[Mitigation]-> model
                a RobustLearner replaces the fit; an Evasion changes what the finished model is shown
    transfer    pretrained -[ModelAttack]-> model -[ModelDetector]-> -fine-tune-> model -[Mitigation]-> model
    federated   shards -> local training -[Agent on k]-> updates (n, d) -[ClientDetector]-> -[Reducer]->
                (m, d) -[Aggregator]-> global model

Letters in shapes: n rows or agents, k malicious agents, d parameters, c classes.
A defence's arguments never hold the poison mask, the malicious ids, the true f or the test set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from antivenom.data import Dataset, Poison, Rows
from antivenom.errors import ThreatError
from antivenom.models.face import Model
from antivenom.models.network import Network
from antivenom.models.training import Loss, Training
from antivenom.rng import Streams
from antivenom.threat import Knowledge, ThreatModel
from antivenom.verdict import Verdict


class Trigger(Protocol):
    def __call__(self, x: np.ndarray, /) -> np.ndarray:
        """The inputs (m, ...) with the trigger in them; a new array."""
        ...


@dataclass(frozen=True)
class AttackContext:
    """What every attacker on the central and transfer arrows gets.

    Fields:
        streams: the attacker's randomness.
        threat: what is granted.
        target: the class the attacker wants, or None.
        trigger: what will be shown at test time (backdoor goal), or None.
        rows: rows with true labels that the attacker holds besides the training rows, or None; test rows are among them
            only if the scenario says so.
    """

    streams: Streams
    threat: ThreatModel
    target: int | None = None
    trigger: Trigger | None = None
    rows: Dataset | None = None


@dataclass(frozen=True)
class DefenceContext:
    """What every central defence gets.

    Fields:
        streams: the defender's randomness.
        fit: trains the pipeline's own model on given rows, for defences that look at a model.
        refit: trains a given model further on given rows, for that many epochs.
        trusted: rows held out before any attack, or None if the user has none.
    """

    streams: Streams
    fit: Callable[[Dataset], Model]
    refit: Callable[[Model, Dataset, int], Model]
    trusted: Dataset | None = None


class DataAttack(Protocol):
    def __call__(self, data: Dataset, context: AttackContext, /) -> Poison: ...


class ModelAttack(Protocol):
    def __call__(self, model: Model, data: Dataset, context: AttackContext, /) -> tuple[Model, Poison]: ...


class LogicAttack(Protocol):
    def __call__(self, loss: Loss, context: AttackContext, /) -> Loss:
        """The loss that the corrupted training code computes instead of the honest one."""
        ...


class Evasion(Protocol):
    def __call__(self, model: Model, data: Dataset, context: AttackContext, /) -> Rows:
        """The rows (m, ...) of `data` as an evader would send them; their true labels stay."""
        ...


class Sanitizer(Protocol):
    def __call__(self, data: Dataset, context: DefenceContext, /) -> Verdict:
        """Suspicion over rows; the flagged ones are left out of training."""
        ...


class RobustLearner(Protocol):
    def __call__(self, data: Dataset, context: DefenceContext, /) -> Model:
        """A model from rows that may be poisoned; with `certified(x) -> (m,)` radii if it can prove something."""
        ...


class ModelDetector(Protocol):
    def __call__(self, model: Model, clean: Dataset, context: DefenceContext, /) -> Verdict:
        """Suspicion over classes: which of them a backdoor turns inputs into."""
        ...


class Mitigation(Protocol):
    def __call__(self, model: Model, clean: Dataset, context: DefenceContext, /) -> Model: ...


# --- federated -------------------------------------------------------------------------------------------------------


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
        training: how an honest agent trains, so that the server can train on its own rows alike.
        streams: the server's randomness in this round.
    """

    round: int
    start: Tensor
    updates: Tensor
    agents: tuple[int, ...]
    weights: Tensor
    network: Network
    validation: Dataset | None = None
    training: Training = Training()
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
