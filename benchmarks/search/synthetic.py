"""The methods of compare.py on made-up harms, which cost nothing, so that the engine alone is judged.

    python benchmarks/search/synthetic.py --worlds 20 --trials 60

A world has ten families with a strength, a key of eight values and a wanted class of ten. The true harm is the sum of an effect
of the family, of the wanted class (the same for all families), of the key and of the strength, cut to 0 and 1. A trial adds noise of
the seed (standard deviation .05) and of the pair of attack and seed (.12). Prints the mean true harm of the attacks that each method
names, with the paired difference and its 95 % interval by Student's t.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from compare import METHODS

from antivenom.auditing.statistics import Interval
from antivenom.core.outcome import Outcome
from antivenom.core.threat import Goal
from antivenom.search import Choices, Family, Range
from antivenom.search.trials import Limits, Trials


@dataclass(frozen=True)
class Made:
    """An attack of a made-up family."""

    family: int
    strength: float = 0.4
    key: int = 0
    wanted: int = 0


@dataclass(frozen=True)
class World:
    """A scenario with made-up harms."""

    number: int
    kind: str = "sums"
    goal: Goal = Goal.TARGETED

    def truth(self, attack: Any) -> float:
        rng = np.random.default_rng(self.number)
        if self.kind == "sums":
            base, wanted = rng.uniform(-0.2, 0.35, 10), rng.normal(0, 0.15, 10)
            keys, gain = rng.normal(0, 0.08, (10, 8)), rng.uniform(0.1, 0.5, 10)
            family = attack.family
            found = base[family] + wanted[attack.wanted] + keys[family, attack.key] + gain[family] * attack.strength
        elif self.kind == "coins":
            found = (rng.beta(1, 3, 8)[:, None] + rng.normal(0, 0.1, (8, 10)))[attack.key, attack.wanted]
            found += rng.normal(0, 0.15, 10)[attack.family]
        else:
            height, best = rng.beta(1, 2, 10), rng.uniform(0, 1, 10)
            width, keys, wanted = rng.uniform(0.1, 0.5, 10), rng.uniform(0.4, 1, (10, 8)), rng.uniform(0.5, 1, (10, 10))
            family = attack.family
            bump = np.exp(-(((attack.strength - best[family]) / width[family]) ** 2))
            found = height[family] * bump * keys[family, attack.key] * wanted[family, attack.wanted]
        return float(np.clip(found, 0, 1))

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        if attack is None:
            return Outcome({"targets_hit": 0.0})
        own = np.random.default_rng(list(hashlib.sha256(f"{attack} {seed} {self.number}".encode()).digest()))
        shared = np.random.default_rng(seed + 10**6 * self.number).normal(0, 0.05, 11)
        noise = shared[0] + own.normal(0, 0.12)
        if self.kind == "peaks":
            noise = 2 * shared[1 + attack.wanted] + own.normal(0, 0.08)
        if self.kind == "coins":  # an attack succeeds or fails
            return Outcome({"targets_hit": float(own.random() < self.truth(attack))})
        return Outcome({"targets_hit": float(np.clip(self.truth(attack) + noise, 0, 1))})


FIELDS = {"strength": Range(0.0, 1.0), "key": Choices(tuple(range(8))), "wanted": Choices(tuple(range(10)))}
FAMILIES = [Family(Made(i), FIELDS) for i in range(10)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=[m for m in METHODS if m != "optuna"])
    parser.add_argument("--kind", choices=["sums", "peaks", "coins"], default="sums")
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    found: dict[str, list[float]] = {}
    for number in range(asked.first, asked.first + asked.worlds):
        world = World(number, asked.kind)
        for method in asked.methods:
            attack = METHODS[method](Trials(None, world, Limits(asked.trials)), FAMILIES, (0, 1, 2, 3), number)
            attack = FAMILIES[attack].own if isinstance(attack, int) else attack
            found.setdefault(method, []).append(world.truth(attack))
    for method, harms in found.items():
        gap = Interval.of([own - other for own, other in zip(found["search"], harms, strict=True)])
        assert gap is not None
        print(
            f"{method:9} harm {np.mean(harms):.3f}  search minus it {gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
        )


if __name__ == "__main__":
    main()
