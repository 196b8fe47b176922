"""What the agents' strategies are made of: the losses, steps that can be taken from any point, the honest update."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.protocols import AgentView, Shard
from antivenom.core.streams import Streams
from antivenom.federated.clients import Client, trained

Objective = Callable[[Tensor], Tensor]


class Objectives:
    """The losses of one malicious agent in one round, as functions of the parameters (d,); dropout is on."""

    def __init__(self, view: AgentView, member: int) -> None:
        streams = view.streams.child("member", member)
        self.x, self.y = view.shards[member]
        self.targets = view.targets
        network = view.architecture
        self._forward = network.training_forward(
            streams.torch("dropout", device=view.start.device), {k: b.clone() for k, b in network.buffers.items()}
        )

    def on_targets(self, vector: Tensor) -> Tensor:
        """L({x, tau}; w): mean cross-entropy of the targets towards the wanted classes."""
        return F.cross_entropy(self._forward(vector, self.targets.x), self.targets.labels)

    def on_rows(self, vector: Tensor, rows: Tensor) -> Tensor:
        """L(D_m; w) on some rows of the agent's shard."""
        return F.cross_entropy(self._forward(vector, self.x[rows]), self.y[rows])


class AdamSteps:
    """One Adam optimiser that can be asked for its next step from any point; its moments persist between calls."""

    def __init__(self, like: Tensor, learning_rate: float) -> None:
        self._leaf = like.detach().clone().requires_grad_()
        self._optimizer = torch.optim.Adam([self._leaf], lr=learning_rate, fused=True)

    def __call__(self, at: Tensor, objective: Objective) -> tuple[Tensor, float]:
        """The change (d,) that one step makes from `at`, and the objective's value there."""
        with torch.no_grad():
            self._leaf.copy_(at)
        value = objective(self._leaf)
        (self._leaf.grad,) = torch.autograd.grad(value, self._leaf)
        self._optimizer.step()
        return self._leaf.detach() - at, float(value.detach())


def each_member(view: AgentView, strategy: Callable[[int], Tensor]) -> Tensor:
    """(k, d) by running a one-agent strategy for every malicious agent of the round."""
    return torch.stack([strategy(member) for member in range(len(view.shards))])


def each_client(view: AgentView, client: Callable[[int], Client]) -> Tensor:
    """(k, d) the updates of what every malicious agent of the round trains as, all trained at once."""
    return trained([client(member) for member in range(len(view.shards))]) - view.start


def train_honest(view: AgentView, members: Sequence[int], shards: Sequence[Shard]) -> Tensor:
    """(m, d) the updates of honest agents with these shards: the trainer of views whose agents know the network."""
    pairs = zip(members, shards, strict=True)
    return trained([client_of(view, *own, view.streams.child("member", i, "honest")) for i, own in pairs]) - view.start


def honest(view: AgentView, member: int, epochs: int | None = None) -> Tensor:
    """(d,) the update of an honest agent with that member's shard, after another number of epochs if one is given."""
    if epochs is not None:
        view = dataclasses.replace(view, training=dataclasses.replace(view.training, epochs=epochs))
    return view.honest(member)


def client_of(view: AgentView, x: Tensor, y: Tensor, streams: Streams) -> Client:
    """A client that trains as an honest one does, on rows of the attacker's choice."""
    return Client(view.architecture, view.start, x, y, view.training, streams)


def estimated_benign(view: AgentView) -> Tensor | None:
    """(d,) what the other agents moved the global model per round since this agent last took part; None at first.

    (w_t - w_t' - a * sum of own updates at t') / (t - t'), t' the last round in which it was chosen. The paper prints
    the middle term without a, which does not fit in scale.
    """
    if not view.past:
        return None
    last = view.past[-1]
    own = view.weight * last.updates.sum(dim=0)
    return (view.start - last.start - own) / (view.round - last.round)


def distance(vector: Tensor, centre: Tensor, half_squared: bool) -> Tensor:
    """The L2 distance, or half its square, whose gradient does not fade beside that of a loss when it is large."""
    apart = vector - centre
    return 0.5 * apart.square().sum() if half_squared else torch.linalg.vector_norm(apart)
