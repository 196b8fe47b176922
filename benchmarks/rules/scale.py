"""10,000 clients on one machine, some of them per round: does memory stay flat, and what does a round cost as n and d grow?

    python benchmarks/rules/scale.py [--clients 10,30,100,300] [--widths 32,128,512,2048] [--rounds 20] [--budget 120]

Fashion-MNIST shared among 10,000 clients (6 images each) as indices; one hidden layer of growing width, d = 795 w + 10; the
median as rule. A federation ends after its rounds, or after the first round (the third at the earliest) past the budget in
seconds. Writes the section "Scale" of benchmarks/RESULTS.md and docs/images/scale.svg.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import matplotlib
import numpy as np
import torch
from processes import load_average, processor, write_section

from antivenom.core.protocols import Targets
from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.federated import Federation, Median
from antivenom.models.architectures import MLP
from antivenom.models.network import build
from antivenom.models.training import Training

matplotlib.use("svg")
import matplotlib.pyplot as plt

IMAGE = Path(__file__).parents[2] / "docs" / "images" / "scale.svg"
CLIENTS = 10_000
HEAD = "clients per round | d | rounds | seconds | after round 2 | after the last | one matrix of updates | load"


def resident() -> float:
    """The process's memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def federation(data: Dataset, n: int, width: int, rounds: int, budget: float) -> tuple[int, list[float], list[float]]:
    """d, and the seconds of each round and the memory after it, in MB."""
    streams = Streams(0)
    network = build(MLP((width,)), data.shape, 10, streams)
    training = Training(epochs=1, batch_size=6, optimizer="sgd", learning_rate=0.05)
    targets = Targets(torch.tensor(data.x[:1]), torch.tensor(data.y[:1]), torch.tensor((data.y[:1] + 1) % 10))
    whole = Federation(CLIENTS, n, 0, rounds, training=training)
    shards = whole.shards(data, streams)
    seconds: list[float] = []
    memory: list[float] = []
    begin = perf_counter()
    for _ in whole.rounds_of(network, shards, targets, streams, rule=Median()):
        seconds.append(perf_counter() - begin)
        memory.append(resident())
        if len(seconds) > 2 and sum(seconds) > budget:
            break
        begin = perf_counter()
    return network.dimension, seconds, memory


def draw(times: dict[tuple[int, int], float]) -> None:
    """Seconds per round against clients per round, a line for each d."""
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for d in sorted({d for _, d in times}):
        chosen = sorted(n for n, of in times if of == d)
        axes.loglog(chosen, [times[n, d] for n in chosen], marker="o", label=f"d = {d:,}")
    axes.set_xlabel(f"clients per round, of {CLIENTS:,}")
    axes.set_ylabel("seconds per round")
    axes.legend(frameon=False)
    IMAGE.parent.mkdir(exist_ok=True)
    figure.savefig(IMAGE, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", default="10,30,100,300")
    parser.add_argument("--widths", default="32,128,512,2048")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--budget", type=float, default=120.0, help="seconds per federation")
    given = parser.parse_args()
    torch.set_num_threads(2)
    data = load("fashion-mnist").train
    federation(data, 10, 32, 1, 0)  # compiles
    lines, times = [], {}
    for n in map(int, given.clients.split(",")):
        for width in map(int, given.widths.split(",")):
            d, seconds, memory = federation(data, n, width, given.rounds, given.budget)
            times[n, d] = min(seconds)
            lines.append(
                f"| {n} | {d:,} | {len(seconds)} | {min(seconds):.3f} ({np.median(seconds):.3f}) "
                f"| {memory[min(1, len(memory) - 1)]:.0f} | {memory[-1]:.0f} | {n * d * 4 / 1e6:.0f} | {load_average()} |"
            )
            print(lines[-1], flush=True)
    draw(times)
    asked = f"--clients {given.clients} --widths {given.widths} --rounds {given.rounds} --budget {given.budget:g}"
    write_section(
        "scale",
        f"## Scale\n\n`python benchmarks/rules/scale.py {asked}`; {processor()}, torch {torch.__version__}, two threads. "
        f"{CLIENTS:,} clients of 6 images, one epoch, the median as rule. Seconds per round: least (median); memory of the "
        f"process in MB.\n\n| {HEAD} |\n|{' --- |' * 8}\n" + "\n".join(lines),
    )


if __name__ == "__main__":
    main()
