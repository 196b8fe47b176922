"""What one call of each rule of the matrix costs, as a JSON file for table.py.

    OMP_NUM_THREADS=2 python benchmarks/matrix/cost.py costs.json

Best of three calls on normal rows in single precision, f a fifth of n. FLTrust also trains a network of about d parameters on
100 rows of digits, as the agents of the grids train.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from antivenom.auditing.grid import label
from antivenom.auditing.plan import read_plan
from antivenom.auditing.recommend import assuming
from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import ServerView
from antivenom.core.registry import build, describe
from antivenom.core.streams import Streams
from antivenom.data import load
from antivenom.models.architectures import MLP
from antivenom.models.network import build as network_of
from antivenom.models.training import Training

SIZES = [(n, d) for n in (11, 55) for d in (10_000, 1_000_000)]


def main() -> None:
    plan = read_plan(Path(__file__).with_name("grid.yaml"))
    rules = sorted({cell.defence for cell in plan.cells if cell.defence is not None}, key=label)
    seconds = [
        {"defence": describe(rule), "label": label(rule), "points": list(measured(describe(rule)))} for rule in rules
    ]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    document = {"threads": torch.get_num_threads(), "load": load, "seconds": seconds}
    Path(sys.argv[1]).write_text(json.dumps(document, indent=1), encoding="utf-8")


def measured(spec: dict[str, Any]) -> Iterator[list[float]]:
    """[n, d, seconds] for every size."""
    for n, d in SIZES:
        rule, given = build(assuming(spec, n // 5)), (torch.randn(n, d, generator=torch.Generator().manual_seed(0)),)
        try:
            rule(*given)
        except NotApplicable:
            given = with_server(n, d)
            rule(*given)
        yield [n, d, min(timed(rule, given) for _ in range(3))]
        print(label(rule), n, d, flush=True)


def with_server(n: int, d: int) -> tuple[Any, ...]:
    """Updates, weights and what a server with 100 rows of its own sees; its network has within 75 of d parameters."""
    data = load("digits", Streams(0)).train[:100]
    network = network_of(MLP(hidden=((d - 10) // 75,)), data.shape, 10, Streams(0))
    rows = torch.randn(n, network.dimension, generator=torch.Generator().manual_seed(0))
    weights = torch.full((n,), 1 / n)
    training = Training(epochs=2, batch_size=20, learning_rate=0.005)
    return rows, weights, ServerView(1, network.initial, rows, tuple(range(n)), weights, network, data, training)


def timed(rule: Any, given: tuple[Any, ...]) -> float:
    begun = time.perf_counter()
    rule(*given)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
