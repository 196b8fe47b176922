"""One round of local training, Fashion-MNIST: ours against a sequential PyTorch loop and against centralised training.

    python benchmarks/rules/training.py [--repeats 5] [--cnn]

100 clients x 600 images, MLP 784-128-10, batches of 32, one epoch of SGD, all clients; with --cnn also 4 clients x 100
images of the paper's CNN. Everything in one process, in turns. Writes the section "Training" of benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from speed import write_section
from torch import Tensor, nn

from antivenom.data import load
from antivenom.federated.clients import Shards, train_agents
from antivenom.models.network import build
from antivenom.models.reference import MLP, FashionCNN
from antivenom.models.training import Training
from antivenom.rng import Streams

RATE = 0.05


def loop(module: nn.Module, shards: Shards, clients: int, threads: int) -> None:
    """The loop that one writes: a copy of the model and an SGD per client, batches by index, updates collected."""
    torch.set_num_threads(threads)
    start = nn.utils.parameters_to_vector(module.parameters()).detach()
    updates = torch.empty(clients, len(start))
    for client in range(clients):
        model = copy.deepcopy(module)
        epoch(model, *shards.of_agent(client), 32)
        updates[client] = nn.utils.parameters_to_vector(model.parameters()).detach() - start


def epoch(model: nn.Module, x: Tensor, y: Tensor, batch: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for rows in torch.randperm(len(y)).split(batch):
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()


def central(module: nn.Module, shards: Shards, clients: int, batch: int) -> None:
    """The same images in one pool, already in one tensor."""
    torch.set_num_threads(2)
    rows = torch.cat(shards.rows[:clients])
    if len(rows) == len(shards.y):
        epoch(copy.deepcopy(module), shards.x, shards.y, batch)
    else:
        epoch(copy.deepcopy(module), shards.x[rows], shards.y[rows], batch)


def compare(title: str, architecture: MLP | FashionCNN, size: int, clients: int, batches: list[int], reps: int) -> str:
    data = load("fashion-mnist").train
    network = build(architecture, data.shape, 10, Streams(0))
    order = np.random.default_rng(0).permutation(len(data.y))
    shards = Shards.of(data, [order[i * size : (i + 1) * size] for i in range(clients)])
    training = Training(epochs=1, batch_size=32, optimizer="sgd", learning_rate=RATE)
    module, start = copy.deepcopy(network.module), network.initial.clone()
    nn.utils.vector_to_parameters(start, module.parameters())

    def ours() -> None:
        torch.set_num_threads(2)
        train_agents(network, start, shards, range(clients), training, Streams(1))

    jobs: dict[str, Callable[[], None]] = {
        "ours, two threads": ours,
        "loop, one thread": lambda: loop(module, shards, clients, 1),
        "loop, two threads": lambda: loop(module, shards, clients, 2),
    }
    for batch in batches:
        jobs[f"centralised, batches of {batch}"] = lambda batch=batch: central(module, shards, clients, batch)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in jobs}
    ours()  # what is done once only is not timed
    for _ in range(reps):
        for name, job in jobs.items():
            begin = perf_counter()
            job()
            times[name].append(perf_counter() - begin)
    mine = min(times["ours, two threads"])
    load_now = Path("/proc/loadavg").read_text().split()[0]
    lines = [f"### {title}; load {load_now}\n", "| | seconds: least (median) | / ours |", "| --- | --- | --- |"]
    lines += [f"| {k} | {min(v):.3f} ({np.median(v):.3f}) | {min(v) / mine:.2f} |" for k, v in times.items()]
    text = "\n".join(lines)
    print(text, flush=True)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cnn", action="store_true")
    given = parser.parse_args()
    reps = given.repeats
    parts = [compare("MLP, 100 clients x 600 images", MLP((128,)), 600, 100, [32, 1000, 6000, 60000], reps)]
    if given.cnn:
        parts.append(compare("The paper's CNN, 4 clients x 96 images", FashionCNN(), 96, 4, [32, 96], min(reps, 3)))
    command = f"`python benchmarks/rules/training.py --repeats {reps}{' --cnn' if given.cnn else ''}`"
    write_section("training", f"## Training\n\n{command}, torch {torch.__version__}\n\n" + "\n\n".join(parts))


if __name__ == "__main__":
    main()
