"""Local training of many clients: stacked, side by side, or one after another. The loop is the specification.

`together` and `side_by_side` must equal `one_by_one` to rounding: the same batches in the same order, the same dropout
masks, the same optimiser arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from antivenom.core.lockstep import jointly
from antivenom.core.protocols import LocalTraining, Shard
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.fast import ABSENT
from antivenom.fast.dense import dense_form, supports, train_dense
from antivenom.federated.batched import together
from antivenom.federated.guarded import guarded_training
from antivenom.models import stacked
from antivenom.models.network import Network
from antivenom.models.stacked import unsupported
from antivenom.models.training import Training, train


@dataclass(frozen=True, eq=False)
class Client:
    """One client's local training, to be done.

    Fields:
        network: the architecture.
        start: (d,) the parameters that it was sent.
        x: (N, ...) rows, on the device of `start`.
        y: (N,) their labels.
        training: how it trains.
        streams: its randomness, which is that of `train`.
        rows: (m,) numbers of the client's own rows; None means all.
    """

    network: Network
    start: Tensor
    x: Tensor
    y: Tensor
    training: Training
    streams: Streams
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y if self.rows is None else self.rows)

    @property
    def places(self) -> Tensor:
        """(m,) numbers of the client's own rows."""
        return torch.arange(len(self.y), device=self.y.device) if self.rows is None else self.rows

    @property
    def shard(self) -> tuple[Tensor, Tensor]:
        """Its own x (m, ...) and y (m,)."""
        return (self.x, self.y) if self.rows is None else (self.x[self.rows], self.y[self.rows])

    @property
    def alike(self) -> Hashable:
        """A key that is equal for clients that can be stacked: architecture, training, device and number types."""
        return self.network.architecture, self.training, self.start.device, self.start.dtype, self.x.dtype


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
        x, y = torch.tensor(data.inputs, device=device), torch.tensor(data.y, device=device)
        return cls(x, y, tuple(torch.tensor(np.asarray(rows), dtype=torch.int64, device=device) for rows in shards))

    def of_agent(self, agent: int) -> tuple[Tensor, Tensor]:
        return self.x[self.rows[agent]], self.y[self.rows[agent]]

    def size(self, agent: int) -> int:
        return len(self.rows[agent])


def train_agents(
    network: Network, start: Tensor, shards: Shards, agents: Sequence[int], training: Training, streams: Streams
) -> Tensor:
    """Updates (n, d) of the named agents, each trained from `start` (d,)."""
    if not agents:
        return start.new_zeros(0, start.numel())
    clients = [
        Client(network, start, shards.x, shards.y, training, streams.child("agent", agent), shards.rows[agent])
        for agent in agents
    ]
    return trained(clients).sub_(start)


def train_locally(
    local: LocalTraining,
    network: Network,
    start: Tensor,
    shards: Sequence[Shard],
    round: int,
    streams: Sequence[Streams],
) -> Tensor:
    """Updates (n, d) of agents that train by code of their own from `start` (d,), one after another."""
    if not shards:
        return start.new_zeros(0, start.numel())
    pairs = zip(shards, streams, strict=True)
    return torch.stack([guarded_training(local, network, start, shard, round, own) for shard, own in pairs]) - start


def trained(clients: Sequence[Client]) -> Tensor:
    """(n, d) the parameters of clients that are alike, n >= 1, after their training: by the fastest way for their layers.

    On an accelerator all clients are stacked, those of other trials in step among them. On a CPU each core trains one
    client at a time, whose weights then stay in its cache, if the network is dense or convolves; others are stacked
    there, too. Layers and trainings without a stacked form go through the plain loop.
    """
    return jointly(_way(clients[0]), clients, clients[0].alike)  # type: ignore[no-any-return]


def _way(client: Client) -> Callable[[Sequence[Client]], Tensor]:
    if unsupported(client.network):
        return one_by_one
    beside = _convolves(client.network) or supports(client.network, client.training) is None
    if beside and not client.start.is_cuda:
        return side_by_side
    return together if stacked.supports(client.training) is None else one_by_one


def _convolves(network: Network) -> bool:
    return any(isinstance(layer, nn.Conv2d) for layer in network.module.modules())


def loop_note(network: Network, training: Training, device: torch.device | str) -> str | None:
    """A note for the outcome if agents are trained in a slow form that could be avoided, or None."""
    if layers := unsupported(network):
        return f"agents were trained one after another: no vectorised form of {', '.join(layers)}"
    on_cpu = torch.device(device).type == "cpu"
    if (reason := stacked.supports(training)) and not (on_cpu and _convolves(network)):
        return f"agents were trained one after another: {reason}"
    if on_cpu and supports(network, training) == ABSENT:
        return f"agents were trained without compiled code, which is slower: {ABSENT}"
    return None


def one_by_one(clients: Sequence[Client]) -> Tensor:
    """The specification: a plain loop over the clients, for any torch module."""
    return torch.stack([train(c.network, c.start, *c.shard, c.training, c.streams)[0] for c in clients])


def side_by_side(clients: Sequence[Client]) -> Tensor:
    """One client per core at a time: dense networks compiled, of which no step waits for another thread.

    Other networks are trained by autograd, whose threads wait for each other between operations; it pays all the same
    where an operation takes long, as a convolution does.
    """
    first = clients[0]
    compiled = first.x.dtype == first.start.dtype and supports(first.network, first.training) is None
    plan = dense_form(first.network) if compiled else None
    ends = first.start.new_empty(len(clients), first.start.numel())

    def end(place: int) -> None:
        c = clients[place]
        if plan is None:
            ends[place] = train(c.network, c.start, *c.shard, c.training, c.streams, global_rng_unused=True)[0]
        else:
            inputs = c.x.flatten(1).contiguous()
            ends[place] = train_dense(plan, c.start, inputs, c.y, c.places, c.training, c.streams)

    _on_each_core(end, range(len(clients)))
    return ends


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
