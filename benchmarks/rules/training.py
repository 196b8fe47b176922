"""One round of local training, Fashion-MNIST: ours against a loop, central training and four peers.

    python benchmarks/rules/training.py [--repeats 5] [--parts mlp,cnn,peers] [--environments FOLDER]

mlp: 100 clients x 600 images, 784-128-10, batches of 32, one epoch of SGD, all clients. cnn: 4 clients x 96 images of the
paper's network. Both in one process, in turns. peers: whole rounds of the first job, the mean of the updates included,
beside byzfl, pfl-research, blazefl and Flower's simulation, each in an environment and a process of its own, in turns
with ours; all start from the same weights with the same shards. FLPoison is not on PyPI and is left out. Every part
writes its section of benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from environments import environments, versions
from pipelines import PIPELINES
from processes import Process, load_average, processor, write_section
from torch import Tensor, nn

from antivenom.core.streams import Streams
from antivenom.data import load
from antivenom.federated import Mean
from antivenom.federated.clients import Shards, train_agents
from antivenom.models.architectures import MLP, FashionCNN
from antivenom.models.network import build
from antivenom.models.training import Training

RATE = 0.05
LIMIT = 300.0
TITLES = {
    "mlp": "Training: MLP, 100 clients x 600 images",
    "cnn": "Training: the paper's CNN, 4 clients x 96 images",
    "peers": "Training beside peers: MLP, 100 clients x 600 images",
}


def loop(module: nn.Module, shards: Shards, clients: int, threads: int, channels_last: bool = False) -> None:
    """The loop that one writes: a copy of the model and an SGD per client, batches by index, updates collected."""
    torch.set_num_threads(threads)
    start = weights_of(module)
    updates = torch.empty(clients, len(start))
    for client in range(clients):
        model = copy.deepcopy(module)
        model = model.to(memory_format=torch.channels_last) if channels_last else model
        epoch(model, *shards.of_agent(client), 32)
        updates[client] = weights_of(model) - start


def weights_of(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


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


def compare(architecture: MLP | FashionCNN, size: int, clients: int, batches: list[int], reps: int) -> str:
    data = load("fashion-mnist").train
    network = build(architecture, data.shape, 10, Streams(0))
    order = np.random.default_rng(0).permutation(len(data.y))
    shards = Shards.of(data, [order[i * size : (i + 1) * size] for i in range(clients)])
    training = Training(epochs=1, batch_size=32, optimizer="sgd", learning_rate=RATE)
    module, start = copy.deepcopy(network.module), network.initial.clone()
    nn.utils.vector_to_parameters(start, module.parameters())

    def ours(bf16: bool = False) -> None:
        torch.set_num_threads(2)
        train_agents(network, start, shards, range(clients), replace(training, bf16=bf16), Streams(1))

    jobs: dict[str, Callable[[], None]] = {
        "ours, two threads": ours,
        "loop, one thread": lambda: loop(module, shards, clients, 1),
        "loop, two threads": lambda: loop(module, shards, clients, 2),
    }
    if isinstance(architecture, FashionCNN):
        jobs["loop, two threads, channels last"] = lambda: loop(module, shards, clients, 2, channels_last=True)
        jobs["ours, two threads, bf16"] = lambda: ours(bf16=True)
    for batch in batches:
        jobs[f"centralised, batches of {batch}"] = lambda batch=batch: central(module, shards, clients, batch)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():  # what is done once only is not timed
        job()
    for _ in range(reps):
        for name, job in jobs.items():
            begin = perf_counter()
            job()
            times[name].append(perf_counter() - begin)
    mine = min(times["ours, two threads"])
    lines = [f"Load {load_average()}.\n", "| | seconds: least (median) | / ours |", "| --- | --- | --- |"]
    lines += [f"| {k} | {spread(v)} | {min(v) / mine:.2f} |" for k, v in times.items()]
    text = "\n".join(lines)
    print(text, flush=True)
    return text


def peers(folder: Path, rounds: int) -> str:
    """A table: whole rounds of every peer's pipeline, in turn with ours."""
    pythons = environments(folder, tuple(dict.fromkeys(peer for peer, _, _ in PIPELINES.values())))
    data = load("fashion-mnist")
    network = build(MLP((128,)), data.train.shape, 10, Streams(0))
    order = np.random.default_rng(0).permutation(len(data.train.y)).reshape(100, 600)
    shards = Shards.of(data.train, list(order))
    training = Training(epochs=1, batch_size=32, optimizer="sgd", learning_rate=RATE)
    test = torch.tensor(data.test.x), torch.tensor(data.test.y)

    def ours(weights: Tensor, number: int) -> Tensor:
        updates = train_agents(network, weights, shards, range(100), training, Streams(1).child("round", number))
        return weights + Mean()(updates)

    def accuracy(weights: Tensor) -> float:
        return float((network.logits(weights, test[0]).argmax(1) == test[1]).float().mean())

    torch.set_num_threads(2)
    lines = ["| | seconds: least (median) | ours, in turn | / ours | accuracy | ours | load |", "|" + " --- |" * 7]
    with tempfile.TemporaryDirectory() as temporary:
        job = Path(temporary) / "job.npz"
        images = (data.train.x[:, 0] * 255).round().astype(np.uint8)
        given = {"images": images, "labels": data.train.y, "shards": order, "start": network.initial.numpy()}
        np.savez(job, **given, batch=32, rate=RATE, rounds=rounds + 1)
        for name, (peer, title, _) in PIPELINES.items():
            command = [pythons[peer], str(Path(__file__).with_name("pipelines.py")), name, str(job)]
            theirs, found, mine, weights = in_turn(Process(command), ours, network.initial, rounds)
            lines.append(
                f"| {title} | {spread(theirs)} | {spread(mine)} | **{min(theirs) / min(mine):.1f}×** "
                f"| {accuracy(found):.3f} | {accuracy(weights):.3f} | {load_average()} |"
            )
            print(lines[-1], flush=True)
    said = (
        f"{versions(pythons)}; two threads. Whole rounds, evaluation left out; accuracy on the test set after the same number "
        "of rounds from the same weights. FLPoison is not on PyPI."
    )
    return f"{said}\n\n" + "\n".join(lines)


def in_turn(
    peer: Process, ours: Callable[[Tensor, int], Tensor], weights: Tensor, rounds: int
) -> tuple[list[float], Tensor, list[float], Tensor]:
    """Seconds of the peer's rounds and its last weights, and ours. The first round, with what is done once, is not counted."""
    theirs, mine = [], []
    for number in range(rounds + 1):
        answer = peer.ask("begin", LIMIT)
        if isinstance(answer, str):
            peer.end()
            raise SystemExit(f"expected the seconds of a round, got {answer}; read what the peer has printed")
        begin = perf_counter()
        weights = ours(weights, number)
        mine.append(perf_counter() - begin)
        theirs.append(answer[0])
    peer.end(patience=30)
    return theirs[1:], torch.from_numpy(answer[1]), mine[1:], weights


def spread(seconds: list[float]) -> str:
    return f"{min(seconds):.3f} ({np.median(seconds):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", default="mlp,cnn,peers")
    parser.add_argument("--environments", type=Path, help="where the peers' environments are, or are made and kept")
    given = parser.parse_args()
    reps = given.repeats
    with tempfile.TemporaryDirectory() as temporary:
        parts: dict[str, Callable[[], str]] = {
            "mlp": lambda: compare(MLP((128,)), 600, 100, [32, 1000, 6000, 60000], reps),
            "cnn": lambda: compare(FashionCNN(), 96, 4, [32, 96], min(reps, 3)),
            "peers": lambda: peers(given.environments or Path(temporary), reps),
        }
        for part in given.parts.split(","):
            command = f"`python benchmarks/rules/training.py --parts {part} --repeats {reps}`"
            where = f"{processor()}, torch {torch.__version__}"
            write_section(f"training, {part}", f"## {TITLES[part]}\n\n{command}; {where}\n\n{parts[part]()}")


if __name__ == "__main__":
    main()
