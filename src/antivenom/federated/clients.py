"""Local training of many agents: together, vectorised, or one after another. The loop is the specification.

`train_together` must equal `train_one_by_one` to rounding: the same batches in the same order, the same dropout masks,
the same optimiser arithmetic; only the products are batched over agents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antivenom.data import Dataset
from antivenom.models.dense import plan_of, train_dense
from antivenom.models.network import Network
from antivenom.models.stacked import Draws, stacked_logits, unsupported
from antivenom.models.training import Training, train
from antivenom.rng import Streams


@dataclass(frozen=True, eq=False)
class Shards:
    """The agents' rows, once on the device.

    Fields:
        x: (N, ...) every training row.
        y: (N,) labels.
        rows: one index tensor per agent.
    """

    x: Tensor
    y: Tensor
    rows: tuple[Tensor, ...]

    @classmethod
    def of(cls, data: Dataset, shards: Sequence, device: torch.device | str = "cpu") -> Shards:  # type: ignore[type-arg]
        x, y = torch.tensor(data.dense, device=device), torch.tensor(data.y, device=device)
        return cls(x, y, tuple(torch.tensor(np.asarray(rows), dtype=torch.int64, device=device) for rows in shards))

    def of_agent(self, agent: int) -> tuple[Tensor, Tensor]:
        return self.x[self.rows[agent]], self.y[self.rows[agent]]

    def size(self, agent: int) -> int:
        return len(self.rows[agent])


def train_agents(
    network: Network, start: Tensor, shards: Shards, agents: Sequence[int], training: Training, streams: Streams
) -> Tensor:
    """Updates (n, d) of the named agents, each trained from `start` (d,), by the fastest way that its layers allow.

    On an accelerator all agents are stacked. On a CPU each core trains one agent at a time, whose weights then stay in
    its cache, if the network is dense or convolves; others are stacked there, too. Layers without a stacked form are
    trained by the plain loop.
    """
    if unsupported(network):
        return train_one_by_one(network, start, shards, agents, training, streams)
    together = start.is_cuda or not (_convolves(network) or plan_of(network))
    return (train_together if together else train_side_by_side)(network, start, shards, agents, training, streams)


def _convolves(network: Network) -> bool:
    return any(isinstance(layer, nn.Conv2d) for layer in network.module.modules())


def loop_note(network: Network) -> str | None:
    """What a reader of the numbers is told when agents cannot be trained together; None when they can."""
    layers = unsupported(network)
    return f"agents were trained one after another: no vectorised form of {', '.join(layers)}" if layers else None


def train_one_by_one(
    network: Network, start: Tensor, shards: Shards, agents: Sequence[int], training: Training, streams: Streams
) -> Tensor:
    """The oracle: a plain loop over the agents. Works for any torch module."""
    updates = [
        train(network, start, *shards.of_agent(agent), training, streams.child("agent", agent))[0] - start
        for agent in agents
    ]
    return torch.stack(updates) if updates else start.new_zeros(0, start.numel())


def train_side_by_side(
    network: Network, start: Tensor, shards: Shards, agents: Sequence[int], training: Training, streams: Streams
) -> Tensor:
    """One agent per core at a time: dense networks compiled, of which no step waits for another thread.

    Other networks are trained by autograd, whose threads wait for each other between operations; it pays all the same
    where an operation takes long, as a convolution does.
    """
    plan = plan_of(network) if shards.x.dtype == start.dtype else None
    flat = shards.x.flatten(1).contiguous()
    updates = start.new_empty(len(agents), start.numel())

    def update(place: int) -> None:
        agent = agents[place]
        if plan is None:
            updates[place] = train_together(network, start, shards, [agent], training, streams)[0]
            return
        own = streams.child("agent", agent)
        trained = train_dense(plan, start, flat, shards.y, shards.rows[agent], training, own)
        torch.sub(trained, start, out=updates[place])

    _on_each_core(update, range(len(agents)))
    return updates


def _on_each_core(work: Callable[[int], None], items: Sequence[int]) -> None:
    """`work` of every item on as many threads as torch has, each of which computes alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if threads == 1 or len(items) <= 1:
            for item in items:
                work(item)
            return
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(work, items):
                pass
    finally:
        torch.set_num_threads(threads)


def train_together(
    network: Network, start: Tensor, shards: Shards, agents: Sequence[int], training: Training, streams: Streams
) -> Tensor:
    """All agents at once on stacked parameters. Shards may differ in size: an agent that is done leaves the stack."""
    device = start.device
    own = [streams.child("agent", agent) for agent in agents]
    batches = [list(training.batches(shards.size(a), s.numpy("order"))) for a, s in zip(agents, own, strict=True)]
    order = sorted(range(len(agents)), key=lambda i: -len(batches[i]))  # agents still busy are always a prefix
    generators = [own[i].torch("dropout", device=device) for i in order]
    rows = [shards.rows[agents[i]] for i in order]

    done = start.repeat(len(agents), 1)
    stack = done[order].requires_grad_()
    optimizer = training.optimizer_for(stack)
    for step in range(max(map(len, batches), default=0)):
        busy = sum(len(b) > step for b in batches)
        if busy < len(stack):
            done[order[busy : len(stack)]] = stack.detach()[busy:]
            stack, optimizer = _keep(stack, optimizer, busy, training)
        batch = [torch.as_tensor(batches[order[i]][step], device=device) for i in range(busy)]
        sizes = [len(b) for b in batch]
        index = torch.nn.utils.rnn.pad_sequence([r[b] for r, b in zip(rows, batch, strict=False)], batch_first=True)
        logits = stacked_logits(network, stack, shards.x[index], Draws(generators[:busy], sizes))
        losses = F.cross_entropy(logits.flatten(0, 1), shards.y[index].flatten(), reduction="none").view(index.shape)
        weight = torch.arange(index.shape[1], device=device) < torch.tensor(sizes, device=device).unsqueeze(1)
        means = (losses * weight).sum(1) / weight.sum(1)
        (stack.grad,) = torch.autograd.grad(means.sum(), stack)
        optimizer.step()
    done[order[: len(stack)]] = stack.detach()
    return done - start


def _keep(
    stack: Tensor, optimizer: torch.optim.Optimizer, busy: int, training: Training
) -> tuple[Tensor, torch.optim.Optimizer]:
    """The first `busy` rows of the stack and of the optimiser's state."""
    kept = stack.detach()[:busy].clone().requires_grad_()
    smaller = training.optimizer_for(kept)
    smaller.state[kept] = {
        name: value[:busy].clone() if isinstance(value, Tensor) and value.dim() == 2 else value
        for name, value in optimizer.state[stack].items()
    }
    return kept, smaller
