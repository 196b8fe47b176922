"""Training of one model in compiled code where that is supported. It must equal `loop` to rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.streams import Streams
from antivenom.fast import ABSENT, available
from antivenom.fast.dense import dense_form, dense_loss_and_gradient, supports, train_dense
from antivenom.models.network import Network
from antivenom.models.training import Loss, Training, cross_entropy
from antivenom.models.wrappers import TorchModel, loop


def train_fastest(
    start: TorchModel, x: Tensor, y: Tensor, training: Training, streams: Streams, loss: Loss = cross_entropy
) -> TorchModel:
    """A `Trainer` whose models equal those of `loop` to rounding.

    Compiled code trains dense networks on the CPU with the honest loss, and `loop` trains all others. Both draw the same
    random numbers from the same streams.
    """
    plan = dense_form(start.network)
    compiled = plan is not None and supports(start.network, training) is None and start.vector.device.type == "cpu"
    honest = loss is cross_entropy and start.kept is None
    if plan is None or not compiled or not honest or x.dtype != start.vector.dtype:
        return loop(start, x, y, training, streams, loss)
    rows = torch.arange(len(y))
    vector = train_dense(plan, start.vector, x.flatten(1).contiguous(), y, rows, training, streams)
    return replace(start, vector=vector, buffers=dict(start.buffers))


def loss_and_gradient(
    network: Network, dropout: torch.Generator, like: Tensor
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The function (vector, x, y) -> mean cross-entropy in training mode and its gradient (d,) by the vector.

    Dense networks without dropout on the CPU have it compiled, equal to autograd's to rounding.

    Args:
        network: the network; its buffers are copied and change from call to call.
        dropout: the generator of dropout masks.
        like: a tensor of the type and on the device of the vectors and rows to come.
    """
    plan = dense_form(network)
    if plan is not None and not plan.drop.any() and like.device.type == "cpu" and available():
        return lambda vector, x, y: dense_loss_and_gradient(plan, vector, x.flatten(1).contiguous(), y)
    forward = network.training_forward(dropout, {name: buffer.clone() for name, buffer in network.buffers.items()})

    def both(vector: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        at = vector.detach().requires_grad_()
        loss = F.cross_entropy(forward(at, x), y)
        return loss.detach(), torch.autograd.grad(loss, at)[0]

    return both


def slow_note(network: Network, training: Training, device: torch.device | str) -> str | None:
    """A note for the outcome if the network could be trained in compiled code but numba or llvmlite is missing, else None."""
    if torch.device(device).type == "cpu" and supports(network, training) == ABSENT:
        return f"the model was trained without compiled code, which is slower: {ABSENT}"
    return None
