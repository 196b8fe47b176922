"""Grids of small federations: trials per minute one at a time beside trials in step, whose clients are trained together.

    python benchmarks/rules/grids.py [--device cuda] [--trials 1,8,32] [--repeats 3]

Both ways run the same trials in one process, in turn; the least time counts, the median stands beside it. On a CPU it is
processor time on one thread, which is what an audit gives each of its processes and does not depend on who else computes;
on a GPU it is time on the clock. Records are compared: a fast wrong answer is no answer. Writes the section "Grids on cpu"
or "Grids on cuda" of benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from processes import write_section

from antivenom.auditing.executors import concurrent, runner, serial
from antivenom.auditing.plan import plan_of

GRIDS = {
    "digits, 10 agents of 126 rows, MLP 64-32-10, 10 rounds": """
    data: digits
    model: {name: MLP, hidden: [32]}
    federation: {num_agents: 10, num_malicious: 2, rounds: 10, training: {epochs: 2, batch_size: 20}}
""",
    "Fashion-MNIST, 10 agents of 600 rows, MLP 784-128-10, 3 rounds": """
    data: fashion-mnist
    train_rows: 6000
    test_rows: 2000
    model: {name: MLP, hidden: [128]}
    federation: {num_agents: 10, num_malicious: 2, rounds: 3, training: {epochs: 5, batch_size: 50}}
""",
}
SEEDS, CELLS = 2, 16  # (no attack and three) x (no defence and three)
GRID = """
version: 1
seeds: {seeds}
scenarios:
  - kind: federated
    goal: availability
{setting}
    attacks: [SignFlip, LabelFlip, ALIE]
    defences: [Median, {{name: MultiKrum, f: 2}}, GeometricMedian]
"""


def trials(setting: str, count: int) -> list[Any]:
    plan = plan_of(GRID.format(seeds=-(-count // CELLS), setting=setting.strip("\n")), "grid")
    return [trial.spec for trial in plan.trials()][:count]


def difference(one: list[Any], other: list[Any]) -> float:
    """The largest between the curves of two runs of the same trials."""
    known = {record["key"]: record for record in one}
    apart = [0.0]
    for record in other:
        assert record["status"] == known[record["key"]]["status"] == "ok", record["error"]
        for name, curve in record["curves"].items():
            values = np.array([curve, known[record["key"]]["curves"][name]], dtype=float)
            apart.append(float(np.nan_to_num(np.abs(values[0] - values[1])).max()))
    return max(apart)


def rows_of(name: str, counts: list[int], repeats: int, device: str) -> Iterator[str]:
    run, clock = runner(device, None), process_time if device == "cpu" else perf_counter
    list(serial(run, trials(GRIDS[name], 2)))  # what is done once only is not timed
    for count in counts:
        specs = trials(GRIDS[name], count)
        ways = {"one at a time": serial, "in step": concurrent(count)}
        times: dict[str, list[float]] = {way: [] for way in ways}
        records = {}
        for _ in range(repeats):
            for way, execute in ways.items():
                begun = clock()
                records[way] = list(execute(run, specs))
                times[way].append(clock() - begun)
        cells = [f"{60 * count / min(t):.0f} ({60 * count / median(t):.0f})" for t in times.values()]
        ratio = min(times["one at a time"]) / min(times["in step"])
        apart = difference(*records.values())
        load = Path("/proc/loadavg").read_text().split()[0]
        yield f"| {name} | {count} | {' | '.join(cells)} | **{ratio:.1f}×** | {apart:.0e} | {load} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--trials", default="1,8,32")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    on_gpu = given.device == "cuda"
    machine = torch.cuda.get_device_name() if on_gpu else f"{platform.machine()}, one thread"
    clock = "time on the clock" if on_gpu else "processor time"
    counts = [int(count) for count in given.trials.split(",")]
    command = (
        f"python benchmarks/rules/grids.py --device {given.device} --trials {given.trials} --repeats {given.repeats}"
    )
    text = (
        f"## Grids on {given.device}\n\n`{command}`\n\n{machine}, {platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, one process. Trials per minute of {clock}: best (median) of {given.repeats}, both ways in turn. "
        "Seeds from 0; no attack, SignFlip, LabelFlip and ALIE by no defence, Median, MultiKrum and GeometricMedian. "
        "Difference: the largest between the two ways in any curve of any trial, in the curve's own unit.\n\n"
        "| grid | trials | one at a time | in step | ratio | difference | load |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    for name in GRIDS:
        for row in rows_of(name, counts, given.repeats, given.device):
            print(row, flush=True)
            text += f"\n{row}"
            write_section(f"grids {given.device}", text)  # what is measured stays if the rest takes too long


if __name__ == "__main__":
    main()
