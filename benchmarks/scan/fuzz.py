"""Mutated model files against the scan: it must not fail, hang, grow, or run anything.

    python benchmarks/scan/fuzz.py [--minutes 10] [--seed 0] [--keep FOLDER]

Seeds are all inert samples and benign files of the same formats. Each round mutates one, perhaps packs it again, and scans
it; a finding `scan-error`, more than ten seconds, or a gibibyte of memory is a failure, and so is a marker that appears.
"""

from __future__ import annotations

import argparse
import bz2
import collections
import faulthandler
import gzip
import importlib.util
import io
import lzma
import pickle
import platform
import random
import resource
import signal
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

from antivenom.scan import Limits, scan_view
from antivenom.scan.samples import SAMPLES
from antivenom.scan.samples.containers import tarred, zipped
from antivenom.scan.view import View

SECONDS, GROWTH, LONGEST = 10, 1 << 30, 1 << 20
NUMBERS = [
    bytes(8),
    b"\xff" * 8,
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\xff" * 7 + b"\x7f",
    b"\x00\x01",
    b"\xff\xff",
]
PACKERS = [
    gzip.compress,
    bz2.compress,
    zlib.compress,
    lzma.compress,
    lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    lambda data: zipped(("a", data)),
    lambda data: zipped(("a/data.pkl", data), ("a/version", b"3\n")),
    lambda data: zipped(("schema.json", data), ("config.json", data), method=8),
    lambda data: tarred(("a", data)),
]


class TooLong(BaseException):
    """Raised by the alarm; no check catches it."""


def _alarm(*_: Any) -> None:
    raise TooLong


def benign() -> dict[str, bytes]:
    """Files as libraries write them, of those that are installed."""
    value = {"a": [1, 2.5, None], "b": collections.OrderedDict(c=b"x" * 50), "d": {1, 2}, "e": bytearray(9)}
    found = {f"pickle-{protocol}": pickle.dumps(value, protocol) for protocol in range(6)}
    found |= {"zip": zipped(("a.txt", b"text"), ("b.bin", bytes(99))), "tar": tarred(("a.txt", b"text"))}
    if importlib.util.find_spec("torch"):
        import torch

        module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
        for name, new in (("torch", True), ("torch-legacy", False)):
            out = io.BytesIO()
            torch.save(module.state_dict(), out, _use_new_zipfile_serialization=new)
            found[name] = out.getvalue()
        out = io.BytesIO()
        torch.jit.save(torch.jit.script(module), out)
        found["torchscript"] = out.getvalue()
    if importlib.util.find_spec("sklearn"):
        import joblib
        import numpy as np
        from sklearn.tree import DecisionTreeClassifier

        tree = DecisionTreeClassifier().fit(np.eye(4), [0, 1, 0, 1])
        found["sklearn"] = pickle.dumps(tree)
        for name, compress in (("joblib", 0), ("joblib-zlib", 3)):
            out = io.BytesIO()
            joblib.dump([tree, np.ones((3, 4))], out, compress=compress)
            found[name] = out.getvalue()
        out = io.BytesIO()
        np.savez_compressed(out, a=np.ones(9), b=np.array(["x", "y"]))
        found["npz"] = out.getvalue()
    return found


def mutated(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """`data` with one to six small changes, cut to a mebibyte."""
    out = bytearray(data[:LONGEST])
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(out) + 1)
        size = min(draw.choice([1, 1, 2, 4, 8, 30, 200]), len(out) - at)
        match draw.randrange(8):
            case 0:
                out[at : at + 1] = bytes((draw.randrange(256),))
            case 1:
                out[at : at + size] = draw.randbytes(size)
            case 2:
                del out[at : at + size]
            case 3:
                number = draw.choice(NUMBERS)
                out[at : at + len(number)] = number
            case 4:
                out[at:at] = out[at : at + size] * draw.choice([1, 2, 100])
            case 5:
                other = draw.choice(others)
                begin = draw.randrange(len(other) + 1)
                out[at : at + size] = other[begin : begin + draw.choice([4, 30, 400])]
            case 6:
                del out[at:]
            case 7 if at < len(out):
                out[at] ^= 1 << draw.randrange(8)
    return bytes(out[:LONGEST])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for inputs that fail")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    if options.keep:
        options.keep.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        seeds, markers = _seeds(Path(folder))
        failures = _run(seeds, markers, draw, options)
    return 1 if failures else 0


def _seeds(folder: Path) -> tuple[list[bytes], list[Path]]:
    seeds, markers = list(benign().values()), []
    for number, sample in enumerate(SAMPLES):
        if all(map(importlib.util.find_spec, sample.packages)):
            markers.append(folder / f"marker{number}")
            made = sample.make(folder, markers[-1])
            seeds += [file.read_bytes() for file in ([made] if made.is_file() else made.iterdir())]
    return [seed[:LONGEST] for seed in seeds], markers


def _run(seeds: list[bytes], markers: list[Path], draw: random.Random, options: argparse.Namespace) -> int:
    small = [seed for seed in seeds if len(seed) < 20_000]
    verdicts: collections.Counter[str] = collections.Counter()
    failures: collections.Counter[str] = collections.Counter()
    slowest, start = 0.0, time.monotonic()
    for seed in seeds:  # whatever a first look imports is no growth
        scan_view(View(seed), "seed")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGALRM, _alarm)
    while time.monotonic() - start < options.minutes * 60:
        data = mutated(draw.choice(small if draw.random() < 0.95 else seeds), small, draw)
        for _ in range(draw.choice([0, 0, 1, 1, 2])):
            data = draw.choice(PACKERS)(data)
        if draw.random() < 0.1:
            data = mutated(data, small, draw)
        began, failure = time.monotonic(), ""
        signal.alarm(SECONDS)
        faulthandler.dump_traceback_later(3 * SECONDS, exit=True)  # a library may not let the alarm through
        if options.keep:
            (options.keep / "current.bin").write_bytes(data)
        try:
            report = scan_view(View(data), "file", Limits(seconds=SECONDS / 2))
            verdicts[report.status.value] += 1
            failure = next((f"{f.where}: {f.what}" for f in report.findings if f.rule == "scan-error"), "")
        except TooLong:
            failure = "too long"
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        finally:
            signal.alarm(0)
            faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, time.monotonic() - began)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        failure = failure or ("memory" if grown > GROWTH else "")
        if failure and options.keep:
            (options.keep / f"{sum(failures.values())}.bin").write_bytes(data)
        failures[failure[:120]] += bool(failure)
    failures += collections.Counter({"a marker appeared": sum(marker.exists() for marker in markers)})
    failures = +failures
    print(f"Python {platform.python_version()}, seed {options.seed}, {len(seeds)} seeds, {options.minutes:g} minutes")
    print(
        f"{sum(verdicts.values())} files: {dict(verdicts)}; slowest {slowest:.2f} s; memory grew by {grown >> 20} MiB"
    )
    print(f"{sum(failures.values())} failures", *failures.most_common(20), sep="\n")
    return sum(failures.values())


if __name__ == "__main__":
    sys.exit(main())
