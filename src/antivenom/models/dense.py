"""Training of dense networks with their gradients written out and compiled. Must equal `train` to rounding.

A step of a small network takes autograd longer to record and replay than to compute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from antivenom.models.network import Network
from antivenom.models.stacked import layers, unsupported
from antivenom.models.training import Training
from antivenom.rng import Streams


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
    if unsupported(network):
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


def train_dense(plan: Plan, start: Tensor, x: Tensor, y: Tensor, training: Training, streams: Streams) -> Tensor:
    """The weights (d,) after training from `start` (d,) on rows x (m, ...) and labels y (m,), as `train` would."""
    from antivenom.models.descent import epoch

    vector = start.detach().clone()
    w, rows, labels = vector.numpy(), x.flatten(1).contiguous().numpy(), y.numpy()
    g, first, second = (np.zeros_like(w) for _ in range(3))
    generator = streams.torch("dropout")
    batches = list(training.batches(len(labels), streams.numpy("order")))
    steps = max(1, -(-len(labels) // training.batch_size))
    dropped = int(plan.sizes[:-1][plan.drop > 0].sum())
    for done in range(0, len(batches), steps):
        own = batches[done : done + steps]
        cuts = np.cumsum([0, *map(len, own)])
        noise = torch.empty(len(labels) * dropped, dtype=start.dtype).uniform_(generator=generator).numpy()
        epoch(
            *(w, g, first, second, rows, labels, np.concatenate(own), cuts),
            *(plan.sizes, plan.weight_at, plan.bias_at, plan.relu, plan.drop, noise),
            *(training.optimizer == "adam", training.learning_rate, training.momentum, done),
        )
    return vector


@contextmanager
def products_alone() -> Iterator[None]:
    """Each matrix product on one core, whoever calls it: several threads of ours share the cores."""
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@cache
def _libraries() -> Any:
    import scipy.linalg  # noqa: F401 - loads the library that compiled products call
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
