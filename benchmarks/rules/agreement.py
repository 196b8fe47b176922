"""The same vectors through our rules and the peers': do they agree, and where not, is the difference the one we know?

    python benchmarks/rules/agreement.py [--environments FOLDER]

Each peer has an environment of its own with the package from PyPI, in FOLDER (kept) or a temporary folder. Nine matrices of double precision, f = 2: clean and with two outliers, 11 and 12 rows. A peer whose definition
differs from the paper's is compared with our rule changed by exactly that difference, so "as known" is checked as well.
Exit status 1 if anything else differs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environments import environments

from antivenom.federated import (
    ARC,
    CGE,
    MDA,
    NNM,
    SMEA,
    Bucketing,
    Bulyan,
    CenteredClipping,
    Clip,
    GeometricMedian,
    Krum,
    Meamed,
    Mean,
    Median,
    MoNNA,
    MultiKrum,
    TrimmedMean,
    kernels,
)
from antivenom.federated.distances import squared_distances

F = 2
PEERS = ("byzfl", "byzpy", "flwr", "krum")
EXACT, ITERATED = 1e-9, 1e-4  # largest difference, relative to the largest value
Ours = Callable[[np.ndarray], Any]


def same(rule: Any) -> Ours:
    return lambda x: rule(x)[0] if isinstance(rule, (NNM, Clip, ARC)) else rule(x)


def one_more_neighbour(m: int | None = None) -> Ours:
    """Krum's scores with n - f - 1 neighbours: ours with f - 1."""
    return lambda x: Krum(f=F - 1)(x) if m == 1 else MultiKrum(f=F - 1, m=len(x) - F)(x)


def krum_bulyan(x: np.ndarray) -> Any:
    """Two fewer choices, then a trimmed mean instead of the mean around the median."""
    chosen = Bulyan(f=F).selected(squared_distances(torch.tensor(x))).numpy()
    return TrimmedMean(f=F)(x[chosen[: len(x) - 2 * F - 2]])


def first_of_ties(x: np.ndarray) -> Any:
    """Bulyan whose last choices, where the nearest neighbours of each other have one score, go to the first row."""
    apart, left, taken = squared_distances(torch.tensor(x)).numpy(), list(range(len(x))), []
    while len(taken) < len(x) - 2 * F:
        ordered = np.sort(apart[np.ix_(left, left)], axis=1)
        taken.append(left.pop(int(ordered[:, 1 : 1 + max(len(left) - F - 2, 1)].sum(1).round(9).argmin())))
    return kernels.mean_around_median(torch.tensor(x[taken]), len(x) - 4 * F).numpy()


def filter_over_all_rows(x: np.ndarray) -> np.ndarray:
    """CAF whose largest projection is taken over all rows, also those of weight zero."""
    c, best, smallest = np.ones(len(x)), x.mean(0), np.inf
    while c.sum() > len(x) - 2 * F:
        mean = c @ x / c.sum()
        values, vectors = np.linalg.eigh((c[:, None] * (x - mean)).T @ (x - mean) / c.sum())
        if values[-1] < smallest:
            best, smallest = mean, values[-1]
        along = ((x - mean) @ vectors[:, -1]) ** 2
        c = c * (1 - along / along.max()).clip(0)
    return best


def lower_median(x: np.ndarray) -> np.ndarray:
    return np.sort(x, axis=0)[(len(x) - 1) // 2]


def around_lower_median(x: np.ndarray) -> np.ndarray:
    order = np.argsort(np.abs(x - lower_median(x)), axis=0, kind="stable")
    return np.take_along_axis(x, order[: len(x) - F], 0).mean(0)


def reversed_buckets(x: np.ndarray) -> np.ndarray:
    return (Bucketing(3).buckets(torch.arange(len(x)).flip(0)) @ torch.tensor(x)).numpy()


geometric_median = same(GeometricMedian(tolerance=1e-10, most_steps=5000))
MORE = "n - f - 1 neighbours, the paper n - f - 2"
LOWER = "for even n the lower of the two middle values (of tensors)"
RANDOM = "one power step from a random start: it differs from itself when run again"
# peer -> peer's rule -> (ours, or None for a peer that is only random; how near; the known difference)
TABLE: dict[str, dict[str, tuple[Ours | None, float, str]]] = {
    "byzfl": {
        "Average": (same(Mean()), EXACT, ""),
        "Median": (same(Median()), EXACT, ""),
        "TrMean": (same(TrimmedMean(f=F)), EXACT, ""),
        "GeometricMedian": (geometric_median, ITERATED, "default of 3 steps from zero; here 1000"),
        "Krum": (one_more_neighbour(1), EXACT, MORE),
        "MultiKrum": (one_more_neighbour(), EXACT, MORE),
        "CenteredClipping": (same(CenteredClipping(tau=2.0, steps=3)), EXACT, ""),
        "MDA": (same(MDA(f=F)), EXACT, ""),
        "MoNNA": (same(MoNNA(f=F, trusted=5)), EXACT, ""),
        "Meamed": (same(Meamed(f=F)), EXACT, ""),
        "CAF": (None, EXACT, RANDOM),
        "SMEA": (None, EXACT, RANDOM),
        "NNM": (same(NNM(f=F)), EXACT, ""),
        "Clipping": (same(Clip(2.0)), EXACT, ""),
        "ARC": (same(ARC(f=F)), EXACT, ""),
    },
    "byzpy": {
        "CoordinateWiseMedian": (lower_median, EXACT, LOWER),
        "CoordinateWiseTrimmedMean": (same(TrimmedMean(f=F)), EXACT, ""),
        "MeanOfMedians": (around_lower_median, EXACT, LOWER),
        "GeometricMedian": (geometric_median, ITERATED, ""),
        "Krum": (one_more_neighbour(1), EXACT, MORE),
        "MultiKrum": (one_more_neighbour(), EXACT, MORE),
        "MinimumDiameterAveraging": (same(MDA(f=F)), EXACT, ""),
        "MoNNA": (same(MoNNA(f=F, trusted=5)), EXACT, ""),
        "SMEA": (same(SMEA(f=F)), EXACT, ""),
        "CAF": (filter_over_all_rows, ITERATED, "largest projection over all rows, also those without weight"),
        "CenteredClipping": (same(CenteredClipping(tau=2.0, steps=3)), EXACT, ""),
        "ComparativeGradientElimination": (same(CGE(f=F)), EXACT, ""),
        "NearestNeighborMixing": (same(NNM(f=F)), EXACT, ""),
        "Clipping": (same(Clip(2.0)), EXACT, ""),
        "ARC": (same(ARC(f=F)), EXACT, ""),
        "Bucketing": (reversed_buckets, EXACT, ""),
    },
    "flwr": {
        "aggregate": (same(Mean()), EXACT, ""),
        "aggregate_median": (same(Median()), EXACT, ""),
        "aggregate_trimmed_avg": (same(TrimmedMean(f=F)), EXACT, ""),
        "aggregate_krum": (same(Krum(f=F)), EXACT, ""),
        "aggregate_krum, to_keep": (same(MultiKrum(f=F)), EXACT, ""),
        "aggregate_bulyan": (first_of_ties, EXACT, "structural ties go to the first row, here to the more central one"),
    },
    "krum": {
        "Average": (same(Mean()), EXACT, ""),
        "Median": (same(Median()), EXACT, ""),
        "TrimmedMean": (same(TrimmedMean(f=F)), EXACT, ""),
        "GeometricMedian": (geometric_median, ITERATED, ""),
        "MultiKrum, m = 1": (same(Krum(f=F)), EXACT, ""),
        "MultiKrum": (
            lambda x: MultiKrum(f=F, m=len(x) - 2 * F - 3)(x),
            EXACT,
            "m = n - 2f - 3 by default, here n - f",
        ),
        "Bulyan, m = 1": (krum_bulyan, EXACT, "n - 2f - 2 choices, then the trimmed mean"),
    },
}


def vectors() -> dict[str, np.ndarray]:
    """Matrices (n, 40) by name."""
    made = {}
    for seed in range(3):
        for n, shift in ((11, 0.0), (11, 3.0), (12, 3.0)):
            x = np.random.default_rng(seed).standard_normal((n, 40))
            x[:F] += shift
            made[f"n = {n}, {'attacked' if shift else 'clean'}, seed {seed}"] = x
    return made


def asked(peer: str, python: str, cases: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The peer's results, by "rule|case", and its version."""
    with tempfile.TemporaryDirectory() as folder:
        given, wanted = Path(folder) / "vectors.npz", Path(folder) / "results.npz"
        np.savez(given, **cases)  # type: ignore[arg-type]
        driver = Path(__file__).with_name("peers.py")
        subprocess.run([python, str(driver), peer, str(given), str(wanted)], check=True)
        with np.load(wanted) as found:
            return {name: found[name] for name in found.files}


def difference(theirs: np.ndarray, ours: Any) -> float:
    """The largest difference relative to the largest value; infinite if they gave no numbers."""
    if theirs.dtype.kind not in "fi" or theirs.shape != np.shape(ours):
        return np.inf
    return float(np.abs(theirs - np.asarray(ours)).max() / max(np.abs(theirs).max(), 1e-300))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--environments", type=Path, help="where the peers' environments are, or are made and kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return 1 if compared(environments(given.environments or Path(temporary), PEERS)) else 0


def compared(pythons: dict[str, str]) -> int:
    """Print the table; how many rules differ in a way that is not known."""
    cases, unexpected = vectors(), 0
    print("| peer | rule | agree in | largest difference | verdict |\n| --- | --- | --- | --- | --- |")
    for peer, python in pythons.items():
        found = asked(peer, python, cases)
        for rule, (ours, near, known) in TABLE[peer].items():
            others = {case: found[f"{rule}, again|{case}"] if ours is None else ours(x) for case, x in cases.items()}
            apart = [difference(found[f"{rule}|{case}"], other) for case, other in others.items()]
            agree = sum(gap <= near for gap in apart)
            fine = agree == len(cases) if ours is not None else agree < len(cases)
            unexpected += not fine
            verdict = (f"as known: {known}" if known else "same") if fine else "DIFFERS"
            print(f"| {peer} {found['version']} | {rule} | {agree} of {len(cases)} | {max(apart):.1e} | {verdict} |")
    return unexpected


if __name__ == "__main__":
    sys.exit(main())
