"""10,000 clients on one machine, 100 of them per round: does memory stay flat, and what does a round cost as n and d grow?

    python benchmarks/rules/scale.py

Fashion-MNIST shared among 10,000 clients (6 images each) as indices; one hidden layer of growing width; the median as
rule. Writes the section "Scale" of benchmarks/RESULTS.md and docs/images/scale.svg.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import matplotlib
import numpy as np
import torch
from processes import write_section

from antivenom.data import load
from antivenom.federated import Federation, Median
from antivenom.models.network import build
from antivenom.models.reference import MLP
from antivenom.models.training import Training
from antivenom.protocols import Targets
from antivenom.rng import Streams

matplotlib.use("svg")
import matplotlib.pyplot as plt

IMAGE = Path(__file__).parents[2] / "docs" / "images" / "scale.svg"
ROUNDS, CLIENTS = 8, 10_000


def resident() -> float:
    """The process's memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def main() -> None:
    torch.set_num_threads(2)
    data, streams = load("fashion-mnist").train, Streams(0)
    training = Training(epochs=1, batch_size=6, optimizer="sgd", learning_rate=0.05)
    targets = Targets(torch.tensor(data.x[:1]), torch.tensor(data.y[:1]), torch.tensor((data.y[:1] + 1) % 10))
    lines, times = [], {}
    for n in (10, 30, 100):
        for width in (32, 128, 512):
            network = build(MLP((width,)), data.shape, 10, streams)
            federation = Federation(CLIENTS, n, 0, ROUNDS, training=training)
            shards = federation.shards(data, streams)
            seconds, memory, begin = [], [], perf_counter()
            for _ in federation.rounds_of(network, shards, targets, streams, rule=Median()):
                seconds.append(perf_counter() - begin)
                memory.append(resident())
                begin = perf_counter()
            d = network.dimension
            times[n, d] = min(seconds)
            load_now = Path("/proc/loadavg").read_text().split()[0]
            lines.append(
                f"| {n} | {d:,} | {min(seconds):.3f} ({np.median(seconds):.3f}) | {memory[1]:.0f} | {memory[-1]:.0f} "
                f"| {n * d * 4 / 1e6:.0f} | {load_now} |"
            )
            print(lines[-1], flush=True)
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for d in sorted({d for _, d in times}):
        chosen = sorted(n for n, of in times if of == d)
        axes.loglog(chosen, [times[n, d] for n in chosen], marker="o", label=f"d = {d:,}")
    axes.set_xlabel("clients per round, of 10,000")
    axes.set_ylabel("seconds per round")
    axes.legend(frameon=False)
    IMAGE.parent.mkdir(exist_ok=True)
    figure.savefig(IMAGE, metadata={"Date": None})
    write_section(
        "scale",
        f"## Scale\n\n`python benchmarks/rules/scale.py`, torch {torch.__version__}, two threads. {CLIENTS:,} clients of "
        "6 images, one epoch, the median as rule. Seconds per round: least (median) of 8; memory of the process in MB.\n\n"
        "| clients per round | d | seconds | after round 2 | after round 8 | one matrix of updates | load |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n" + "\n".join(lines),
    )


if __name__ == "__main__":
    main()
