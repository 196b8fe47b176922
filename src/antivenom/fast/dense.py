"""Compiled training of dense networks with hand-written gradients. It must equal `train` to rounding.

On small networks autograd spends more time on recording and replaying a step than on its arithmetic.
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
class DenseForm:
    """A network of L dense layers as arrays, the form that `descent.epoch` takes.

    Fields:
        sizes: (L + 1,) widths of the layers: features of a row first, number of classes last.
        weight_at: (L,) where each layer's weights begin in the flat parameter vector.
        bias_at: (L,) where its biases begin, or -1 for a layer without biases.
        relu: (L,) whether a ReLU follows the layer.
        drop: (L,) dropout rate of the layer's input during training.
    """

    sizes: np.ndarray
    weight_at: np.ndarray
    bias_at: np.ndarray
    relu: np.ndarray
    drop: np.ndarray


def dense_form(network: Network) -> DenseForm | None:
    """The arrays of a network of dense layers, ReLU and dropout on flattened rows, or None for any other network."""
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
    drop = [0.0]  # the last entry is the dropout rate of the next dense layer's input
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
    return DenseForm(np.array(sizes), np.array(weight_at), np.array(bias_at), np.array(relu), np.array(drop[:-1]))


def supports(network: Network, training: Training) -> str | None:
    """The reason why `train_dense` cannot train this network in this way, as the end of a sentence, or None if it can."""
    if dense_form(network) is None:
        return "only dense layers, ReLU and dropout on flat rows have a compiled form"
    if training.bf16:
        return "products in bfloat16 have no compiled form"
    if training.optimizer == "adamw" or training.nesterov or training.weight_decay:
        return "adamw, nesterov and weight decay have no compiled form"
    if training.schedule != Constant() or training.augmentation:
        return "schedules and augmentation have no compiled form"
    return None if available() else ABSENT


def train_dense(
    plan: DenseForm, start: Tensor, x: Tensor, y: Tensor, rows: Tensor, training: Training, streams: Streams
) -> Tensor:
    """Train a dense network in compiled code; equal to `train` to rounding, with the same random numbers.

    Call it only if `supports(network, training)` is None.

    Args:
        plan: the network as arrays, from `dense_form`.
        start: (d,) initial parameters, on the CPU.
        x: (N, n) flat rows, in the type of `start`.
        y: (N,) labels.
        rows: (k,) numbers of the rows to train on.
        training: epochs, batch size, optimiser.
        streams: the streams "order" and "dropout" below it are used.

    Returns:
        (d,) trained parameters.

    Raises:
        IndexError: a row number outside of x.
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


def dense_loss_and_gradient(plan: DenseForm, vector: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of a dense network without dropout, and its gradient (d,); equal to autograd's to rounding.

    Call it only if `available()` is true and no entry of `plan.drop` is above 0.

    Args:
        plan: the network as arrays, from `dense_form`.
        vector: (d,) parameters, on the CPU.
        x: (N, n) flat rows, in the type of `vector`.
        y: (N,) labels.
    """
    from antivenom.fast.descent import epoch, pack, unpack

    w = pack(vector.detach().numpy(), plan.sizes, plan.weight_at, plan.bias_at)
    summed = np.zeros_like(w)  # the momentum of SGD, which is the gradient after the first step
    loss = epoch(  # of one batch, with a step of length 0
        *(w, summed, summed, x.detach().numpy(), np.arange(len(y)), y.numpy(), len(y)),
        *(plan.sizes, plan.bias_at, plan.relu, plan.drop, np.empty(0, w.dtype)),
        *(False, 0.0, 1.0, 0),
    )
    gradient = torch.empty_like(vector)
    unpack(summed, gradient.numpy(), plan.sizes, plan.weight_at, plan.bias_at)
    return vector.new_tensor(loss), gradient
