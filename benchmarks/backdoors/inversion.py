"""How much faster trigger inversion is with ten classes in one batch than with one class after the other.

    python benchmarks/backdoors/inversion.py [--steps 20] [--repeats 3]

The network is a small convolutional one with batch norm (8.9 thousand weights, 28x28 pixels) with untrained weights: the time
of a step does not depend on them. Both ways take the same number of steps on one thread. Times are of the process, so that
other processes on the machine do not count. The bars are 2 with 32 rows and 3.5 with 8 rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import nn

from antivenom.core.streams import Streams
from antivenom.defences.inversion import Search, invert
from antivenom.defences.spaces import MaskAndPattern
from antivenom.models.network import build
from antivenom.models.wrappers import TorchModel

BARS = {32: 2.0, 8: 3.5}


def small(shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """The network of the trials: three convolutions with batch norm."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 5, 2, 2), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, num_classes)),
    )


def seconds(call: Callable[[], object], repeats: int) -> float:
    """The shortest process time of a call."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def in_turn(
    model: TorchModel, x: torch.Tensor, batches: Iterable[Sequence[int]], space: MaskAndPattern, search: Search
) -> None:
    """Invert the classes of one batch after those of the other."""
    for classes in batches:
        invert(model, x, classes, space, search)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = build(small, (1, 28, 28), 10, Streams(0))
    model = TorchModel(network, network.initial, network.buffers)
    # A success that no search reaches keeps all classes in the batch, so that both ways take every step.
    search = Search(options.steps, success=1.0, patience=options.steps + 1)
    for rows, bar in BARS.items():
        x = torch.rand(rows, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        space = MaskAndPattern(x.min(), x.max(), first=0.5)
        batched = seconds(partial(in_turn, model, x, [range(10)], space, search), options.repeats)
        single = seconds(partial(in_turn, model, x, [[c] for c in range(10)], space, search), options.repeats)
        steps = options.steps + 1
        print(
            f"{rows} rows a class: {1000 * batched / steps:.1f} ms a step for ten classes at once, "
            f"{1000 * single / steps:.1f} ms one after the other: {single / batched:.2f}x (bar {bar:g}x)"
        )


if __name__ == "__main__":
    main()
