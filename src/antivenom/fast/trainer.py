"""The training of one model, compiled where it can be. Must equal `train` to rounding."""

from __future__ import annotations

import torch
from torch import Tensor

from antivenom.core.streams import Streams
from antivenom.fast import ABSENT
from antivenom.fast.dense import plan_of, supports, train_dense
from antivenom.models.network import Buffers, Network
from antivenom.models.training import Loss, Training, cross_entropy, train


def quickest(
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
    """The weights and buffers that `train` gives.

    Dense networks on the CPU with the honest loss are trained by compiled code, all others by `train`. Both draw the same
    numbers from the same streams.
    """
    plan = plan_of(network)
    compiled = plan is not None and supports(network, training) is None and start.device.type == "cpu"
    if plan is None or not compiled or loss is not cross_entropy or kept is not None or x.dtype != start.dtype:
        return train(network, start, x, y, training, streams, loss, buffers, kept=kept)
    rows = torch.arange(len(y))
    vector = train_dense(plan, start, x.flatten(1).contiguous(), y, rows, training, streams)
    return vector, dict(network.buffers if buffers is None else buffers)


def slow_note(network: Network, training: Training, device: torch.device | str) -> str | None:
    """A note for the outcome if `quickest` trains this network by `train` for want of a package, or None."""
    if torch.device(device).type == "cpu" and supports(network, training) == ABSENT:
        return f"the model was trained without compiled code, which is slower: {ABSENT}"
    return None
