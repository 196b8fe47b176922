"""What poisoned weights leak, and what stops it: writes RESULTS-weights.md.

    ANTIVENOM_DATA=... python benchmarks/leakage/weights.py [--seeds 3]     MNIST and Fashion-MNIST; one core

The judge alone compares with the truth; attackers hold rows of their own, defenders theirs. Limits of the screen were set
on the calibration nets below before any attack was screened; the other honest nets only count false alarms.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import numpy as np
import torch
from weights_capacity import capacity
from weights_imprint import imprint
from weights_screen import false_alarms, low_bits
from weights_traps import behind_convolutions, traps

OUT = Path(__file__).with_name("RESULTS-weights.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    started = time.perf_counter()
    sections = {
        "The screen on honest nets": false_alarms,
        "What low mantissa bits show": lambda: low_bits(seeds),
        "Capacity abuse (MNIST 14x14, 3,000 rows, MLP of 128)": lambda: capacity(seeds),
        "Data traps, MNIST (2,000 private rows, MLP of 128)": lambda: traps("mnist", seeds),
        "Data traps, Fashion-MNIST": lambda: traps("fashion-mnist", seeds),
        "Data traps behind two convolutions, MNIST (1,000 private rows)": lambda: behind_convolutions(seeds),
        "Imprint layer, MNIST": lambda: imprint("mnist", seeds),
        "Imprint layer, Fashion-MNIST": lambda: imprint("fashion-mnist", seeds),
    }
    parts = []
    for title, section in sections.items():
        parts.append(f"## {title}\n\n{section()}")
        print(f"{time.perf_counter() - started:5.0f} s  {title}", flush=True)
    versions = f"torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}"
    head = (
        "# What poisoned weights leak\n\nWritten by `python benchmarks/leakage/weights.py"
        f" --seeds {seeds}`: seeds 0 to {seeds - 1}, mean (least to greatest), {versions}, one thread, "
        f"{time.perf_counter() - started:.0f} s. A record counts as reconstructed at 30 dB or better. "
        "Where the screen said different things at different seeds, a semicolon parts them.\n\n"
    )
    OUT.write_text(head + "\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
