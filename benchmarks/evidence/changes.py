"""How often `antivenom compare` calls noise a change, and how often it sees a change, by simulation with its own code.

    python benchmarks/evidence/changes.py [--runs 300]

Each run compares PAIRS pairs of attack and defence on shared seeds, whose harms are measured on 500 rows. Either the two harms
of a seed are independent, or the later one is the earlier one plus a shift, both measured anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from antivenom.auditing.evidence import ERROR
from antivenom.auditing.judging import Harms
from antivenom.auditing.paired import Change, Seeds, judged

PAIRS, ROWS = 10, 500
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def sometimes(first: float, then: float) -> Draw:
    """An attack that works in a share of the runs, independently before and after."""
    return lambda rng, n: tuple(np.where(rng.random(n) < share, 0.95, 0.02) for share in (first, then))  # type: ignore[return-value]


def shifted(by: float) -> Draw:
    """A skewed harm, and the same harm plus a shift."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        first = rng.beta(0.36, 1.42, n)
        return first, np.clip(first + by, 0, 1)

    return draw


EQUAL = {
    "works in 30 % of the runs": sometimes(0.3, 0.3),
    "works in 70 %": sometimes(0.7, 0.7),
    "skewed, shift 0": shifted(0),
}
CHANGED = {
    "30 % -> 60 % of the runs": sometimes(0.3, 0.6),
    "2 % -> 95 %": sometimes(0.02, 0.95),
    "shift .05": shifted(0.05),
}


def seeds_of(harms: np.ndarray, rng: np.random.Generator) -> Seeds:
    measured = rng.binomial(ROWS, harms) / ROWS
    return Seeds(Harms(tuple(measured), (1 / ROWS,) * len(harms)), {seed: seed for seed in range(len(harms))})


def changes(draw: Draw, n: int, pairs: int, rng: np.random.Generator) -> list[Change]:
    """What is said of each of `pairs` pairs with n shared seeds."""
    found = []
    for _ in range(pairs):
        first, then = draw(rng, n)
        found.append(judged(seeds_of(first, rng), seeds_of(then, rng), ERROR / pairs)[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    runs = parser.parse_args().runs
    rng = np.random.default_rng(0)
    print(
        f"| {PAIRS} pairs without a change | seeds | runs with a pair called worse | called better |\n| --- | --: | --: | --: |"
    )
    for name, draw in EQUAL.items():
        for n in (5, 12, 32):
            found = [changes(draw, n, PAIRS, rng) for _ in range(runs // 3)]
            rates = [np.mean([change in each for each in found]) for change in (Change.WORSE, Change.BETTER)]
            print(f"| {name} | {n} | {rates[0]:.1%} | {rates[1]:.1%} |", flush=True)
    print("\n| one of ten pairs changed | seeds | called worse |\n| --- | --: | --: |")
    for name, draw in CHANGED.items():
        for n in (5, 12, 32):
            cells = [(seeds_of(a, rng), seeds_of(b, rng)) for a, b in (draw(rng, n) for _ in range(runs))]
            seen = [judged(a, b, ERROR / PAIRS)[0] is Change.WORSE for a, b in cells]
            print(f"| {name} | {n} | {np.mean(seen):.0%} |", flush=True)


if __name__ == "__main__":
    main()
