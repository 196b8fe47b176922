"""The inert samples against safe use: how many fire in their own loader, and then under guard, safe_load and detonate.

    OMP_NUM_THREADS=1 python benchmarks/scan/use.py        about five minutes on one core

A sample counts if its payload makes the marker when its loader loads it, each in a process of its own. Of these, a
defence stops a sample if no marker appears; detonate must also report an attempt. Bounds: Clopper-Pearson, 95 %.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib  # noqa: F401 - loaded once here instead of in every fork
import numpy as np  # noqa: F401
import torch
from scipy.stats import binomtest

from antivenom import detonate, guard, safe_load
from antivenom.core.errors import AntivenomError
from antivenom.scan.samples import SAMPLES, Sample

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "scan"))
from fire import LOADERS

CHAMBERS = {"torch": "torch", "joblib": "joblib", "numpy": "numpy"}  # detonate's name of a sample's loader, else pickle


def in_a_fork(load: Callable[[], Any]) -> None:
    """Whatever a payload does to its process stays there."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            os.dup2(1, 2)
            load()
        os._exit(0)
    os.waitpid(pid, 0)


def fired(marker: Path) -> bool:
    """Whether the marker is there, or comes: a command may still be starting. It is taken away."""
    for _ in range(10):
        if marker.exists():
            (shutil.rmtree if marker.is_dir() else os.unlink)(marker)
            return True
        time.sleep(0.02)
    return False


def guarded(load: Callable[[Path], Any], path: Path) -> None:
    with guard():
        load(path)


def outcomes(sample: Sample, folder: Path) -> dict[str, bool] | None:
    """Per defence whether the marker was made; None if the sample does not fire in its loader."""
    marker = folder / "fired"
    path = sample.make(folder, marker)
    load = LOADERS[sample.loader]
    in_a_fork(lambda: load(path))
    if not fired(marker):
        return None
    in_a_fork(lambda: guarded(load, path))
    result = {"guard": fired(marker)}
    in_a_fork(lambda: safe_load(path))
    result["safe_load"] = fired(marker)
    quiet = not detonate(path, CHAMBERS.get(sample.loader, "pickle")).attempts
    return result | {"detonate": fired(marker), "detonate, nothing reported": quiet}


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found, skipped = {}, []
    for sample in SAMPLES:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                outcome = outcomes(sample, Path(folder)) if sample.loader else None
            except (ImportError, ValueError, AntivenomError) as error:
                outcome = None
                skipped.append(f"{sample.name} ({error})")
        if outcome is not None:
            found[sample.name] = outcome
    n = len(found)
    print(f"{len(SAMPLES)} samples, {n} fire in their own loader; not made: {'; '.join(skipped) or 'none'}\n")
    print("| defence | fired | of | upper bound | which |\n| --- | --- | --- | --- | --- |")
    for defence in ("guard", "safe_load", "detonate", "detonate, nothing reported"):
        which = [name for name, outcome in found.items() if outcome[defence]]
        high = binomtest(len(which), n).proportion_ci(0.95, "exact").high
        print(f"| {defence} | {len(which)} | {n} | {high:.1%} | {', '.join(which) or '-'} |")


if __name__ == "__main__":
    main()
