"""Training of dense networks with their gradients written out and compiled. Must equal `train` to rounding.

A step of a small network takes autograd longer to record and replay than to compute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from antivenom.core.streams import Streams
from antivenom.fast import ABSENT, available
from antivenom.models.network import Network
from antivenom.models.schedules import Constant
from antivenom.models.stacked import layers, unsupported
from antivenom.models.training import Training


@dataclass(frozen=True, eq=False)
class Plan:
    """A dense network as numbers: what `descent.epoch` asks for.

    Fields:
        sizes: (L + 1,) widths, from the row's to the number of classes.
        weight_at, bias_at: (L,) where each layer's weights and biases begin in the flat vector; -1 without biases.
        relu: (L,) whether a layer's output passes a ReLU.
        drop: (L,) the share of its input that is dropped while training.
    """

    sizes: np.ndarray
    weight_at: np.ndarray
    bias_at: np.ndarray
    relu: np.ndarray
    drop: np.ndarray


def plan_of(network: Network) -> Plan | None:
    """The plan of a network of dense layers, ReLUs and dropout on flattened rows; None for any other."""
    if unsupported(network) or network.frozen:
        return None
    places, at = {}, 0
    for name, shape in network.shapes.items():
        places[name] = at
        at += shape.numel()
    sizes: list[int] = []
    weight_at: list[int] = []
    bias_at: list[int] = []
    relu: list[bool] = []
    drop = [0.0]  # of the next layer's input
    flat = len(network.row_shape) == 1
    for prefix, layer in layers(network.module):
        match layer:
            case nn.Linear() if flat:
                sizes += [layer.in_features] if not sizes else []
                sizes.append(layer.out_features)
                weight_at.append(places[f"{prefix}weight"])
                bias_at.append(places.get(f"{prefix}bias", -1))
                relu.append(False)
                drop.append(0.0)
            case nn.ReLU() if relu and not drop[-1]:
                relu[-1] = True
            case nn.Dropout() if not layer.p or (flat and not drop[-1]):
                drop[-1] = layer.p
            case nn.Flatten() if not sizes and not drop[-1]:
                flat = True
            case nn.Identity():
                pass
            case _:
                return None
    if not relu or relu[-1] or drop[-1]:
        return None
    return Plan(np.array(sizes), np.array(weight_at), np.array(bias_at), np.array(relu), np.array(drop[:-1]))


def supports(network: Network, training: Training) -> str | None:
    """Why `train_dense` cannot train this network so, as the end of a sentence; None if it can."""
    if plan_of(network) is None:
        return "only dense layers, ReLU and dropout on flat rows have a compiled form"
    if training.bf16:
        return "products in bfloat16 have no compiled form"
    if training.optimizer == "adamw" or training.nesterov or training.weight_decay:
        return "adamw, nesterov and weight decay have no compiled form"
    if training.schedule != Constant() or training.augmentation:
        return "schedules and augmentation have no compiled form"
    return None if available() else ABSENT


def train_dense(
    plan: Plan, start: Tensor, x: Tensor, y: Tensor, rows: Tensor, training: Training, streams: Streams
) -> Tensor:
    """The weights (d,) after training from `start` (d,) on the given rows of x (N, n) and y (N,), as `train` would.

    For networks and trainings that `supports` has nothing against.

    Raises:
        IndexError: a row that x does not have.
    """
    from antivenom.fast.descent import epoch, pack, unpack

    w = pack(start.detach().numpy(), plan.sizes, plan.weight_at, plan.bias_at)
    first, second = np.zeros(w.shape, w.dtype), np.zeros(w.shape, w.dtype)
    inputs, own, labels = x.numpy(), rows.numpy(), y.numpy()[rows.numpy()]
    generator = streams.torch("dropout")
    dropped, done = len(own) * int(plan.sizes[:-1][plan.drop > 0].sum()), 0
    for order in training.orders(len(own), streams.numpy("order")):
        noise = torch.empty(dropped, dtype=start.dtype).uniform_(generator=generator).numpy()
        epoch(
            *(w, first, second, inputs, own[order], labels[order], training.batch_size),
            *(plan.sizes, plan.bias_at, plan.relu, plan.drop, noise),
            *(training.optimizer == "adam", training.learning_rate, training.momentum, done),
        )
        done += -(-len(own) // training.batch_size)
    vector = torch.empty_like(start)
    unpack(w, vector.numpy(), plan.sizes, plan.weight_at, plan.bias_at)
    return vector
