"""Clean reference models: trained on the user's rows, a few at a time, or read from files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from antivenom.core.protocols import Model
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchLearner, TorchModel, learner, loop

Item = TypeVar("Item")
Result = TypeVar("Result")

ALIKE = 0.05  # largest difference of accuracies at which a model and its references count as alike


class Clock:
    """The time that an inspection may take.

    Args:
        seconds: the limit.
    """

    def __init__(self, seconds: float) -> None:
        self.started, self.seconds = time.monotonic(), seconds

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        return max(0.0, self.seconds - self.elapsed)


@contextmanager
def _one_thread_each(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool whose threads compute on one core each: several models at once are faster than one on all cores."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def at_once(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The function of each item, on as many threads as there are cores. No two items may share a network's module."""
    workers = min(len(items), os.cpu_count() or 1)
    if workers <= 1:
        return [function(item) for item in items]
    with _one_thread_each(workers) as pool:
        return list(pool.map(function, items))


def trainers(
    arch: object, training: Training, rows: Dataset, streams: Streams, names: Iterable[int]
) -> list[Callable[[], Model]]:
    """For each name, a function that trains a reference. The networks are made at once, because this draws from a global stream."""
    made = learner(arch, training)
    if not isinstance(made, TorchLearner):
        return [partial(made.fit, rows, streams.child("reference", i)) for i in names]
    x, y = None, torch.tensor(rows.y)
    found: list[Callable[[], Model]] = []
    for i in names:
        own = streams.child("reference", i)
        network = made.network(rows, own)
        x = network.rows(rows.inputs) if x is None else x
        start = TorchModel(network, network.initial, network.buffers)
        found.append(partial(loop, start, x, y, training, own.child("fit")))
    return found


def accuracy(model: Model, rows: Dataset) -> float:
    """Share of the rows that the model gets right; nan without rows."""
    if not len(rows):
        return float("nan")
    found = model.predict_proba(rows.inputs).argmax(axis=1)
    return float((found == rows.y).mean())


def unlike(own: float, others: Sequence[float], rows: int) -> str:
    """Why references of these accuracies say nothing about a model with the accuracy `own`; empty if they are alike.

    The difference of the means may be at most `ALIKE`, or three standard errors on so few held-out rows.
    """
    if not others or not rows:
        return ""
    mean = float(np.mean(others))
    allowed = max(ALIKE, 3 * float(np.sqrt(max(own * (1 - own), 0.01) / rows)))
    if abs(own - mean) <= allowed:
        return ""
    return (
        f"the model is right on {own:.1%} of the held-out rows and the references on {mean:.1%}, so that they were not "
        "trained alike and their ranks say nothing"
    )
