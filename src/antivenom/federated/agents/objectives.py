"""What the agents' strategies are made of: the losses, steps that can be taken from any point, the honest update."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from antivenom.core.protocols import AgentView, Shard
from antivenom.core.streams import Streams
from antivenom.fast.trainer import loss_and_gradient
from antivenom.federated.clients import Client, trained

Sloped = tuple[Tensor, Tensor]  # a loss and its gradient (d,)


class Objectives:
    """The losses of one malicious agent in one round and their gradients at parameters (d,); dropout is on."""

    def __init__(self, view: AgentView, member: int) -> None:
        self.x, self.y = view.shards[member]
        self.targets = view.targets
        dropout = view.streams.child("member", member).torch("dropout", device=view.start.device)
        self._loss = loss_and_gradient(view.architecture, dropout, view.start)

    def on_targets(self, vector: Tensor) -> Sloped:
        """L({x, tau}; w): mean cross-entropy of the targets towards the wanted classes."""
        return self._loss(vector, self.targets.x, self.targets.labels)

    def on_rows(self, vector: Tensor, rows: Tensor) -> Sloped:
        """L(D_m; w) on some rows of the agent's shard."""
        return self._loss(vector, self.x[rows], self.y[rows])


class AdamSteps:
    """Adam (betas .9 and .999, eps 1e-8) whose steps can be taken from any point; its moments persist between calls."""

    def __init__(self, like: Tensor, learning_rate: float) -> None:
        self._learning_rate, self._count = learning_rate, 0
        self._first, self._second = torch.zeros_like(like), torch.zeros_like(like)

    def __call__(self, gradient: Tensor) -> Tensor:
        """The change (d,) of one step with this gradient (d,)."""
        self._count += 1
        self._first.lerp_(gradient, 1 - 0.9)
        self._second.mul_(0.999).addcmul_(gradient, gradient, value=1 - 0.999)
        scale = self._second.sqrt().div_(math.sqrt(1 - 0.999**self._count)).add_(1e-8)
        return self._first.div(scale).mul_(-self._learning_rate / (1 - 0.9**self._count))


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
    return (view if epochs is None else training_for(view, epochs)).honest(member)


def training_for(view: AgentView, epochs: int) -> AgentView:
    """The view with another number of epochs of honest training."""
    return dataclasses.replace(view, training=dataclasses.replace(view.training, epochs=epochs))


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


def pull(vector: Tensor, centre: Tensor, half_squared: bool) -> Tensor:
    """(d,) the gradient of the L2 distance from `centre`, or of half its square, which does not fade beside a large loss."""
    apart = vector - centre
    return apart if half_squared else torch.nn.functional.normalize(apart, dim=0)
