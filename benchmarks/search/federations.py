"""The worst attacks found against a few defences, on digits, by accuracy lost; chosen on some seeds, confirmed on others.

    python benchmarks/search/federations.py --trials 400

Prints, for each defence, the finalists with the harm that they were chosen by and their harm on fresh seeds, then the best
attack of every family that was searched.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace

import torch

from antivenom.auditing.grid import label
from antivenom.core.threat import Knowledge
from antivenom.federated import CenteredClipping, Federation, Krum, Mean, Median, NormBound
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.search import OMNISCIENT, Attempt, WorstCase, worst_case

FEDERATION = Federation(
    num_agents=11,
    num_malicious=2,
    rounds=6,
    training=Training(epochs=1, batch_size=20, learning_rate=5e-3),
    knowledge=Knowledge.OMNISCIENT,
)
DEFENCES = (Krum(f=2), Median(), CenteredClipping(tau=0.5), NormBound(factor=1.5), Mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400, help="trials per defence")
    parser.add_argument("--seeds", type=int, default=4, help="seeds of the search")
    parser.add_argument("--confirm", type=int, default=10, help="fresh seeds")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    scenario = replace(OMNISCIENT, model=MLP(hidden=(16,)), federation=FEDERATION)
    for rule in DEFENCES:
        began = time.process_time()
        fresh = range(100, 100 + asked.confirm)
        found = worst_case(
            rule, scenario, trials=asked.trials, seeds=range(asked.seeds), confirm=fresh, progress=progress
        )
        print(f"\n{label(rule)}: {len(found.attempts)} trials, {time.process_time() - began:.0f} CPU-s", flush=True)
        show(found)


def show(found: WorstCase) -> None:
    for each in found.finalists:
        for stage, harms in (
            ("search", spread(found, each.attack, False)),
            ("fresh", spread(found, each.attack, True)),
        ):
            print(f"  {stage:>6}: {math.fsum(harms) / len(harms):.2f} ({min(harms):.2f} to {max(harms):.2f})", end="")
        bounds = "" if each.interval is None else f"  [{each.interval.low:.2f}, {each.interval.high:.2f}]"
        print(f"{bounds}  {label(each.attack)}", flush=True)
    failed = {attempt.error for attempt in found.attempts if attempt.error}
    print(f"  at least {found.at_least:.2f}; {len(failed)} kinds of failure: {'; '.join(failed)}")
    for attack, harm, seeds in found.ranking()[:25]:
        print(f"    {harm:6.3f} on {seeds} seeds  {label(attack)}")


def spread(found: WorstCase, attack: object, fresh: bool) -> list[float]:
    """The harm on each seed of the search, or on each fresh one."""
    return [a.harm for a in found.attempts if a.attack == attack and (a.stage == "confirm") == fresh]


def progress(done: int, most: int, attempt: Attempt) -> None:
    print(f"\r{done} of at most {most} trials", end="", flush=True)


if __name__ == "__main__":
    main()
