"""What one call of each rule of the matrix costs, as a JSON file for table.py.

    OMP_NUM_THREADS=2 python benchmarks/matrix/cost.py costs.json

Best of three calls on normal rows in single precision, f a fifth of n. FLTrust is left out: most of its time is the server's
own training.
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

from antivenom.audit.grid import label
from antivenom.audit.plan import read_plan
from antivenom.audit.recommend import assuming
from antivenom.errors import NotApplicable
from antivenom.registry import build, describe

SIZES = [(n, d) for n in (11, 55) for d in (10_000, 1_000_000)]


def main() -> None:
    plan = read_plan(Path(__file__).with_name("uneven.yaml"))
    rules = {cell.defence for cell in plan.cells if cell.defence is not None}
    points = {label(rule): list(measured(describe(rule))) for rule in sorted(rules, key=label)}
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    document = {"threads": torch.get_num_threads(), "load": load, "seconds": points}
    Path(sys.argv[1]).write_text(json.dumps(document, indent=1), encoding="utf-8")


def measured(spec: dict[str, Any]) -> Iterator[list[float]]:
    """[n, d, seconds] for every size; nothing for a rule that needs more than rows."""
    for n, d in SIZES:
        rule = build(assuming(spec, n // 5))
        rows = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
        try:
            rule(rows)
        except NotApplicable:
            return
        yield [n, d, min(timed(rule, rows) for _ in range(3))]
        print(label(rule), n, d, flush=True)


def timed(rule: Any, rows: torch.Tensor) -> float:
    begun = time.perf_counter()
    rule(rows)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
