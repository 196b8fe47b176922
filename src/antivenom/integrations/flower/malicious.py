"""A malicious client for red teams: any agent of antivenom's, in front of a real client's training.

app = ClientApp(mods=[malicious(SignFlip(scale=10))])
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import AgentView, Claims, Participation, Remembers, Shard, Targets
from antivenom.core.streams import Streams
from antivenom.federated.agents.objectives import train_honest
from antivenom.federated.attackers import asked, copied
from antivenom.federated.guarded import guarded_agent, plain_state
from antivenom.federated.needs import name_of
from antivenom.integrations.flower.wire import template_of
from antivenom.models.network import Network
from antivenom.models.training import Training

_MEMORY = "antivenom.malicious"  # the key of its record in the client's state

Mod = Callable[[Message, Context, Callable[[Message, Context], Message]], Message]


def malicious(
    agent: Any,
    *,
    network: Network | None = None,
    training: Training | None = None,
    rows: Shard | None = None,
    targets: Targets | None = None,
    num_agents: int = 10,
    num_chosen: int | None = None,
    weight: float | None = None,
    weighted_by_key: str = "num-examples",
    seed: int = 0,
) -> Mod:
    """A mod for a `ClientApp` that sends what the agent sends, instead of the client's own update.

    It does nothing unless the run's configuration says `red-team = true` and the configuration of this node says
    `allow-red-team = true`: who submits a run must not be able to turn other people's nodes into attackers. The agent's honest
    update is that of the client's own training. Weakness: agents that need more than the client has are refused: those that
    train on rows of their own choice need `network`, `training` and `rows`, and no client sees the updates of the others.

    Args:
        agent: the strategy, such as `SignFlip()`.
        network: the architecture, for agents that train by themselves.
        training: how the client trains; `Training()` by default.
        rows: the client's rows, x (m, ...) and y (m,).
        targets: what an integrity attacker wants.
        num_agents: the number of clients that the attacker believes to exist.
        num_chosen: how many of them it believes to take part in a round; None for all.
        weight: its share in the weighted mean; None is one of those that take part.
        weighted_by_key: the metric that the server's strategy weighs clients by, which `FalseExamples` writes.
        seed: its randomness.
    """
    labels = torch.empty(0, dtype=torch.long)
    wanted = targets or Targets(torch.empty((0, 0)), labels, labels)
    share = 1.0 / (num_chosen or num_agents) if weight is None else weight
    streams = Streams(seed)

    def mod(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
        allowed = context.run_config.get("red-team") is True and context.node_config.get("allow-red-team") is True
        if not allowed or message.metadata.message_type.partition(".")[0] != "train":
            return call_next(message, context)
        sent: ArrayRecord = next(iter(message.content.array_records.values()))
        template = template_of(sent, None if network is None else network.layout)
        start, _ = template.values(sent)  # before the app trains, which may write into what it was sent
        reply = call_next(message, context)
        if reply.has_error():
            return reply
        name, arrays = next(iter(reply.content.array_records.items()))
        end, side = template.values(arrays)
        metrics = next(iter(reply.content.metric_records.values()), None)
        own = rows if rows is not None else _unseen(metrics, weighted_by_key)
        past, state = _remembered(context)
        number = past[-1].round + 1 if past else 1
        for record in message.content.config_records.values():
            said = record.get("server-round")
            number = said if isinstance(said, int) else number
        view = AgentView(
            round=number,
            start=torch.from_numpy(start.copy()),
            training=training or Training(),
            shards=(own,),
            targets=copied(wanted),
            num_agents=num_agents,
            weight=share,
            past=past,
            streams=streams.sealed("round", number, "agents"),
            network=network,
            trainer=_Trainer(torch.from_numpy(end - start), own, rows is not None),
            num_chosen=num_chosen,
            lasting=streams.sealed("lasting"),
        )
        try:
            made = guarded_agent(agent, view, state)
        except NotApplicable as error:
            remedy = (
                "pass network, training and rows to malicious()" if network is None or rows is None else error.remedy
            )
            raise NotApplicable(error.expected, error.got, remedy) from error
        plain_state(name_of(agent), made.state)
        update = made.updates[0].numpy().astype(start.dtype)
        reply.content[name] = (
            template.record(start + update, side, arrays)
            if np.isfinite(update).all()
            else _raw(start + update, arrays, template)
        )
        claims = asked(agent, Claims, "examples", None)
        if claims is not None and metrics is not None:
            metrics[weighted_by_key] = float(claims((own,))[0])
        kept = max(2, asked(agent, Remembers, "remembers", 2))
        participation = Participation(number, view.start, made.updates)
        _remember(context, (*past, participation)[-kept:], made.state)
        return reply

    return mod


@dataclass(frozen=True, eq=False)
class _Trainer:
    """The honest update is that of the client's app; on other rows, or in another way, antivenom trains."""

    honest: Tensor
    own: Shard
    has_rows: bool

    def __call__(self, view: AgentView, members: Sequence[int], shards: Sequence[Shard]) -> Tensor:
        made = [self.honest if shard is self.own else self._trained(view, shard) for shard in shards]
        return torch.stack(made)

    def _trained(self, view: AgentView, shard: Shard) -> Tensor:
        if view.network is None or not self.has_rows:
            remedy = "pass network, training and rows to malicious()"
            raise NotApplicable(
                "an agent that needs only the client's own update", "one that trains on other rows", remedy
            )
        return train_honest(view, [0], [shard])[0]


def _unseen(metrics: Any, weighted_by_key: str) -> Shard:
    """As many rows as the client has, of which the attacker knows nothing but their number."""
    count = 0 if metrics is None else int(metrics.get(weighted_by_key, 0))
    return torch.empty((count, 0)), torch.zeros(count, dtype=torch.long)


def _raw(numbers: Any, arrays: ArrayRecord, template: Any) -> ArrayRecord:
    """The arrays with these parameters, which may be NaN or infinite."""
    made = arrays.copy()
    for slot in template.slots:
        if slot.role.value == "trained":
            part = numbers[slot.span].reshape(slot.shape).astype(slot.dtype if slot.dtype != "bfloat16" else "float32")
            made[slot.name] = type(arrays[slot.name])(part)
    return made


def _remembered(context: Context) -> tuple[tuple[Participation, ...], Any]:
    """The past rounds and the agent's state, which the client keeps between messages."""
    if _MEMORY not in context.state:
        return (), None
    raw = context.state[_MEMORY]["memory"]
    if not isinstance(raw, bytes):
        raise PluginError("the memory of a malicious client", type(raw).__name__)
    memory = torch.load(io.BytesIO(raw), weights_only=True)
    return tuple(Participation(*each) for each in memory["past"]), memory["state"]


def _remember(context: Context, past: tuple[Participation, ...], state: object) -> None:
    buffer = io.BytesIO()
    torch.save({"past": [(each.round, each.start, each.updates) for each in past], "state": state}, buffer)
    context.state[_MEMORY] = ConfigRecord({"memory": buffer.getvalue()})
