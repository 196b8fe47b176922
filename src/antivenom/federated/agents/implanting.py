"""How a backdoor is trained into an update: the rows that carry it, and local training with a further term and limits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import AgentView
from antivenom.core.registry import require_range

Rows = tuple[Tensor, Tensor]


class Implanting(Protocol):
    """What every agent that trains a backdoor into its update says of that training."""

    @property
    def share(self) -> float:
        """Of every batch that is backdoor rows, 0 to 1."""
        ...

    @property
    def epochs(self) -> int | None:
        """Passes over the own shard; None is what an honest agent makes."""
        ...

    @property
    def learning_rate(self) -> float | None:
        """None is the honest one."""
        ...


def check_implanting(agent: Implanting) -> None:
    """Refuse a share outside 0 to 1, and negative epochs, learning rates and boosts.

    Raises:
        PluginError: names the first such field.
    """
    require_range(agent, 0, 1, "share")
    require_range(agent, 0, math.inf, "epochs", "learning_rate", *(("boost",) if hasattr(agent, "boost") else ()))


def backdoor_rows(
    view: AgentView, member: int, part: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
) -> Rows:
    """Inputs and labels that teach what the attacker wants.

    With a trigger: the member's rows of which something is wanted, with the trigger in them and labelled as wanted;
    `part(before, after)` may keep a part of the trigger only. Without one: the targets, labelled as wanted.

    Raises:
        NotApplicable: the scenario has neither.
    """
    wants = view.targets
    if wants.trigger is not None and wants.wanted is not None:
        x, y = view.shards[member]
        labels = torch.as_tensor(wants.wanted(y.cpu().numpy(), view.architecture.num_classes), device=y.device)
        meant = labels >= 0
        plain = x[meant].cpu().numpy()
        shown = wants.trigger(plain) if len(plain) else plain
        if part is not None and len(plain):
            shown = part(plain, shown)
        rows = torch.as_tensor(np.ascontiguousarray(shown), dtype=x.dtype, device=x.device)
        return rows, labels[meant].to(y.dtype)
    if not len(wants):
        raise NotApplicable("a trigger or targets", "neither", "set the scenario's goal to backdoor or targeted")
    return wants.x, wants.labels


def backdoored(
    agent: Implanting,
    view: AgentView,
    member: int,
    rows: Rows | None = None,
    *,
    start: Tensor | None = None,
    alpha: float = 1.0,
    term: Callable[[Tensor], Tensor] | None = None,
    free: Tensor | None = None,
    project: Callable[[Tensor], Tensor] | None = None,
    stop_loss: float = 0.0,
) -> Tensor:
    """(d,) the change that the member's local training makes when the agent's share of every batch is backdoor rows.

    The rows are those of `backdoor_rows` unless others are given. Training begins at `start`, by default the global
    parameters; the change is counted from the global parameters in either case. The loss is alpha * cross-entropy + (1 - alpha) * term. Only coordinates that are `free` (d,) get a gradient;
    `project` is applied after every step; training ends when the loss on the backdoor rows of a batch falls below
    `stop_loss`. Without backdoor rows (a shard of the target class only) the batches are honest.
    """
    training = dataclasses.replace(
        view.training,
        epochs=view.training.epochs if agent.epochs is None else agent.epochs,
        learning_rate=view.training.learning_rate if agent.learning_rate is None else agent.learning_rate,
    )
    streams = view.streams.child("member", member, "backdoor")
    device = view.start.device
    forward = view.architecture.training_forward(
        streams.torch("dropout", device=device), {name: b.clone() for name, b in view.architecture.buffers.items()}
    )
    x, y = view.shards[member]
    bad_x, bad_y = backdoor_rows(view, member) if rows is None else rows
    leaf = (view.start if start is None else start).detach().clone().requires_grad_()
    optimizer = training.optimizer_for(leaf)
    order, draws = streams.numpy("order"), streams.numpy("draws")
    for batch in training.batches(len(y), order):
        number = round(agent.share * len(batch)) if len(bad_y) else 0
        kept = torch.as_tensor(batch[number:], device=device)
        drawn = torch.as_tensor(draws.integers(0, max(len(bad_y), 1), size=number), device=device)
        logits = forward(leaf, torch.cat([bad_x[drawn], x[kept]]))
        losses = F.cross_entropy(logits, torch.cat([bad_y[drawn], y[kept]]), reduction="none")
        if number and float(losses[:number].detach().mean()) < stop_loss:
            break
        loss = losses.mean() if term is None else alpha * losses.mean() + (1 - alpha) * term(leaf)
        (gradient,) = torch.autograd.grad(loss, leaf)
        leaf.grad = gradient if free is None else gradient * free
        optimizer.step()
        if project is not None:
            with torch.no_grad():
                leaf.copy_(project(leaf))
    return leaf.detach() - view.start


def to_ball(vector: Tensor, centre: Tensor, radius: float) -> Tensor:
    """The nearest point to `vector` (d,) within L2 distance `radius` of `centre`."""
    apart = vector - centre
    length = torch.linalg.vector_norm(apart)
    return centre + apart * (radius / length).clamp(max=1.0) if length > 0 else vector.clone()
