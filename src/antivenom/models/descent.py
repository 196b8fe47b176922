"""One epoch of a dense network's training, compiled: its weights stay in a core's cache, and no other thread waits.

The arithmetic is that of `train` with the gradients written out. Everything is an argument; arrays are changed in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from antivenom.compiled import EXACT, compiled


@compiled(fastmath=EXACT)
def _masked(a: Any, mask: Any, noise: Any, at: int, p: float) -> int:  # pragma: no cover - compiled
    """Dropout of a (m, n) in place by uniform numbers from `at` on; returns where the next ones begin."""
    scale = a.dtype.type(1 / max(1 - p, 1e-30))
    zero = a.dtype.type(0)
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            mask[i, j] = scale if noise[at] >= p else zero
            a[i, j] *= mask[i, j]
            at += 1
    return at


@compiled(fastmath=EXACT)
def _errors(z: Any, labels: Any) -> None:  # pragma: no cover - compiled
    """Logits (m, c) become the derivative of the mean cross-entropy by them."""
    m = z.dtype.type(z.shape[0])
    for i in range(z.shape[0]):
        row = z[i]
        top = row[0]
        for j in range(row.size):
            if not row[j] <= top:  # a NaN is taken up
                top = row[j]
        total = z.dtype.type(0)
        for j in range(row.size):
            row[j] = np.exp(row[j] - top)
            total += row[j]
        for j in range(row.size):
            row[j] /= total * m
        row[labels[i]] -= 1 / m


@compiled(fastmath=EXACT)
def _descend(
    w: Any, g: Any, first: Any, second: Any, adam: bool, rate: float, momentum: float, count: int
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
    elif momentum > 0:
        for k in range(w.size):
            first[k] = first[k] * kind(momentum) + g[k]
            w[k] -= kind(rate) * first[k]
    else:
        for k in range(w.size):
            w[k] -= kind(rate) * g[k]


@compiled(fastmath=EXACT)
def epoch(
    w: Any,
    g: Any,
    first: Any,
    second: Any,
    x: Any,
    y: Any,
    order: Any,
    cuts: Any,
    sizes: Any,
    weight_at: Any,
    bias_at: Any,
    relu: Any,
    drop: Any,
    noise: Any,
    adam: bool,
    rate: float,
    momentum: float,
    count: int,
) -> None:  # pragma: no cover - compiled
    """Steps on the batches order[cuts[s]:cuts[s + 1]] of x (m, n) and y (m,).

    Layer i maps sizes[i] to sizes[i + 1] values, with weights from weight_at[i] and biases from bias_at[i] (-1: none) on;
    its input has lost a share drop[i] of values, its output passes a ReLU where relu[i].
    """
    layers, longest = weight_at.size, (cuts[1:] - cuts[:-1]).max()
    starts = np.zeros(layers + 2, np.int64)  # of each layer's input in the buffer; last, of the logits
    for i in range(layers + 1):
        starts[i + 1] = starts[i] + longest * sizes[i]
    inputs = np.empty(starts[layers + 1], w.dtype)
    masks = np.empty(starts[layers + 1], w.dtype)
    errors = np.empty((2, longest * sizes.max()), w.dtype)
    labels = np.empty(longest, np.int64)
    drawn = 0
    for s in range(cuts.size - 1):
        m = cuts[s + 1] - cuts[s]
        a = inputs[: m * sizes[0]].reshape(m, sizes[0])
        for i in range(m):
            a[i] = x[order[cuts[s] + i]]
            labels[i] = y[order[cuts[s] + i]]
        if drop[0] > 0:
            drawn = _masked(a, masks[: m * sizes[0]].reshape(m, sizes[0]), noise, drawn, drop[0])
        for layer in range(layers):
            n, out = sizes[layer], sizes[layer + 1]
            at = starts[layer + 1]
            z = inputs[at : at + m * out].reshape(m, out)
            np.dot(a, w[weight_at[layer] : weight_at[layer] + out * n].reshape(out, n).T, z)
            if bias_at[layer] >= 0:
                bias = w[bias_at[layer] : bias_at[layer] + out]
                for i in range(m):
                    for j in range(out):
                        z[i, j] += bias[j]
            if relu[layer]:
                for i in range(m):
                    for j in range(out):
                        z[i, j] = w.dtype.type(0) if z[i, j] < 0 else z[i, j]
            if layer + 1 < layers and drop[layer + 1] > 0:
                drawn = _masked(z, masks[at : at + m * out].reshape(m, out), noise, drawn, drop[layer + 1])
            a = z
        _errors(a, labels)
        e = a
        for layer in range(layers - 1, -1, -1):
            n, out = sizes[layer], sizes[layer + 1]
            at = starts[layer]
            own = inputs[at : at + m * n].reshape(m, n)
            np.dot(e.T, own, g[weight_at[layer] : weight_at[layer] + out * n].reshape(out, n))
            if bias_at[layer] >= 0:
                slope = g[bias_at[layer] : bias_at[layer] + out]
                slope[:] = 0
                for i in range(m):
                    for j in range(out):
                        slope[j] += e[i, j]
            if layer > 0:
                before = errors[layer % 2, : m * n].reshape(m, n)
                np.dot(e, w[weight_at[layer] : weight_at[layer] + out * n].reshape(out, n), before)
                mask = masks[at : at + m * n].reshape(m, n)
                for i in range(m):
                    for j in range(n):
                        if drop[layer] > 0:
                            before[i, j] *= mask[i, j]
                        if relu[layer - 1] and not own[i, j] > 0:
                            before[i, j] = 0
                e = before
        count += 1
        _descend(w, g, first, second, adam, rate, momentum, count)
