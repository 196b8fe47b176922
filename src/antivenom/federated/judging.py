"""Measures on a network and rows. A model whose outputs are not finite gets those rows wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from antivenom.models.network import Network


def probabilities(network: Network, vector: Tensor, x: Tensor, batch: int = 1000) -> Tensor:
    """(m, c) softmax outputs, dropout off; zeros where they are not finite."""
    with torch.no_grad():
        parts = [network.logits(vector, rows).softmax(dim=1) for rows in x.split(batch)]
    return torch.cat(parts).nan_to_num(nan=0.0)


def accuracy(network: Network, vector: Tensor, x: Tensor, y: Tensor) -> float:
    """Share of rows whose largest output is their class."""
    shares = probabilities(network, vector, x)
    hit = (shares.argmax(dim=1) == y) & (shares.sum(dim=1) > 0)
    return float(hit.float().mean())
