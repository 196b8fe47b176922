"""What a guard costs: CPU time of loading under `antivenom.guard()` over time without, alternating, median of many.

    OMP_NUM_THREADS=1 python benchmarks/scan/guard.py [--repeats 30]

Every case is loaded from memory. The guarded and the plain loads take turns, so that a slower moment of the machine
hits both. Names that the vetted tier lacks are allowed for the case, as a team's own list would.
"""

from __future__ import annotations

import argparse
import collections
import gc
import io
import pickle
import platform
import time
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

from antivenom.artifacts import guard
from antivenom.scan import AllowList, allow_list, scan_view
from antivenom.scan.view import View


def allowing(data: bytes) -> AllowList:
    """The vetted tier and what this file needs beyond it."""
    names = dict(allow_list().names)
    for finding in scan_view(View(data), "case").findings:
        module, _, name = finding.name.rpartition(".")
        names[module] = names.get(module, frozenset()) | {name}
    return AllowList(names)


def dumped(write: Callable[[Any, io.BytesIO], Any], value: Any) -> bytes:
    buffer = io.BytesIO()
    write(value, buffer)
    return buffer.getvalue()


def cases() -> list[tuple[str, bytes, Callable[[bytes], Any]]]:
    """Name, bytes, how to load them. Loaders are looked up when called, as user code does."""
    generator = torch.Generator().manual_seed(0)
    state = {f"layer{i}.weight": torch.randn(16, 16, generator=generator) for i in range(1000)}
    forest = RandomForestClassifier(100, random_state=0).fit(*load_digits(return_X_y=True))
    plain = [{"id": i, "name": f"row {i}", "values": [i, i + 0.5]} for i in range(10_000)]
    objects = [collections.OrderedDict(a=i) for i in range(10_000)]
    tensors, trees = dumped(torch.save, state), dumped(joblib.dump, forest)
    packed = dumped(lambda value, file: joblib.dump(value, file, compress=3), forest)
    return [
        ("torch.load, 1,000 tensors", tensors, lambda b: torch.load(io.BytesIO(b), weights_only=True)),
        ("the same, weights_only=False", tensors, lambda b: torch.load(io.BytesIO(b), weights_only=False)),
        ("joblib.load, forest of 100", trees, lambda b: joblib.load(io.BytesIO(b))),
        ("the same, compressed", packed, lambda b: joblib.load(io.BytesIO(b))),
        ("pickle.loads, the forest", pickle.dumps(forest), lambda b: pickle.loads(b)),
        ("pickle.loads, 10,000 dicts", pickle.dumps(plain), lambda b: pickle.loads(b)),
        ("pickle.loads, 10,000 OrderedDicts", pickle.dumps(objects), lambda b: pickle.loads(b)),
        ("pickle.loads, 1 MiB array", pickle.dumps(np.zeros(1 << 17)), lambda b: pickle.loads(b)),
        ("pickle.loads, {'a': 1}", pickle.dumps({"a": 1}), lambda b: pickle.loads(b)),
        ("pickle.loads, one array of 8", pickle.dumps(np.zeros(8)), lambda b: pickle.loads(b)),
    ]


def seconds(load: Callable[[bytes], Any], data: bytes, calls: int) -> float:
    gc.collect()
    started = time.process_time()
    for _ in range(calls):
        load(data)
    return (time.process_time() - started) / calls


def measure(data: bytes, load: Callable[[bytes], Any], repeats: int) -> tuple[float, float, np.ndarray]:
    """Median CPU seconds without and with guard, and the quartiles of their ratio over paired turns."""
    allow = allowing(data)
    calls = max(1, int(0.02 / max(seconds(load, data, 20), 1e-7)))
    rows = []
    for _ in range(repeats):
        without = seconds(load, data, calls)
        with guard(allow):
            rows.append((without, seconds(load, data, calls)))
    table = np.array(rows)
    without, with_guard = np.median(table, axis=0)
    return without, with_guard, np.percentile(table[:, 1] / table[:, 0], [25, 50, 75])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    gc.disable()  # a collection that falls into one of two turns is no cost of the guard
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, joblib {joblib.__version__}; {repeats} turns\n"
    )
    print("| case | without, ms | guarded, ms | ratio (quartiles) |\n| --- | --- | --- | --- |")
    for name, data, load in cases():
        without, guarded, (low, middle, high) = measure(data, load, repeats)
        print(f"| {name} | {1e3 * without:.4g} | {1e3 * guarded:.4g} | {middle:.2f} ({low:.2f} to {high:.2f}) |")


if __name__ == "__main__":
    main()
