"""Steinhardt's bound on MNIST-1-7 (13,007 training rows): U*, the attack that meets it, test error and CPU seconds.

    python benchmarks/mnist17_bound.py            three seeds, about three minutes on one core

Published (arXiv:1706.03691): the data set is resilient if the centroids come from clean rows, and not if poison drags them.
The bars: U* below 0.1 at 30 % poison, the attack within 3 % of U*, test error below 4 %, 10 seconds.
"""

from __future__ import annotations

import time

import numpy as np

from antivenom import Streams, ThreatModel, certified_bound, load
from antivenom.attacks import MinMax
from antivenom.core.protocols import AttackContext
from antivenom.models.hinge import BoundedSVC
from antivenom.scenarios.splits import only_classes

RHO_SQUARED, STEPS = 0.8, 2500


def main() -> None:
    split = only_classes(load("mnist"), (1, 7))
    train, test = split.train, split.test
    settings = {"rho_squared": RHO_SQUARED, "eta": 0.1, "steps": STEPS}
    for rate in (0.03, 0.1, 0.3):
        attack = MinMax(poisoned_rate=rate, **settings)
        found, start = [], time.process_time()
        for seed in range(3):
            context = AttackContext(Streams(seed), ThreatModel("data-injection", "availability"))
            begin = time.process_time()
            rows = attack(train, context).data
            seconds = time.process_time() - begin
            error = 1 - BoundedSVC(RHO_SQUARED, random_state=seed).fit(rows.flat, rows.y).score(test.flat, test.y)
            bound = certified_bound(train, rate, streams=Streams(seed), **settings)
            found.append((bound.upper, bound.attack_loss, -bound.gap, error, seconds))
        numbers = zip(
            ("U*", "attack", "attack / U* - 1", "test error", "seconds"), zip(*found, strict=True), strict=True
        )
        line = ", ".join(
            f"{name} {np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})" for name, values in numbers
        )
        print(f"rate {rate:g}, oracle: {line}; {time.process_time() - start:.0f} s in all", flush=True)
    for rate in (0.03, 0.3):
        bound = certified_bound(train, rate, oracle=False, **settings)
        print(f"rate {rate:g}, dragged centroids: U* {bound.upper:.4f}")


if __name__ == "__main__":
    main()
