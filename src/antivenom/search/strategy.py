"""How the search spends its trials: every family once, then where a model of the harm expects to learn most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from antivenom.search.guide import Guide, guide, snapped
from antivenom.search.space import Candidate, Family
from antivenom.search.trials import Trials

MANY = 30  # first trials and proposals, for each of which one more trial is proposed at a time
DECIDING = 0.25  # share of the trials after the first ones that decide between attacks that were tried


def cost(number: int, seeds: int, least: int) -> int:
    """The fewest trials of a search: each family on one seed, and the finalists on the others.

    >>> cost(number=9, seeds=4, least=2)
    15
    """
    return number + least * (seeds - 1)


def searched(
    trials: Trials, families: Sequence[Family], seeds: Sequence[int], reserve: int, least: int, rng: np.random.Generator
) -> list[Candidate]:
    """Search, and return the finalists, each of another family, the most harmful first.

    Args:
        trials: runs them.
        families: each is tried with its attack's own values first.
        seeds: the seeds of the search. The first trials of attacks take them in turn.
        reserve: trials that must be left over.
        least: how many finalists there are, if possible. They run on all seeds.
        rng: draws the values.
    """
    found = [Candidate(family, snapped(family, family.start), family.own) for family in families]
    run(trials, ((each, seeds[i % len(seeds)]) for i, each in enumerate(found)), "explore", reserve)
    deciding = reserve + int(DECIDING * (trials.left - reserve))
    known, turn = guide(families, found), len(found)
    while known is not None and trials.left > reserve:
        finalists = leaders(known, least)
        owed = [each for each in finalists if len(each.harms) < len(seeds)]
        new = owed[:1]
        if finalists[0].mean < 1:
            spare = trials.left - reserve - sum(len(seeds) - len(each.harms) for each in owed)
            number = min(max(trials.limits.jobs, turn // MANY, 1), spare)
            if spare > 0 and (trials.left > deciding or finalists[0] not in owed):

                def price(each: Candidate, turn: int = turn) -> float:
                    return trials.price(each.attack, _next_seed(trials, each, seeds, turn))

                new = known.proposals(number, len(seeds), price, rng, trials.left > deciding)
                new = new or known.proposals(number, len(seeds), price, rng) or owed[:1]
        asked = [(each, _next_seed(trials, each, seeds, turn + i)) for i, each in enumerate(new)]
        found += [each for each in new if each not in found]
        turn += len(new)
        if not new or not run(trials, asked, "refine", reserve):
            break
        known = guide(families, found, known)
    known = guide(families, found, known)
    return [] if known is None else leaders(known, least, len(seeds))


def leaders(known: Guide, number: int, seeds: int = 0) -> list[Candidate]:
    """The best candidates by the model's mean, one of each family; those that ran on so many seeds come first."""
    best: list[Candidate] = []
    for each in sorted(known.ranked(), key=lambda one: len(one.harms) < seeds):
        if all(each.family is not other.family for other in best):
            best.append(each)
    return best[:number]


def run(trials: Trials, asked: Iterable[tuple[Candidate, int]], stage: str, reserve: int) -> bool:
    """Run candidates on seeds; False if the budget did not suffice."""
    listed = list(asked)
    done = 0
    for place, attempt in trials.run([(each.attack, seed) for each, seed in listed], stage, reserve):
        each, seed = listed[place]
        each.harms[seed] = attempt.harm
        done += 1
    return done == len(listed)


def _next_seed(trials: Trials, each: Candidate, seeds: Sequence[int], turn: int) -> int:
    """The seed of the candidate's next trial: one with a clean twin if possible, and another one first each time."""
    turned = [seeds[(turn + i) % len(seeds)] for i in range(len(seeds))]
    return min(
        (s for s in turned if s not in each.harms), key=lambda s: trials.price(each.attack, s), default=turned[0]
    )
