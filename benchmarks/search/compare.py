"""The search for the worst case against random search and the grid of defaults, at equal numbers of trials.

    python benchmarks/search/compare.py mlp-backdoor forest-flips --repeats 10 --trials 60 --out results.jsonl
    python benchmarks/search/compare.py --show results.jsonl

Each repetition has search seeds, draws and fresh seeds of its own. Every method spends the same number of trials, clean twins
included, on the same search seeds, and names one attack. That attack's harm is measured on fresh seeds, which no method has
seen. The differences between methods are paired by repetition.

Methods:
    search      the search (`worst_case`), all trials in exploring and refining
    random      random values in random families; every attack runs on all search seeds
    random-1    the same, but every attack runs on one search seed, so that more attacks are tried
    defaults    the default values of every family, each on as many seeds as the trials allow
    optuna      Optuna's TPE (multivariate, grouped) with successive halving over the seeds, if it is installed
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from antivenom import Central
from antivenom.attacks import AdversarialPoison, Narcissus
from antivenom.models.architectures import MLP
from antivenom.models.estimators import RandomForest, Sklearn
from antivenom.models.training import Training
from antivenom.search import Aimed, Family, families_for, label_of, worst_case
from antivenom.search.central import with_fitting_trigger
from antivenom.search.trials import Limits, Trials

SEEDS, FRESH = 4, 10  # seeds of a search, and fresh seeds
SLOW = (AdversarialPoison, Narcissus)  # their trials take up to ten times as long as the others; no method gets them
SETTINGS = {
    "forest-flips": Central(
        data="breast-cancer",
        model=RandomForest(n_estimators=20),
        access="data-manipulation",
        goal="availability",
        max_poisoned_rate=0.2,
        clean_rows=0,
    ),
    "mlp-backdoor": Central(
        data="digits",
        model=MLP(hidden=(32,)),
        training=Training(epochs=10, batch_size=50, learning_rate=0.01),
        access="data-injection",
        goal="backdoor",
        max_poisoned_rate=0.005,
        clean_rows=0,
    ),
    "ridge-relabelling": Central(
        data="digits",
        model=Sklearn("sklearn.linear_model.RidgeClassifier"),
        access="data-manipulation",
        goal="backdoor",
        max_poisoned_rate=0.02,
        clean_rows=0,
    ),
    "tree-rows": Central(
        data="breast-cancer",
        model=Sklearn("sklearn.tree.DecisionTreeClassifier"),
        access="data-injection",
        goal="backdoor",
        max_poisoned_rate=0.003,
        clean_rows=0,
    ),
}
Pick = Callable[[Trials, list[Family], tuple[int, ...], int], object]


def search(trials: Trials, families: list[Family], seeds: tuple[int, ...], draws: int) -> object:
    scenario, most = trials.scenario, trials.limits.trials
    return worst_case(None, scenario, families=families, trials=most, seeds=seeds, confirm=(), draws=draws).attack


def random(trials: Trials, families: list[Family], seeds: tuple[int, ...], draws: int, each: int = SEEDS) -> object:
    rng = np.random.default_rng(draws)
    usable, best = trials.usable(seeds)[:each], (-math.inf, None)
    while trials.left >= len(usable):
        family = families[rng.integers(len(families))]
        attack = family.at(rng.random(len(family.fields)))
        best = max(best, (mean(trials, attack, usable), attack), key=lambda pair: pair[0])
    return best[1]


def random_1(trials: Trials, families: list[Family], seeds: tuple[int, ...], draws: int) -> object:
    return random(trials, families, seeds, draws, each=1)


def defaults(trials: Trials, families: list[Family], seeds: tuple[int, ...], draws: int) -> object:
    each = trials.left // (len(families) + 1 - trials.self_paired)
    more = tuple(range(seeds[-1] + 1, seeds[-1] + 1 + max(each - len(seeds), 0)))  # further seeds that nobody else uses
    usable = trials.usable((*seeds, *more))[: max(each, 1)]
    return max((mean(trials, family.own, usable), i) for i, family in enumerate(families))[1]


def optuna(trials: Trials, families: list[Family], seeds: tuple[int, ...], draws: int) -> object:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    usable, tried = trials.usable(seeds), dict[int, object]()
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=draws, multivariate=True, group=True),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    )

    def harm(trial: Any) -> float:
        number = trial.suggest_categorical("family", list(range(len(families))))
        family = families[number]
        point = [trial.suggest_float(f"{number}.{path}", 0.0, 1.0) for path in family.fields]
        tried[trial.number] = attack = family.at(point)
        values: list[float] = []
        for step, seed in enumerate(usable):
            if trials.left < 1:
                raise optuna.TrialPruned
            values.append(one(trials, attack, seed))
            trial.report(float(np.mean(values)), step + 1)
            if step + 1 < len(usable) and trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(values))

    for i, family in enumerate(families):  # it starts from the defaults, as the search does
        own = {f"{i}.{path}": place for path, place in zip(family.fields, family.start, strict=True)}
        study.enqueue_trial({"family": i, **own})
    while trials.left >= 1:
        study.optimize(harm, n_trials=1)
    return tried[study.best_trial.number]


METHODS: dict[str, Pick] = {
    "search": search,
    "random": random,
    "random-1": random_1,
    "defaults": defaults,
    "optuna": optuna,
}


def plain(attack: Any) -> object:
    """The attack without its aim."""
    return attack.attack if isinstance(attack, Aimed) else attack


def one(trials: Trials, attack: object, seed: int) -> float:
    """The harm on one seed; 0 for a trial that failed."""
    harms = [attempt.harm for _, attempt in trials.run([(attack, seed)], "explore")]
    return 0.0 if not harms or math.isnan(harms[0]) else harms[0]


def mean(trials: Trials, attack: object, seeds: list[int]) -> float:
    return float(np.mean([one(trials, attack, seed) for seed in seeds]))


def compared(
    name: str, repeats: range, trials: int, methods: list[str], done: set[tuple[str, int, str]]
) -> Iterator[dict[str, Any]]:
    """One record for each repetition and method that is not done."""
    scenario = with_fitting_trigger(SETTINGS[name])
    families = [each for each in families_for(scenario, None) if not isinstance(plain(each.attack), SLOW)]
    for repeat in repeats:
        first = 1000 * (repeat + 1)
        seeds, fresh = tuple(range(first, first + SEEDS)), range(first + 500, first + 500 + FRESH)
        judge = Trials(None, scenario, Limits(10**6))
        known: dict[str, list[float]] = {}
        for method in methods:
            if (name, repeat, method) in done:
                continue
            began = time.process_time()
            attack = METHODS[method](Trials(None, scenario, Limits(trials)), families, seeds, repeat)
            if method == "defaults":
                attack = families[attack].own  # type: ignore[call-overload]
            spent = time.process_time() - began
            if repr(attack) not in known:
                known[repr(attack)] = [one(judge, attack, seed) for seed in judge.usable(fresh)]
            harms = known[repr(attack)]
            yield {
                "setting": name,
                "repeat": repeat,
                "method": method,
                "trials": trials,
                "families": len(families),
                "attack": label_of(attack),
                "harm": float(np.mean(harms)),
                "cpu_seconds": round(spent, 1),
            }


def show(path: Path) -> None:
    """The mean harm of each method, and the paired difference of the search, with 95 % intervals by Student's t."""
    from antivenom.auditing.statistics import Interval

    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for name in dict.fromkeys(row["setting"] for row in rows):
        print(f"\n{name}: {next(row for row in rows if row['setting'] == name)['families']} families")
        harms = {(row["method"], row["repeat"]): row["harm"] for row in rows if row["setting"] == name}
        for method in dict.fromkeys(row["method"] for row in rows if row["setting"] == name):
            both = [r for m, r in harms if m == method and ("search", r) in harms]
            own = Interval.of([harms[method, r] for r in both])
            gap = Interval.of([harms["search", r] - harms[method, r] for r in both])
            assert own is not None
            assert gap is not None
            better = sum(harms["search", r] > harms[method, r] for r in both)
            cpu = np.mean([row["cpu_seconds"] for row in rows if row["setting"] == name and row["method"] == method])
            print(
                f"  {method:9} harm {own.mean:.3f}  search minus it {gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
                f"  better in {better} of {len(both)}  {cpu:.0f} CPU-s"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", choices=[*SETTINGS, []], default=[])
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--first", type=int, default=0, help="number of the first repetition")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=[m for m in METHODS if m != "optuna"])
    parser.add_argument("--out", type=Path, default=Path("results.jsonl"))
    parser.add_argument("--show", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    if asked.show is not None:
        show(asked.show)
        return
    lines = asked.out.read_text().splitlines() if asked.out.exists() else []
    done = {(row["setting"], row["repeat"], row["method"]) for row in map(json.loads, lines)}
    for repeat in range(asked.first, asked.first + asked.repeats):
        for name in asked.settings:
            for row in compared(name, range(repeat, repeat + 1), asked.trials, asked.methods, done):
                with asked.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)


if __name__ == "__main__":
    main()
