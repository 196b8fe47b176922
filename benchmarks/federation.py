"""Local training of ten agents, together against one after another: seconds per optimiser step, and their ratio.

    python benchmarks/federation.py [--device cuda] [--repeats 5]

Both sides train the same shards from the same weights in one process, in turns; the least time of each counts, the
spread stands beside it. The largest difference of their updates is printed too: a fast wrong answer is no answer.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.federated.batched import together
from antivenom.federated.clients import Client, Shards, one_by_one
from antivenom.models.architectures import MLP, CensusNet, FashionCNN, SmallCNN
from antivenom.models.network import build
from antivenom.models.training import Training

AGENTS, BATCH = 10, 50
SETTINGS = [
    (MLP(), (1, 8, 8), 10, 20),
    (CensusNet(), (104,), 2, 40),
    (SmallCNN(), (1, 28, 28), 10, 5),
    (SmallCNN(dense=256), (1, 28, 28), 10, 5),
    (FashionCNN(), (1, 28, 28), 10, 2),
]


def timed(train: Callable[[], torch.Tensor], device: str) -> tuple[float, torch.Tensor]:
    started = time.perf_counter()
    updates = train()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, updates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}")
    print(f"{AGENTS} agents, batches of {BATCH}; milliseconds per step of all agents, least (median)\n")
    print("| model | parameters | together | one by one | ratio | largest difference |\n|" + " --- |" * 6)
    rng = np.random.default_rng(0)
    for architecture, shape, classes, steps in SETTINGS:
        rows = AGENTS * BATCH * steps
        x = rng.random((rows, *shape), dtype=np.float32)
        data = Dataset(x, np.arange(rows) % classes, tuple(map(str, range(classes))), "random")
        shards = Shards.of(data, np.array_split(np.arange(rows), AGENTS), options.device)
        network = build(architecture, shape, classes, Streams(0)).to(options.device)
        training = Training(epochs=1, batch_size=BATCH)
        clients = [
            Client(network, network.initial, shards.x, shards.y, training, Streams(1).child("agent", agent), rows)
            for agent, rows in enumerate(shards.rows)
        ]
        times: dict[str, list[float]] = {"together": [], "loop": []}
        updates: dict[str, torch.Tensor] = {}
        for _ in range(options.repeats):
            for name, train in (("together", together), ("loop", one_by_one)):
                seconds, updates[name] = timed(partial(train, clients), options.device)
                times[name].append(1000 * seconds / steps)
        stacked, loop = times["together"], times["loop"]
        difference = (updates["together"] - updates["loop"]).abs().max()
        print(
            f"| {architecture} | {network.dimension:,} | {min(stacked):.1f} ({statistics.median(stacked):.1f}) "
            f"| {min(loop):.1f} ({statistics.median(loop):.1f}) | {min(loop) / min(stacked):.2f} | {difference:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
