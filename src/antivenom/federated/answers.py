"""Probabilities and accuracies of a network. A row with outputs that are not finite counts as wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from antivenom.core.lockstep import jointly
from antivenom.federated.batched import ROOM
from antivenom.models.network import Network
from antivenom.models.stacked import activations, stacked_logits, unsupported

Measured = tuple[Network, Tensor, Tensor, Tensor]  # whose parameters (d,) are measured on which x (m, ...) and y (m,)


def probabilities(network: Network, vector: Tensor, x: Tensor, batch: int = 1000) -> Tensor:
    """(m, c) softmax outputs, dropout off; zeros where they are not finite."""
    with torch.no_grad():
        parts = [network.logits(vector, rows).softmax(dim=1) for rows in x.split(batch)]
    return torch.cat(parts).nan_to_num(nan=0.0)


def accuracy(network: Network, vector: Tensor, x: Tensor, y: Tensor) -> float:
    """Share of rows whose largest output is their class."""
    return float(_right(probabilities(network, vector, x), y))


def accuracies(network: Network, vectors: Iterable[Tensor], x: Tensor, y: Tensor) -> list[float]:
    """The accuracy with each of the parameters (d,): on an accelerator all at once, with those of other trials in step."""
    measured = [(network, vector, x, y) for vector in vectors]
    return list(jointly(_way(network, x), measured, (network.architecture, x.shape, x.dtype, x.device)))


def _way(network: Network, x: Tensor) -> Callable[[Sequence[Measured]], list[float]]:
    return _stacked if x.is_cuda and not unsupported(network) else _one_by_one


def _one_by_one(measured: Sequence[Measured]) -> list[float]:
    return [accuracy(*each) for each in measured]


def _stacked(measured: Sequence[Measured]) -> list[float]:
    """Must equal `_one_by_one`, ties of rounding apart."""
    network = measured[0][0]
    vectors, y = torch.stack([each[1] for each in measured]), torch.stack([each[3] for each in measured])
    rows = max(1, ROOM // (2 * len(measured) * activations(network)))
    shares = []
    with torch.no_grad():
        for at in range(0, y.shape[1], rows):
            x = torch.stack([each[2][at : at + rows] for each in measured])
            shares.append(stacked_logits(network, vectors, x).softmax(dim=2))
    found: list[float] = _right(torch.cat(shares, dim=1).nan_to_num(nan=0.0), y).tolist()
    return found


def _right(shares: Tensor, y: Tensor) -> Tensor:
    """(...,) share of rows whose largest output of (..., m, c) is their class y (..., m)."""
    hit = (shares.argmax(dim=-1) == y) & (shares.sum(dim=-1) > 0)
    return hit.float().mean(dim=-1)
