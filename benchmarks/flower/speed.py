"""Time and memory of one round of aggregation: Flower's FedMedian beside `Defended`, which checks and takes a median, too.

    python benchmarks/flower/speed.py --parameters 10000000 --replies 50

Each strategy runs in a process of its own. Replies are made one at a time when they are pulled, as they come from a network.
Memory is the peak of the process above what it held before the first reply, so that it includes the replies themselves.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np


def one(strategy: str, d: int, n: int) -> None:
    """Aggregate once and print seconds and bytes."""
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.serverapp.strategy import FedAvg, FedMedian
    from flwr.supercore.task_identity import TaskIdentity

    from antivenom.integrations.flower import Defended
    from antivenom.integrations.flower.grid import WatchedGrid

    TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1

    class Grid:
        def get_node_ids(self) -> list[int]:
            return list(range(1, n + 1))

        def get_nodes(self) -> list[Any]:
            return []

        def push_messages(self, messages: Any) -> list[str]:
            self.open = {str(i): message for i, message in enumerate(messages)}
            return list(self.open)

        def pull_messages(self, ids: list[str]) -> list[Message]:
            return [self.answer(self.open[each], int(each)) for each in ids]

        def answer(self, message: Message, place: int) -> Message:
            message.metadata.__dict__["_message_id"] = str(place)
            numbers = np.random.default_rng(place).standard_normal(d, np.float32)
            content = {"arrays": ArrayRecord([numbers]), "metrics": MetricRecord({"num-examples": 10})}
            return Message(RecordDict(content), reply_to=message)

        def send_and_receive(self, messages: Any, timeout: float | None = None) -> list[Message]:
            return self.pull_messages(self.push_messages(messages))

    def aggregated(size: int) -> tuple[float, float]:
        nonlocal d
        d, plain = size, Grid()
        inner = FedMedian(fraction_evaluate=0.0) if strategy == "FedMedian" else FedAvg(fraction_evaluate=0.0)
        used: Any = inner if strategy == "FedMedian" else Defended(inner)
        grid: Any = plain if strategy == "FedMedian" else WatchedGrid(plain, used)  # type: ignore[arg-type]
        from flwr.app import ConfigRecord

        arrays = ArrayRecord([np.zeros(size, np.float32)])
        messages = list(used.configure_train(1, arrays, ConfigRecord(), plain))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        taken = [0.0]
        own = plain.answer

        def timed(message: Message, place: int) -> Message:
            began = time.perf_counter()
            reply = own(message, place)
            taken[0] += time.perf_counter() - began
            return reply

        plain.answer = timed  # type: ignore[method-assign]
        began = time.perf_counter()
        used.aggregate_train(1, grid.send_and_receive(messages))
        seconds = time.perf_counter() - began - taken[0]
        return seconds, 1024.0 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

    wanted = d
    aggregated(10_000)  # compiles
    seconds, memory = aggregated(wanted)
    print(f"{seconds:.2f} {memory / (4 * n * wanted):.2f}")


def main() -> None:
    """Run both strategies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", type=int, default=10_000_000)
    parser.add_argument("--replies", type=int, default=50)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        one(given.only, given.parameters, given.replies)
        return
    print("| strategy | seconds | memory / (4 n d bytes) |\n| --- | --- | --- |")
    for strategy in ("FedMedian", "Defended"):
        command = [sys.executable, __file__, "--only", strategy]
        command += ["--parameters", str(given.parameters), "--replies", str(given.replies)]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        print(f"| {strategy} | {found[-2]} | {found[-1]} |", flush=True)


if __name__ == "__main__":
    main()
