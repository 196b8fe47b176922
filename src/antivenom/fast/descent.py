"""A dense network's training, compiled: its weights stay in a core's cache, and no other thread waits.

The arithmetic is that of `train` with the gradients written out. Everything is an argument; arrays are changed in place.
A layer's weights are kept as (inputs + 1, outputs) with its biases last, so an input always has a one behind it. All is
padded as `add_product` asks; what padding holds is never read.
"""

from __future__ import annotations

import numpy as np

from antivenom.fast.compiled import EXACT, compiled
from antivenom.fast.products import COLUMNS, ROWS, add_product

_BLOCK = 8 * ROWS  # rows of weights whose gradient is in cache at a time


@compiled()
def _padded(n: int, to: int) -> int:  # pragma: no cover - compiled
    return (n + to - 1) // to * to


@compiled()
def _layer(packed: np.ndarray, sizes: np.ndarray, layer: int) -> np.ndarray:  # pragma: no cover - compiled
    """A layer's weights and biases (inputs + 1, outputs) in a packed vector."""
    at = 0
    for i in range(layer):
        at += _padded(sizes[i] + 1, ROWS) * _padded(sizes[i + 1], COLUMNS)
    rows, columns = _padded(sizes[layer] + 1, ROWS), _padded(sizes[layer + 1], COLUMNS)
    return packed[at : at + rows * columns].reshape(rows, columns)


@compiled()
def _values(buffer: np.ndarray, sizes: np.ndarray, tall: int, layer: int) -> np.ndarray:  # pragma: no cover - compiled
    """What goes into a layer (tall, inputs + 1), or the logits after the last, in a buffer for all."""
    at = 0
    for i in range(layer):
        at += tall * _padded(sizes[i] + 1, COLUMNS)
    columns = _padded(sizes[layer] + 1, COLUMNS)
    return buffer[at : at + tall * columns].reshape(tall, columns)


@compiled()
def _transpose(a: np.ndarray, into: np.ndarray) -> None:  # pragma: no cover - compiled
    """a (m, n) into the corner (n, m) of another, ROWS at a time: a column of them is one place in cache."""
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
    """The flat weights w (d,) as the steps use them."""
    size = 0
    for layer in range(weight_at.size):
        size += _padded(sizes[layer] + 1, ROWS) * _padded(sizes[layer + 1], COLUMNS)
    packed = np.zeros(size, w.dtype)
    for layer in range(weight_at.size):
        n, out = sizes[layer], sizes[layer + 1]
        own = _layer(packed, sizes, layer)
        _transpose(w[weight_at[layer] : weight_at[layer] + out * n].reshape(out, n), own)
        if bias_at[layer] >= 0:
            own[n, :out] = w[bias_at[layer] : bias_at[layer] + out]
    return packed


@compiled()
def unpack(
    packed: np.ndarray, w: np.ndarray, sizes: np.ndarray, weight_at: np.ndarray, bias_at: np.ndarray
) -> None:  # pragma: no cover - compiled
    """The inverse of `pack`, into w (d,)."""
    for layer in range(weight_at.size):
        n, out = sizes[layer], sizes[layer + 1]
        own = _layer(packed, sizes, layer)
        _transpose(own[:n, :out], w[weight_at[layer] : weight_at[layer] + out * n].reshape(out, n))
        if bias_at[layer] >= 0:
            w[bias_at[layer] : bias_at[layer] + out] = own[n, :out]


@compiled(fastmath=EXACT, error_model="numpy")
def _activate(
    a: np.ndarray, n: int, relu: bool, mask: np.ndarray, noise: np.ndarray, drawn: int, p: float
) -> int:  # pragma: no cover - compiled
    """Values a (m, n) become a layer's input in place: ReLU, dropout by uniform numbers from `drawn` on, a one behind."""
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
def _derive(
    e: np.ndarray, n: int, relu: bool, mask: np.ndarray, a: np.ndarray, p: float
) -> None:  # pragma: no cover - compiled
    """Derivatives e (m, n) by a layer's input become those by what `_activate` made it of."""
    for i in range(a.shape[0]):
        for j in range(n):
            if p > 0:
                e[i, j] *= mask[i, j]
            if relu and not a[i, j] > 0:
                e[i, j] = 0


@compiled(fastmath=EXACT, error_model="numpy")
def _errors(z: np.ndarray, classes: int, labels: np.ndarray) -> None:  # pragma: no cover - compiled
    """Logits z (m, classes) become the derivative of the mean cross-entropy by them."""
    m = z.dtype.type(labels.size)
    for i in range(labels.size):
        row = z[i, :classes]
        top = row[0]
        for j in range(classes):
            if not row[j] <= top:  # a NaN is taken up
                top = row[j]
        total = z.dtype.type(0)
        for j in range(classes):
            row[j] = np.exp(row[j] - top)
            total += row[j]
        for j in range(classes):
            row[j] /= total * m
        row[labels[i]] -= 1 / m


@compiled(fastmath=EXACT, error_model="numpy")
def _descend(
    w: np.ndarray,
    g: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    adam: bool,
    rate: float,
    momentum: float,
    count: int,
) -> None:  # pragma: no cover - compiled
    """One step of Adam (betas .9 and .999, eps 1e-8) or of SGD with momentum, as torch takes it."""
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
def _step(
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
    """The optimiser's step on a layer (rows, columns) from its inputs a (m, rows) and its outputs' errors e (m, columns)."""
    rows, columns = w.shape
    if not (adam or momentum > 0):  # the gradient is never written down
        add_product(w[:, :columns], -rate, a.T, e)
        return
    for top in range(0, rows, _BLOCK):
        end = min(top + _BLOCK, rows)
        own = g[: (end - top) * columns]
        own[:] = 0
        add_product(own.reshape(end - top, columns)[:, :columns], 1, a[:, top:end].T, e)
        block = w[top:end].reshape(-1), own, first[top:end].reshape(-1), second[top:end].reshape(-1)
        _descend(*block, adam, rate, momentum, count)


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
) -> None:  # pragma: no cover - compiled
    """Steps on the rows `order` of x (N, n), which have these labels, `batch` at a time, after `count` others.

    Layer i maps sizes[i] to sizes[i + 1] values, with biases unless bias_at[i] is -1; its input has lost a share drop[i]
    of values, its output passes a ReLU where relu[i].
    """
    layers, widest, tall = relu.size, _padded(sizes.max() + 1, COLUMNS), _padded(min(batch, order.size), ROWS)
    room = tall * (sizes + COLUMNS).sum()
    values, errors, masks = np.zeros(room, packed.dtype), np.zeros(room, packed.dtype), np.empty(room, packed.dtype)
    turned, g = np.zeros(widest * sizes.max(), packed.dtype), np.empty(_BLOCK * widest, packed.dtype)
    drawn = 0
    for begin in range(0, order.size, batch):
        rows = order[begin : begin + batch]
        m = rows.size
        a = _values(values, sizes, tall, 0)
        for i in range(m):
            for j in range(sizes[0]):  # a slice at once takes three times as long
                a[i, j] = x[rows[i], j]
        for layer in range(layers):
            n, w = sizes[layer], _layer(packed, sizes, layer)
            mask, z = _values(masks, sizes, tall, layer), _values(values, sizes, tall, layer + 1)
            drawn = _activate(a[:m], n, layer > 0 and relu[layer - 1], mask, noise, drawn, drop[layer])
            z[:] = 0
            depth = n + (bias_at[layer] >= 0)
            add_product(z[: _padded(m, ROWS), : w.shape[1]], 1, a[:, :depth], w[:depth, : w.shape[1]])
            a = z
        e = a
        _errors(e, sizes[layers], labels[begin : begin + m])
        count += 1
        for layer in range(layers - 1, -1, -1):
            n, w = sizes[layer], _layer(packed, sizes, layer)
            a, before = _values(values, sizes, tall, layer), _values(errors, sizes, tall, layer)
            if layer > 0:
                wide, out = _padded(n, COLUMNS), sizes[layer + 1]
                back = turned[: out * wide].reshape(out, wide)
                _transpose(w[:n, :out], back)
                before[:] = 0
                add_product(before[: _padded(m, ROWS), :wide], 1, e[:, :out], back[:, :wide])
                _derive(before, n, relu[layer - 1], _values(masks, sizes, tall, layer), a[:m], drop[layer])
            state = _layer(first, sizes, layer), _layer(second, sizes, layer)
            _step(w, *state, a[:m, : w.shape[0]], e[:m, : w.shape[1]], g, adam, rate, momentum, count)
            e = before
