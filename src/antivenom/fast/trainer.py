"""Training of one model in compiled code where that is supported. It must equal `train` to rounding."""

from __future__ import annotations

import torch
from torch import Tensor

from antivenom.core.streams import Streams
from antivenom.fast import ABSENT
from antivenom.fast.dense import dense_form, supports, train_dense
from antivenom.models.network import Buffers, Network
from antivenom.models.training import Loss, Training, cross_entropy, train


def train_fastest(
    network: Network,
    start: Tensor,
    x: Tensor,
    y: Tensor,
    training: Training,
    streams: Streams,
    loss: Loss,
    buffers: Buffers | None,
    kept: Tensor | None,
) -> tuple[Tensor, Buffers]:
    """A `Trainer` with the results of `train`, to rounding: weights (d,) and buffers.

    Compiled code trains dense networks on the CPU with the honest loss, and `train` trains all others. Both draw the same
    random numbers from the same streams. The arguments are those of `train`.
    """
    plan = dense_form(network)
    compiled = plan is not None and supports(network, training) is None and start.device.type == "cpu"
    if plan is None or not compiled or loss is not cross_entropy or kept is not None or x.dtype != start.dtype:
        return train(network, start, x, y, training, streams, loss, buffers, kept=kept)
    rows = torch.arange(len(y))
    vector = train_dense(plan, start, x.flatten(1).contiguous(), y, rows, training, streams)
    return vector, dict(network.buffers if buffers is None else buffers)


def slow_note(network: Network, training: Training, device: torch.device | str) -> str | None:
    """A note for the outcome if the network could be trained in compiled code but numba or llvmlite is missing, else None."""
    if torch.device(device).type == "cpu" and supports(network, training) == ABSENT:
        return f"the model was trained without compiled code, which is slower: {ABSENT}"
    return None
