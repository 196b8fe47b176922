"""Compiled epochs of a dense network. Its weights stay in one core's cache, and the GIL is released.

The arithmetic is that of `train` with hand-written gradients. Functions take all they need as arguments and change arrays
in place. A layer's weights are stored as (inputs + 1, outputs) with the biases as the last row; therefore each layer
input ends with a constant 1. Arrays are padded as `add_product` requires. Values in the padding are never read.
"""

from __future__ import annotations

import numpy as np

from antivenom.fast.compiled import EXACT, compiled
from antivenom.fast.products import COLUMNS, ROWS, add_product

_BLOCK = 8 * ROWS  # rows of weights that are updated at a time, so that their gradient stays in cache


@compiled()
def _padded(n: int, to: int) -> int:  # pragma: no cover - compiled
    return (n + to - 1) // to * to


@compiled()
def _layer_weights(packed: np.ndarray, sizes: np.ndarray, layer: int) -> np.ndarray:  # pragma: no cover - compiled
    """View of one layer's weights and biases (inputs + 1, outputs), padded, in the packed vector."""
    at = 0
    for i in range(layer):
        at += _padded(sizes[i] + 1, ROWS) * _padded(sizes[i + 1], COLUMNS)
    rows, columns = _padded(sizes[layer] + 1, ROWS), _padded(sizes[layer + 1], COLUMNS)
    return packed[at : at + rows * columns].reshape(rows, columns)


@compiled()
def _layer_values(
    buffer: np.ndarray, sizes: np.ndarray, tall: int, layer: int
) -> np.ndarray:  # pragma: no cover - compiled
    """View of one layer's input (tall, inputs + 1), padded, in a buffer for all layers; the logits for layer L."""
    at = 0
    for i in range(layer):
        at += tall * _padded(sizes[i] + 1, COLUMNS)
    columns = _padded(sizes[layer] + 1, COLUMNS)
    return buffer[at : at + tall * columns].reshape(tall, columns)


@compiled()
def _transpose(a: np.ndarray, into: np.ndarray) -> None:  # pragma: no cover - compiled
    """Write the transpose of a (m, n) into the corner (n, m) of `into`.

    ROWS rows are taken at a time, so that writes of neighbouring numbers share a cache line.
    """
    m, n = a.shape
    for i in range(0, m - m % ROWS, ROWS):
        for j in range(n):
            for k in range(ROWS):
                into[j, i + k] = a[i + k, j]
    for i in range(m - m % ROWS, m):
        for j in range(n):
            into[j, i] = a[i, j]


@compiled()
def pack(
    w: np.ndarray, sizes: np.ndarray, weight_at: np.ndarray, bias_at: np.ndarray
) -> np.ndarray:  # pragma: no cover - compiled
    """Copy flat parameters w (d,) into the packed layout: one padded matrix per layer, biases as its last row."""
    size = 0
    for layer in range(weight_at.size):
        size += _padded(sizes[layer] + 1, ROWS) * _padded(sizes[layer + 1], COLUMNS)
    packed = np.zeros(size, w.dtype)
    for layer in range(weight_at.size):
        n, out = sizes[layer], sizes[layer + 1]
        own = _layer_weights(packed, sizes, layer)
        _transpose(w[weight_at[layer] : weight_at[layer] + out * n].reshape(out, n), own)
        if bias_at[layer] >= 0:
            own[n, :out] = w[bias_at[layer] : bias_at[layer] + out]
    return packed


@compiled()
def unpack(
    packed: np.ndarray, w: np.ndarray, sizes: np.ndarray, weight_at: np.ndarray, bias_at: np.ndarray
) -> None:  # pragma: no cover - compiled
    """The inverse of `pack`: write the packed parameters into w (d,)."""
    for layer in range(weight_at.size):
        n, out = sizes[layer], sizes[layer + 1]
        own = _layer_weights(packed, sizes, layer)
        _transpose(own[:n, :out], w[weight_at[layer] : weight_at[layer] + out * n].reshape(out, n))
        if bias_at[layer] >= 0:
            w[bias_at[layer] : bias_at[layer] + out] = own[n, :out]


@compiled(fastmath=EXACT, error_model="numpy")
def _activate(
    a: np.ndarray, n: int, relu: bool, mask: np.ndarray, noise: np.ndarray, drawn: int, p: float
) -> int:  # pragma: no cover - compiled
    """Turn a layer's outputs a (m, n) into the next layer's inputs in place: ReLU, dropout, and a constant 1 at the end.

    Dropout compares noise[drawn:], uniform in [0, 1), with p and stores its factors in `mask`.

    Returns:
        The position in `noise` after the numbers that were used.
    """
    zero, kept = a.dtype.type(0), a.dtype.type(1 / max(1 - p, 1e-30))
    for i in range(a.shape[0]):
        row = a[i]
        if relu:
            for j in range(n):
                row[j] = zero if row[j] < 0 else row[j]
        if p > 0:
            for j in range(n):
                mask[i, j] = kept if noise[drawn + j] >= p else zero
                row[j] *= mask[i, j]
            drawn += n
        row[n] = 1
    return drawn


@compiled(fastmath=EXACT, error_model="numpy")
def _activation_gradient(
    e: np.ndarray, n: int, relu: bool, mask: np.ndarray, a: np.ndarray, p: float
) -> None:  # pragma: no cover - compiled
    """Backward pass of `_activate`: multiply the gradients e (m, n) by the dropout mask and the derivative of ReLU."""
    for i in range(a.shape[0]):
        for j in range(n):
            if p > 0:
                e[i, j] *= mask[i, j]
            if relu and not a[i, j] > 0:
                e[i, j] = 0


@compiled(fastmath=EXACT, error_model="numpy")
def _loss_gradient(z: np.ndarray, classes: int, labels: np.ndarray) -> float:  # pragma: no cover - compiled
    """Replace logits z (m, classes) by the gradient of the mean cross-entropy: (softmax(z) - one_hot(labels)) / m.

    Returns:
        The mean cross-entropy.
    """
    m, loss = z.dtype.type(labels.size), 0.0
    for i in range(labels.size):
        row = z[i, :classes]
        top = row[0]
        for j in range(classes):
            if not row[j] <= top:  # written so that a NaN becomes the maximum and propagates
                top = row[j]
        total, own = z.dtype.type(0), row[labels[i]] - top
        for j in range(classes):
            row[j] = np.exp(row[j] - top)
            total += row[j]
        for j in range(classes):
            row[j] /= total * m
        row[labels[i]] -= 1 / m
        loss += np.log(total) - own
    return loss / labels.size


@compiled(fastmath=EXACT, error_model="numpy")
def _update(
    w: np.ndarray,
    g: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    adam: bool,
    rate: float,
    momentum: float,
    count: int,
) -> None:  # pragma: no cover - compiled
    """One step of Adam (betas .9 and .999, eps 1e-8) or of SGD with momentum, in the order of torch's operations.

    `count` is the number of this step, from 1. `first` and `second` are Adam's moments; SGD keeps its momentum in `first`.
    """
    kind = w.dtype.type
    if adam:
        step, root = kind(rate / (1 - 0.9**count)), kind(np.sqrt(1 - 0.999**count))
        keep, rest, eps = kind(1 - 0.9), kind(1 - 0.999), kind(1e-8)
        for k in range(w.size):
            first[k] += (g[k] - first[k]) * keep
            second[k] = second[k] * kind(0.999) + g[k] * g[k] * rest
            w[k] -= step * first[k] / (np.sqrt(second[k]) / root + eps)
    else:
        for k in range(w.size):
            first[k] = first[k] * kind(momentum) + g[k]
            w[k] -= kind(rate) * first[k]


@compiled(fastmath=EXACT, error_model="numpy")
def _update_layer(
    w: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    a: np.ndarray,
    e: np.ndarray,
    g: np.ndarray,
    adam: bool,
    rate: float,
    momentum: float,
    count: int,
) -> None:  # pragma: no cover - compiled
    """One step of the optimiser on the weights w (rows, columns) of a layer, whose gradient is a.T @ e.

    a (m, rows) are the layer's inputs, and e (m, columns) the gradients of the loss by its outputs.
    """
    rows, columns = w.shape
    if not (adam or momentum > 0):  # plain SGD: the gradient need not be stored
        add_product(w[:, :columns], -rate, a.T, e)
        return
    for top in range(0, rows, _BLOCK):
        end = min(top + _BLOCK, rows)
        own = g[: (end - top) * columns]
        own[:] = 0
        add_product(own.reshape(end - top, columns)[:, :columns], 1, a[:, top:end].T, e)
        block = w[top:end].reshape(-1), own, first[top:end].reshape(-1), second[top:end].reshape(-1)
        _update(*block, adam, rate, momentum, count)


@compiled(fastmath=EXACT, error_model="numpy")
def epoch(
    packed: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    x: np.ndarray,
    order: np.ndarray,
    labels: np.ndarray,
    batch: int,
    sizes: np.ndarray,
    bias_at: np.ndarray,
    relu: np.ndarray,
    drop: np.ndarray,
    noise: np.ndarray,
    adam: bool,
    rate: float,
    momentum: float,
    count: int,
) -> float:  # pragma: no cover - compiled
    """Train for one epoch, in place. `sizes`, `bias_at`, `relu` and `drop` are the fields of `DenseForm`.

    Args:
        packed: parameters from `pack`.
        first: the optimiser's first moments, or the momentum of SGD; packed.
        second: the optimiser's second moments; packed.
        x: (N, n) rows.
        order: (k,) row numbers in the order of their use.
        labels: (k,) labels in that order.
        batch: rows per step.
        noise: uniform numbers in [0, 1) for all dropout masks of the epoch.
        adam: Adam; otherwise SGD.
        rate: step size.
        momentum: momentum of SGD.
        count: steps taken before this epoch, for Adam's bias correction.

    Returns:
        The mean cross-entropy of the last batch before its step.
    """
    layers, widest, tall = relu.size, _padded(sizes.max() + 1, COLUMNS), _padded(min(batch, order.size), ROWS)
    room = tall * (sizes + COLUMNS).sum()
    values, errors, masks = np.zeros(room, packed.dtype), np.zeros(room, packed.dtype), np.empty(room, packed.dtype)
    turned, g = np.zeros(widest * sizes.max(), packed.dtype), np.empty(_BLOCK * widest, packed.dtype)
    drawn, loss = 0, 0.0
    for begin in range(0, order.size, batch):
        rows = order[begin : begin + batch]
        m = rows.size
        a = _layer_values(values, sizes, tall, 0)
        for i in range(m):
            for j in range(sizes[0]):  # numba's slice assignment takes three times as long
                a[i, j] = x[rows[i], j]
        for layer in range(layers):
            n, w = sizes[layer], _layer_weights(packed, sizes, layer)
            mask, z = _layer_values(masks, sizes, tall, layer), _layer_values(values, sizes, tall, layer + 1)
            drawn = _activate(a[:m], n, layer > 0 and relu[layer - 1], mask, noise, drawn, drop[layer])
            z[:] = 0
            depth = n + (bias_at[layer] >= 0)
            add_product(z[: _padded(m, ROWS), : w.shape[1]], 1, a[:, :depth], w[:depth, : w.shape[1]])
            a = z
        e = a
        loss = _loss_gradient(e, sizes[layers], labels[begin : begin + m])
        count += 1
        for layer in range(layers - 1, -1, -1):
            n, w = sizes[layer], _layer_weights(packed, sizes, layer)
            a, before = _layer_values(values, sizes, tall, layer), _layer_values(errors, sizes, tall, layer)
            if layer > 0:
                wide, out = _padded(n, COLUMNS), sizes[layer + 1]
                back = turned[: out * wide].reshape(out, wide)
                _transpose(w[:n, :out], back)
                before[:] = 0
                add_product(before[: _padded(m, ROWS), :wide], 1, e[:, :out], back[:, :wide])
                _activation_gradient(
                    before, n, relu[layer - 1], _layer_values(masks, sizes, tall, layer), a[:m], drop[layer]
                )
            state = _layer_weights(first, sizes, layer), _layer_weights(second, sizes, layer)
            _update_layer(w, *state, a[:m, : w.shape[0]], e[:m, : w.shape[1]], g, adam, rate, momentum, count)
            e = before
    return loss
