"""This checkout against another one: rules and local training, in turn in one run.

    python benchmarks/rules/against.py CHECKOUT [--repeats 15]

CHECKOUT is a git worktree of another commit. Each of the two has a process of its own that holds the data, with two threads,
and each job runs in both in turn. Writes the section "against" of benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
SIZES = ((10, 1_600_000), (50, 1_600_000))
LIMIT = 120.0


def jobs(checkout: Path) -> dict[str, Callable[[], Any]]:
    """Name -> call, made with the code of the checkout that PYTHONPATH names."""
    import torch

    sys.path.insert(0, str(checkout / "benchmarks" / "rules"))
    import speed

    torch.set_num_threads(2)
    rules = {f"{rule}, {n} x {d:,}": call for n, d in SIZES for rule, call in speed.ours(speed.matrix(n, d)).items()}
    return rules | trainings(checkout)


def trainings(checkout: Path) -> dict[str, Callable[[], Any]]:
    """One epoch of SGD of all clients on Fashion-MNIST."""
    import numpy as np

    from antivenom.data import load
    from antivenom.federated.clients import Shards, train_agents
    from antivenom.models.network import build
    from antivenom.models.training import Training

    if (checkout / "src" / "antivenom" / "core").exists():
        from antivenom.core.streams import Streams
        from antivenom.models.architectures import MLP, FashionCNN
    else:  # before November 2026
        from antivenom.models.reference import MLP, FashionCNN  # type: ignore[no-redef]
        from antivenom.rng import Streams  # type: ignore[no-redef]
    data = load("fashion-mnist").train
    order = np.random.default_rng(0).permutation(len(data.y))

    def of(model: Any, rows: int, clients: int, batch: int) -> Callable[[], Any]:
        network = build(model, data.shape, 10, Streams(0))
        shards = Shards.of(data, [order[i * rows : (i + 1) * rows] for i in range(clients)])
        training = Training(epochs=1, batch_size=batch, optimizer="sgd", learning_rate=0.05)
        return lambda: train_agents(network, network.initial.clone(), shards, range(clients), training, Streams(1))

    return {
        "training, MLP, 100 clients x 600, batches of 32": of(MLP((128,)), 600, 100, 32),
        "training, MLP, 100 clients x 600, batches of 600": of(MLP((128,)), 600, 100, 600),
        "training, the paper's CNN, 4 clients x 96, batches of 32": of(FashionCNN(), 96, 4, 32),
    }


def serve(checkout: Path, number: int) -> None:
    """Answer the name of a job with the seconds that it took."""
    from multiprocessing.connection import Connection

    channel = Connection(number)
    calls = jobs(checkout)
    channel.send([*calls])
    while True:
        call = calls[channel.recv()]
        begun = time.perf_counter()
        call()
        channel.send(time.perf_counter() - begun)


def main() -> None:
    from processes import Process, load_average, processor, write_section

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    checkouts = HERE.parents[2], given.checkout.resolve()
    commits = [
        subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
        for folder in checkouts
    ]
    sides = [
        Process([sys.executable, str(HERE), "--serve", str(folder)], PYTHONPATH=str(folder / "src"))
        for folder in checkouts
    ]
    lines = ["| | now: least (median) | before | now / before, medians |", "| --- | --- | --- | --- |"]
    for job in sides[0].ready:
        for side in sides:
            side.ask(job, LIMIT)
        runs = [[side.ask(job, LIMIT) for side in sides] for _ in range(given.repeats)]
        now, before = zip(*runs, strict=True)
        ratio = statistics.median(now) / statistics.median(before)
        cells = [f"{min(of):.4f} ({statistics.median(of):.4f})" for of in (now, before)]
        lines.append(f"| {job} | {cells[0]} | {cells[1]} | {ratio:.2f} |")
        print(lines[-1], flush=True)
    for side in sides:
        side.end()
    now_at, before_at = (done.stdout.strip() for done in commits)
    title = f"`python benchmarks/rules/against.py CHECKOUT --repeats {given.repeats}`; {now_at} against {before_at}; {processor()}"
    note = f"{title}; {os.cpu_count()} cores, load {load_average()}. Seconds, in turn in one run."
    write_section("against", "## Against an earlier commit\n\n" + note + "\n\n" + "\n".join(lines))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
