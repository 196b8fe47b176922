"""How fast the scan is, and how much memory it takes: small files, one large checkpoint, a folder of many files.

    python benchmarks/scan/speed.py [--gigabytes 1] [--files 10000] [--jobs 2]

Bars: at most 1 ms median for a small file, 2 s for a checkpoint of a gigabyte with flat memory, 60 s for 10,000 files on
two cores. Memory is the peak of a process that does nothing else, above that of one that scans an empty file.
"""

from __future__ import annotations

import argparse
import os
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from pathlib import Path

import joblib
import numpy as np
import torch
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

SOURCE = Path(__file__).resolve().parents[2] / "src"
sys.path.insert(0, str(SOURCE))


def small_files(folder: Path) -> list[Path]:
    """One of each common kind, at most some tens of kilobytes."""
    x, y = make_classification(60, 6, random_state=0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    for name, model in {"linear": LogisticRegression(), "forest": RandomForestClassifier(5, random_state=0)}.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(model.fit(x, y)))
        joblib.dump(model, folder / f"{name}.joblib")
        joblib.dump(model, folder / f"{name}.z.joblib", compress=3)
    torch.save(net.state_dict(), folder / "net.pt")
    torch.save(net.state_dict(), folder / "net.legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(net, folder / "module.pt")
    np.save(folder / "array.npy", x)
    np.savez(folder / "arrays.npz", x=x, y=y)
    (folder / "config.json").write_text('{"hidden_size": 8}')
    return sorted(folder.iterdir())


def checkpoint(folder: Path, gigabytes: float) -> list[Path]:
    """A checkpoint of 64 tensors in both formats of torch, and a raw array."""
    size = int(gigabytes * 2**30 / 64 / 4)
    state = OrderedDict((f"layer{i}.weight", torch.zeros(size)) for i in range(64))
    torch.save(state, folder / "large.pt")
    torch.save(state, folder / "large.legacy.pt", _use_new_zipfile_serialization=False)
    joblib.dump({name: tensor.numpy() for name, tensor in state.items()}, folder / "large.joblib")
    return sorted(folder.iterdir())


def alone(path: Path) -> tuple[float, float, str]:
    """Seconds, peak mebibytes and verdict of a process that scans one file."""
    code = (
        "import re, sys, time; from antivenom.scan import scan; began = time.perf_counter();"
        "status = scan(sys.argv[1]).status; spent = time.perf_counter() - began;"
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024;"
        "print(spent, peak, status, sep='|')"
    )
    settings = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True, env=settings
    )
    spent, peak, status = done.stdout.strip().split("|")
    return float(spent), float(peak), status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    from antivenom.scan import Limits, allow_list, scan
    from antivenom.scan.files import scan_file

    print(
        f"{platform.machine()}, {os.cpu_count()} cores, CPython {platform.python_version()}, torch {torch.__version__}\n"
    )
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "small").mkdir()
        (home / "large").mkdir()
        (home / "many").mkdir()
        small, medians = small_files(home / "small"), []
        print(
            f"| small file | bytes | verdict | median ms of {options.repeats} | greatest |\n| --- | --- | --- | --- | --- |"
        )
        for path in small:
            times = []
            for _ in range(options.repeats + 1):
                began = time.perf_counter()
                report = scan_file(str(path), Limits(), allow_list())
                times.append(1000 * (time.perf_counter() - began))
            medians.append(statistics.median(times[1:]))
            print(f"| {path.name} | {report.size} | {report.status} | {medians[-1]:.2f} | {max(times[1:]):.2f} |")
        print(f"\nmedian over the small files: {statistics.median(medians):.2f} ms (bar 1)\n")

        (home / "empty").write_bytes(b"")
        start = alone(home / "empty")[1]
        print(
            "| large file | bytes | verdict | seconds (bar 2) | MiB above an empty file |\n| --- | --- | --- | --- | --- |"
        )
        for path in checkpoint(home / "large", options.gigabytes):
            spent, peak, status = alone(path)
            print(f"| {path.name} | {path.stat().st_size} | {status} | {spent:.3f} | {peak - start:.1f} |")
            path.unlink()

        for number in range(options.files):
            (home / "many" / str(number % 100)).mkdir(exist_ok=True)
            kind = small[number % len(small)]
            (home / "many" / str(number % 100) / f"{number}-{kind.name}").write_bytes(kind.read_bytes())
        began = time.perf_counter()
        report = scan(home / "many", jobs=options.jobs)
        spent = time.perf_counter() - began
        print(
            f"\n{len(report.files)} files with {options.jobs} processes: {spent:.1f} s (bar 60 for 10,000), {report.status}"
        )


if __name__ == "__main__":
    main()
