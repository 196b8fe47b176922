"""Aggregation rules side by side with byzfl, byzpy, krum and flwr: the same float32 matrices, two threads, one run.

    python benchmarks/rules/speed.py [--environments FOLDER] [--sizes 10x1600000,50x1600000]

Makes an environment per peer, with the package from PyPI and the torch of this interpreter, in FOLDER (kept) or a
temporary folder, and writes the section "Aggregation rules" of benchmarks/RESULTS.md. Every peer has a process of its own
which holds the matrix; ours and a peer's rule are called in turn, so that a machine that is busy is busy for both.
A call of a peer longer than LIMIT seconds is ended, one that wants more than --memory is refused it. Ours looks for NaN
and infinity in every call; peers do not.
"""

from __future__ import annotations

import argparse
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from processes import Process, load_average, processor, write_section

PEERS = ("byzfl", "byzpy", "krum", "flwr")
SIZES = "10x1600000,50x1600000,100x100000,10x25000000"
RULES = (
    "mean",
    "median",
    "trimmed mean",
    "Krum",
    "Multi-Krum",
    "geometric median",
    "centred clipping",
    "NNM",
    "Bulyan",
)
GOALS = {  # at n = 10 and n = 50, d = 1.6 million: how many times faster than the fastest peer
    "median": (80, 25),
    "trimmed mean": (30, 8),
    "Krum": (5, 5),
    "Multi-Krum": (4, 4),
    "geometric median": (5, 4),
    "centred clipping": (2, 2),
    "NNM": (4, 4),
    "Bulyan": (20, 100),
}
LIMIT = 25.0
Rules = dict[str, Callable[[], Any]]


def f_of(n: int) -> int:
    return n // 5


def bulyan_f(n: int) -> int:
    return {10: 1, 50: 10, 100: 20}.get(n, (n - 3) // 4)


def matrix(n: int, d: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, d), dtype=np.float32) + np.float32(0.1)


# --- the rules, each in the form that its package takes -----------------------------------------------------------------


def ours(x: np.ndarray) -> Rules:
    import torch

    from antivenom import federated as fed

    rows, f = torch.from_numpy(x), f_of(len(x))
    tau = float(np.linalg.norm(x[0]))
    named = {
        "mean": fed.Mean(),
        "median": fed.Median(),
        "trimmed mean": fed.TrimmedMean(f=f),
        "Krum": fed.Krum(f=f),
        "Multi-Krum": fed.MultiKrum(f=f),
        "geometric median": fed.GeometricMedian(),
        "centred clipping": fed.CenteredClipping(tau=tau),
        "NNM": fed.NNM(f=f),
        "Bulyan": fed.Bulyan(f=bulyan_f(len(x))),
    }
    return {name: lambda rule=rule: rule(rows) for name, rule in named.items()} | {"floor": rows.sum}


def byzfl(x: np.ndarray) -> Rules:
    """Of the two forms that byzfl takes, tensors and arrays, both."""
    import byzfl
    import torch

    f, tau = f_of(len(x)), float(np.linalg.norm(x[0]))
    named = {
        "mean": byzfl.Average(),
        "median": byzfl.Median(),
        "trimmed mean": byzfl.TrMean(f),
        "Krum": byzfl.Krum(f),
        "Multi-Krum": byzfl.MultiKrum(f),
        "geometric median": byzfl.GeometricMedian(),
        "centred clipping": byzfl.CenteredClipping(L=1, tau=tau),
        "NNM": byzfl.NNM(f),
    }
    forms = {"": x, ", torch": torch.from_numpy(x)}
    return {name + form: lambda r=r, v=v: r(v) for name, r in named.items() for form, v in forms.items()}


def byzpy(x: np.ndarray) -> Rules:
    import torch
    from byzpy.aggregators.coordinate_wise.median import CoordinateWiseMedian
    from byzpy.aggregators.coordinate_wise.trimmed_mean import CoordinateWiseTrimmedMean
    from byzpy.aggregators.geometric_wise.geometric_median import GeometricMedian
    from byzpy.aggregators.geometric_wise.krum import Krum, MultiKrum
    from byzpy.aggregators.norm_wise.center_clipping import CenteredClipping
    from byzpy.pre_aggregators.nnm import NearestNeighborMixing

    rows, n, f, tau = list(torch.from_numpy(x)), len(x), f_of(len(x)), float(np.linalg.norm(x[0]))
    named = {
        "median": CoordinateWiseMedian(),
        "trimmed mean": CoordinateWiseTrimmedMean(f),
        "Krum": Krum(f),
        "Multi-Krum": MultiKrum(f, n - f),
        "geometric median": GeometricMedian(),
        "centred clipping": CenteredClipping(c_tau=tau, M=1, init="zero"),
    }
    mixing = NearestNeighborMixing(f)
    return {name: lambda rule=rule: rule.aggregate(rows) for name, rule in named.items()} | {
        "NNM": lambda: mixing.pre_aggregate(rows)
    }


def krum(x: np.ndarray) -> Rules:
    import torch
    from krum.primitives.aggregators.average import Average
    from krum.primitives.aggregators.bulyan import Bulyan
    from krum.primitives.aggregators.geometric_median import GeometricMedian
    from krum.primitives.aggregators.median import Median
    from krum.primitives.aggregators.multikrum import MultiKrum
    from krum.primitives.aggregators.trimmed_mean import TrimmedMean

    rows, n, f = torch.from_numpy(x), len(x), f_of(len(x))
    named: dict[str, tuple[Any, dict[str, int]]] = {
        "mean": (Average, {"f": f}),
        "median": (Median, {"f": f}),
        "trimmed mean": (TrimmedMean, {"f": f}),
        "Krum": (MultiKrum, {"f": f, "m": 1}),
        "Multi-Krum": (MultiKrum, {"f": f}),
        "geometric median": (GeometricMedian, {"f": f}),
        "Bulyan": (Bulyan, {"f": bulyan_f(n), "m": 1}),
    }
    return {name: lambda r=r, fields=fields: r.aggregate(rows, n=n, **fields) for name, (r, fields) in named.items()}


def flwr(x: np.ndarray) -> Rules:
    from flwr.server.strategy import aggregate as rules

    results, n, f, b = [([row], 1) for row in x], len(x), f_of(len(x)), bulyan_f(len(x))
    return {
        "mean": lambda: rules.aggregate(results),
        "median": lambda: rules.aggregate_median(results),
        "trimmed mean": lambda: rules.aggregate_trimmed_avg(results, f / n + 1e-9),
        "Krum": lambda: rules.aggregate_krum(results, f, 0),
        "Multi-Krum": lambda: rules.aggregate_krum(results, f, n - f),
        "Bulyan": lambda: rules.aggregate_bulyan(results, b, rules.aggregate_krum, to_keep=0),
    }


# --- one process per package --------------------------------------------------------------------------------------------


def serve(package: str, n: int, d: int, memory: int, channel: Connection) -> None:
    """In the package's own process: names of rules in, seconds and the growth of the process's peak memory in bytes out."""
    import torch

    torch.set_num_threads(2)
    makers: dict[str, Callable[[np.ndarray], Rules]]
    makers = {"ours": ours, "byzfl": byzfl, "byzpy": byzpy, "krum": krum, "flwr": flwr}
    rules = makers[package](matrix(n, d))
    if package == "ours":  # compile before memory is looked at
        for rule in ours(matrix(11, 4000)).values():
            rule()
    guard(memory)
    channel.send(sorted(rules))
    while name := channel.recv():
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
        before, begin = status("VmHWM"), time.perf_counter()
        try:
            result = rules[name]()
            channel.send((time.perf_counter() - begin, status("VmHWM") - before))
            del result
        except Exception as error:
            channel.send(what(error, memory))


def status(field: str) -> int:
    """A size of this process in bytes, such as its peak, VmHWM."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024


def guard(memory: int) -> None:
    """No more than `memory` bytes of data beyond what the process has now: asking for more is an error, not the end of all."""
    most = status("VmData") + memory
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def what(error: Exception, memory: int) -> str:
    """A table's cell: what went wrong."""
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return f"> {memory / 1e9:g} GB"
    return f"{type(error).__name__}: {error}".splitlines()[0][:80]


def package(name: str, python: str, n: int, d: int, memory: int, **settings: str) -> Process:
    return Process([python, __file__, "--serve", name, str(n), str(d), str(memory)], **settings)


@contextmanager
def packages(pythons: dict[str, str], n: int, d: int, memory: int) -> Iterator[dict[str, Process]]:
    running: dict[str, Process] = {}
    try:
        for name, python in pythons.items():
            running[name] = package(name, python, n, d, memory)
        yield running
    finally:
        for process in running.values():
            process.end()


# --- the comparison -------------------------------------------------------------------------------------------------------


def rows_of(size: str, pythons: dict[str, str], budget: float, memory: int) -> list[str]:
    """The table's lines for one size."""
    n, d = map(int, size.split("x"))
    # Memory in a process that gives all it frees back, so that nothing is hidden in what earlier calls have left.
    alone = package("ours", sys.executable, n, d, memory, MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="0")
    extra = {rule: max(alone.ask(rule, LIMIT)[1] for _ in range(2)) / (n * d * 4) for rule in RULES}
    alone.end()
    lines = []
    with packages(pythons, n, d, memory) as running:
        floor = min(running["ours"].ask("floor", LIMIT)[0] for _ in range(9))
        for rule in RULES:
            own, cells, fastest = beside(running, rule, budget)
            goal = GOALS.get(rule, (None, None))[(10, 50).index(n)] if d == 1_600_000 else None
            ratio = f"**{fastest / min(own):.1f}×**" if np.isfinite(fastest) else "–"
            lines.append(
                f"| {rule} | {spread(own)} | {' | '.join(cells)} | {ratio} | {f'{goal}×' if goal else '–'} "
                f"| {min(own) / floor:.1f} | {extra[rule]:.2f} | {load_average()} |"
            )
            print(size, lines[-1], flush=True)
    head = (
        f"### n = {n}, d = {d:,} ({n * d * 4 / 1e6:.0f} MB); reading it once: {floor * 1e3:.1f} ms\n\n"
        f"| rule | ours | {' | '.join(PEERS)} | fastest peer / ours | goal | ours / reading once | extra memory / input | load |\n"
        "| --- |" + " --- |" * (len(PEERS) + 6)
    )
    return [head, *lines, ""]


def beside(running: dict[str, Process], rule: str, budget: float) -> tuple[list[float], list[str], float]:
    """Our seconds, a cell for each peer, and the fastest peer's seconds, ours and theirs in turn."""
    mine = running["ours"]
    mine.ask(rule, LIMIT)
    own: list[float] = []
    cells, fastest = [], np.inf
    for peer in PEERS:
        theirs: list[float] = []
        said = "–"
        for form in [r for r in running[peer].ready if r in (rule, f"{rule}, torch")]:
            begin, times = time.perf_counter(), []  # type: float, list[float]
            while len(times) < 5 and (not times or time.perf_counter() - begin < budget):
                for _ in range(3):
                    own.append(mine.ask(rule, LIMIT)[0])
                answer = running[peer].ask(form, LIMIT)
                if isinstance(answer, str):
                    said = answer
                    break
                times.append(answer[0])
            if times and (not theirs or min(times) < min(theirs)):
                theirs = times
        if theirs:
            fastest = min(fastest, min(theirs))
        cells.append(spread(theirs) if theirs else said)
    return own, cells, fastest


def spread(seconds: list[float]) -> str:
    return f"{min(seconds) * 1e3:.3g} ({np.median(seconds) * 1e3:.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--environments", type=Path, help="where the peers' environments are, or are made and kept")
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--budget", type=float, default=4.0, help="seconds per rule and peer")
    parser.add_argument("--memory", type=float, default=8.0, help="GB that one call may take beside its input")
    parser.add_argument("--serve", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        name, n, d, memory, channel = given.serve
        serve(name, int(n), int(d), int(memory), Connection(int(channel)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        from environments import environments

        pythons = environments(given.environments or Path(temporary), PEERS)
        tables: list[str] = []
        for size in given.sizes.split(","):
            tables += rows_of(size, {"ours": sys.executable} | pythons, given.budget, int(given.memory * 1e9))
            report(given.sizes, given.budget, pythons, tables)


def report(sizes: str, budget: float, pythons: dict[str, str], tables: list[str]) -> None:
    import numba
    import torch
    from environments import versions

    write_section(
        "rules",
        "## Aggregation rules\n\n"
        f"`python benchmarks/rules/speed.py --sizes {sizes} --budget {budget:g}`\n\n"
        f"{processor()}, Linux, Python {platform.python_version()}, torch {torch.__version__}, numba {numba.__version__}; "
        f"{versions(pythons)}. Two threads. Milliseconds: "
        "least (median) of the calls, ours and a peer's in turn. f = n/5 (Bulyan 1, 10, 20). byzfl: the faster of "
        "arrays and tensors. Peers' geometric medians as they come, ours to its tolerance; ours "
        "looks for NaN in every call. Extra memory: growth of the process's peak during one call, the result "
        "included (for NNM the result is as large as the input). Load: of the whole machine when the row was done.\n\n"
        + "\n".join(tables),
    )


if __name__ == "__main__":
    main()
