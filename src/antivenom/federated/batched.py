"""Clients trained together: their parameters stacked, one product per layer and step for all of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antivenom.models.stacked import Draws, activations, stacked_logits
from antivenom.models.training import Training

if TYPE_CHECKING:
    from antivenom.federated.clients import Client

ROOM = 1 << 30  # numbers that a stack may hold at a time: 4 GiB in single precision


def together(clients: Sequence[Client]) -> Tensor:
    """(n, d) the parameters of clients that are alike after their training, as many at once as there is room for."""
    most = max(1, ROOM // _numbers(max(clients, key=len))) if len(clients) > 1 else 1
    return torch.cat([_stacked(clients[at : at + most]) for at in range(0, len(clients), most)])


def _numbers(client: Client) -> int:
    """How many numbers its training holds: weights, gradients, moments and a spare; activations both ways; its rows."""
    batch = min(len(client), client.training.batch_size)
    return 5 * client.start.numel() + 3 * batch * activations(client.network) + len(client) * client.x[:1].numel()


def _stacked(clients: Sequence[Client]) -> Tensor:
    """Shards may differ in size: a client that is done leaves the stack."""
    training, network, device = clients[0].training, clients[0].network, clients[0].start.device
    steps = [training.steps(len(client)) for client in clients]
    order = sorted(range(len(clients)), key=lambda i: -steps[i])  # clients still busy are always a prefix
    x, y, places = _pool(clients)
    numbers, sizes = _batches(clients)
    index = places[torch.as_tensor(numbers[order], device=device)]
    real = torch.arange(index.shape[2], device=device) < torch.as_tensor(sizes[order, :, None], device=device)
    shares = real.to(clients[0].start.dtype) / real.sum(2, keepdim=True)  # of each row in the mean over its batch
    drops = any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in network.module.modules())
    generators = [clients[i].streams.torch("dropout", device=device) for i in order] if drops else []

    done = torch.stack([client.start.detach() for client in clients])
    stack = done[order].requires_grad_()
    optimizer = training.optimizer_for(stack)
    for step in range(max(steps)):
        busy = sum(count > step for count in steps)
        if busy < len(stack):
            done[order[busy : len(stack)]] = stack.detach()[busy:]
            stack, optimizer = _keep(stack, optimizer, busy, training)
        own = sizes[order[:busy], step]
        batch = index[:busy, step, : own.max()]
        draws = Draws(generators[:busy], own.tolist()) if drops else None
        with training.products(device):
            logits = stacked_logits(network, stack, x[batch], draws).to(stack.dtype)
        losses = F.cross_entropy(logits.flatten(0, 1), y[batch].flatten(), reduction="none").view(batch.shape)
        (stack.grad,) = torch.autograd.grad((losses * shares[:busy, step, : batch.shape[1]]).sum(), stack)
        optimizer.step()
    done[order[: len(stack)]] = stack.detach()
    return done


def _pool(clients: Sequence[Client]) -> tuple[Tensor, Tensor, Tensor]:
    """Rows x and y of everybody, and which of them are the first client's, the second's and so on: nothing is copied
    for clients who share their x and y."""
    pools = [list(group) for _, group in itertools.groupby(clients, lambda client: (id(client.x), id(client.y)))]
    places = [torch.cat([client.places for client in pool]) for pool in pools]
    if len(pools) == 1:
        return clients[0].x, clients[0].y, places[0]
    x = torch.cat([pool[0].x[own] for pool, own in zip(pools, places, strict=True)])
    y = torch.cat([pool[0].y[own] for pool, own in zip(pools, places, strict=True)])
    return x, y, torch.arange(len(y), device=y.device)


def _batches(clients: Sequence[Client]) -> tuple[np.ndarray, np.ndarray]:
    """(n, steps, b) which of all clients' rows, one after another, make up each batch, and (n, steps) their numbers.

    All batches go to the device at once: a copy for each agent and step would take longer than the step.
    """
    training, most = clients[0].training, max(map(len, clients))
    b = min(training.batch_size, most)
    numbers = np.zeros((len(clients), training.steps(most), b), dtype=np.int64)
    sizes = np.zeros(numbers.shape[:2], dtype=np.int64)
    first = 0
    for client, own, count in zip(clients, numbers, sizes, strict=True):
        m, steps = len(client), training.steps(len(client))
        if steps:
            orders = np.concatenate(list(training.batches(m, client.streams.numpy("order"))))
            own[:steps].reshape(training.epochs, -1)[:, :m] = first + orders.reshape(training.epochs, m)
            count[:steps].reshape(training.epochs, -1)[:] = np.minimum(b, m - b * np.arange(-(-m // b)))
        first += m
    return numbers, sizes


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
