"""Softmax regression in numpy: weights (64, 10) and biases (10,)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Arrays = list[NDArray[np.float32]]


def initial() -> Arrays:
    """The model before training."""
    return [np.zeros((64, 10), np.float32), np.zeros(10, np.float32)]


def trained(arrays: Arrays, x: NDArray[np.float32], y: NDArray[np.int64], steps: int = 15, rate: float = 1.0) -> Arrays:
    """The model after some steps of gradient descent on all rows."""
    weights, biases = arrays
    wanted = np.eye(10, dtype=np.float32)[y]
    for _ in range(steps):
        scores = x @ weights + biases
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        error = (scores / scores.sum(axis=1, keepdims=True) - wanted) / len(x)
        weights, biases = weights - rate * (x.T @ error), biases - rate * error.sum(axis=0)
    return [weights, biases]


def accuracy(arrays: Arrays, x: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """The share of rows that the model classifies correctly."""
    weights, biases = arrays
    return float(np.mean((x @ weights + biases).argmax(axis=1) == y))
