"""The worst attack found against a few rules, on digits, by accuracy lost; chosen on some seeds, confirmed on others.

    python benchmarks/worst_case.py --seeds 3

Prints every attack with its mean harm, and for each rule the worst with the harm it was chosen by and on fresh seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from antivenom.audit.grid import label
from antivenom.core.threat import Knowledge
from antivenom.federated import Federation, Krum, Mean, Median
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios.search import OMNISCIENT, Attempt, worst_case

FEDERATION = Federation(
    num_agents=11,
    num_malicious=2,
    rounds=6,
    training=Training(epochs=1, batch_size=20, learning_rate=5e-3),
    knowledge=Knowledge.OMNISCIENT,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    scenario = replace(OMNISCIENT, model=MLP(hidden=(16,)), federation=FEDERATION)
    for rule in (Mean(), Krum(f=2), Median()):
        found = worst_case(rule, scenario, seeds=range(seeds), confirm=range(100, 100 + seeds), progress=tell)
        print(f"\n{label(rule)}: {len(found.attempts)} trials", flush=True)
        for attack, harm in found.ranking():
            print(f"  {harm:6.3f}  {label(attack)}")
        spread = [f"{a.harm:.3f}" for a in found.attempts if a.attack == found.attack]
        print(
            f"  worst: {label(found.attack)}: {found.harm:.3f}, on fresh seeds {found.confirmed:.3f}; {', '.join(spread)}"
        )


def tell(done: int, planned: int, attempt: Attempt) -> None:
    print(f"\r{done} of at most {planned} trials", end="", flush=True)


if __name__ == "__main__":
    main()
