"""How the search spends its trials: successive halving over all families, then local searches around the best."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterator, Sequence

import numpy as np

from antivenom.search.guide import proposals
from antivenom.search.space import Candidate, Family, candidate, mean_of
from antivenom.search.trials import Trials

KEPT = 3  # one in so many candidates goes on to the next rung, which has more seeds
EXPLORED = 0.5  # share of the search's trials that explore
GUIDED = 0.6  # share of the others that follow a model of the harm; the last ones go to local searches
AT_A_TIME = 2  # proposals of one model
# A local search moves in the unit cube of a family's fields:
FIRST_STEP, SMALLEST_STEP, LARGEST_STEP = 0.2, 0.01, 0.4
LONGER, SHORTER = 1.5, 0.6  # factors of the step after a success, and after a failure in both directions
DRY = 12  # a local search ends after so many proposals in a row that repeat an earlier attack

Climbing = Generator[tuple[Candidate, int], None, None]  # it yields a candidate and the seed that it is to run on


def rungs(seeds: int) -> list[int]:
    """How many seeds a candidate has run on after each rung.

    >>> rungs(1), rungs(4), rungs(6)
    ([1], [1, 2, 4], [1, 2, 4, 6])
    """
    return [*itertools.takewhile(lambda count: count < seeds, (2**i for i in itertools.count())), seeds]


def cost(number: int, seeds: int, least: int) -> int:
    """The trials that it takes to halve so many candidates down to `least`."""
    total = before = 0
    for count in rungs(seeds):
        total += number * (count - before)
        number, before = _kept(number, least), count
    return total


def explore(
    trials: Trials, families: Sequence[Family], seeds: Sequence[int], reserve: int, least: int, rng: np.random.Generator
) -> list[Candidate]:
    """Successive halving over all families; returns all candidates.

    Args:
        trials: runs them.
        families: each is tried with its attack's own values, and those with fields with other values, too.
        seeds: the seeds of the search.
        reserve: trials that must be left over.
        least: how many candidates reach the last rung at least; they are of as many families, if possible.
        rng: draws the values.
    """
    number, affordable = len(families), EXPLORED * (trials.left - reserve)
    while cost(number + 1, len(seeds), least) <= affordable:
        number += 1
    found = drawn(families, number, rng)
    left, size = found, number
    for count in rungs(len(seeds)):
        run(trials, ((each, seed) for each in left for seed in seeds[len(each.harms) : count]), "explore", reserve)
        size = _kept(size, least)
        ranked = leaders(left, len(left), of_any_family=True)
        diverse = leaders(left, least)
        left = [*diverse, *(each for each in ranked if each not in diverse)][:size]
    return found


def follow(
    trials: Trials,
    found: list[Candidate],
    families: Sequence[Family],
    seeds: Sequence[int],
    reserve: int,
    rng: np.random.Generator,
) -> None:
    """Try what a model of the harm proposes, several candidates at a time; they are added to `found`.

    A proposal runs on one seed after another and is given up when it is behind the best attack on the seeds that both have
    run on. Another seed comes first each time.
    """
    most, turn = int(GUIDED * (trials.left - reserve)), 0
    end = trials.left - most
    while trials.left > end:
        best = next((each for each in leaders(found, 1) if len(each.harms) == len(seeds)), None)
        if best is None or best.mean >= 1:
            return
        new = proposals(found, families, AT_A_TIME, rng)
        if not new:
            return
        found += new
        for i in range(len(seeds)):
            seed = seeds[(turn + i) % len(seeds)]
            if not run(trials, ((each, seed) for each in new), "refine", end):
                return
            new = [each for each in new if each.mean >= mean_of(best.harms[s] for s in each.harms)]
        turn += 1


def run(trials: Trials, asked: Iterator[tuple[Candidate, int]], stage: str, reserve: int) -> bool:
    """Run candidates on seeds, except those of which a trial has failed; False if the budget did not suffice."""
    listed: list[tuple[Candidate, int]] = []

    def attacks() -> Iterator[tuple[object, int]]:
        for each, seed in asked:
            if not each.failed:
                listed.append((each, seed))
                yield each.attack, seed

    done = 0
    for place, attempt in trials.run(attacks(), stage, reserve):
        each, seed = listed[place]
        each.harms[seed] = attempt.harm
        done += 1
    return done == len(listed)


def refine(
    trials: Trials, found: list[Candidate], seeds: Sequence[int], reserve: int, few: int, rng: np.random.Generator
) -> None:
    """Local searches around the best candidates of a few families, side by side; their candidates are added to `found`.

    Each runs one trial at a time. One that has nothing new to try gives way to one in the next best family. All end when
    only `reserve` trials are left, or when an attack does all possible harm.
    """
    begun: list[Family] = []
    active: list[tuple[Climbing, tuple[Candidate, int]]] = []
    while trials.left > reserve and not any(each.mean >= 1 and len(each.harms) == len(seeds) for each in found):
        while len(active) < few and (best := _next(found, begun)) is not None:
            begun.append(best.family)
            climb = _climbing(best, found, seeds, rng, len(begun))
            first = next(climb, None)
            active += [] if first is None else [(climb, first)]
        if not active or not run(trials, (asked for _, asked in active), "refine", reserve):
            return
        going = [(climb, next(climb, None)) for climb, _ in active]
        active = [(climb, asked) for climb, asked in going if asked is not None]


def leaders(found: Sequence[Candidate], number: int, of_any_family: bool = False) -> list[Candidate]:
    """The best candidates without a failed trial, one of each family: those with more seeds first, then by harm."""
    usable = [each for each in found if each.harms and not each.failed]
    best: list[Candidate] = []
    for each in sorted(usable, key=lambda one: (-len(one.harms), -one.mean)):
        if of_any_family or all(each.family is not other.family for other in best):
            best.append(each)
    return best[:number]


def drawn(families: Sequence[Family], number: int, rng: np.random.Generator) -> list[Candidate]:
    """So many different candidates, fewer if the families have no more: each family's own attack, then other values.

    A family with more fields gets more of them, in proportion.
    """
    found = [Candidate(family, family.start, family.own) for family in families]
    points = [(family, family.points(rng)) for family in families]
    turns = [each for each in points for _ in each[0].fields]
    for family, places in itertools.islice(itertools.cycle(turns), 4 * number):
        if len(found) >= number:
            break
        made = candidate(family, next(places))
        if made is not None and all(made.attack != each.attack for each in found):
            found.append(made)
    return found


def _next(found: Sequence[Candidate], begun: Sequence[Family]) -> Candidate | None:
    """The best candidate of a family with fields around which no local search has begun."""
    rest = (each for each in leaders(found, len(found)) if all(each.family is not family for family in begun))
    return next((each for each in rest if each.family.fields), None)


def _climbing(
    best: Candidate, found: list[Candidate], seeds: Sequence[int], rng: np.random.Generator, turn: int
) -> Climbing:
    """A local search around a candidate, which runs on its missing seeds first.

    A change is given up as soon as it is behind the best on the seeds that both have run on. Another seed comes first each
    time, so that no seed alone decides.
    """
    for seed in seeds[len(best.harms) :]:
        if not best.failed:
            yield best, seed
    if best.failed:
        return
    climb = _Climb(best)
    while climb.dry < DRY:
        proposal = climb.proposed(rng)
        if proposal is None or any(proposal.attack == each.attack for each in found):
            climb.failed()
            climb.dry += 1
            continue
        found.append(proposal)
        climb.dry, turn = 0, turn + 1
        for i in range(len(seeds)):
            yield proposal, seeds[(turn + i) % len(seeds)]
            if not proposal.mean >= mean_of(climb.best.harms[each] for each in proposal.harms):  # or nan, if it failed
                break
        if len(proposal.harms) == len(seeds) and proposal.mean > climb.best.mean:
            climb.succeeded(proposal)
        else:
            climb.failed()


class _Climb:
    """Random directions in the unit cube, each also backwards, with steps that adapt.

    A direction that succeeds is kept. After a failure the opposite is tried, unless the search just came from there; then
    the step gets shorter and another direction is drawn.
    """

    def __init__(self, best: Candidate) -> None:
        self.best, self.step = best, FIRST_STEP
        self.dry = 0  # proposals in a row that were not new
        self._direction: np.ndarray | None = None
        self._turned = False  # whether the way back is known to be worse

    def proposed(self, rng: np.random.Generator) -> Candidate | None:
        """The next candidate; None if the attack refuses its values."""
        if self._direction is None:
            drawn = rng.standard_normal(len(self.best.point))
            self._direction = drawn / np.linalg.norm(drawn)
        point = np.clip(np.array(self.best.point) + self.step * self._direction, 0.0, 1.0)
        return candidate(self.best.family, tuple(point.tolist()))

    def succeeded(self, proposal: Candidate) -> None:
        """Go on from the proposal in the same direction."""
        self.best, self.step, self._turned = proposal, min(self.step * LONGER, LARGEST_STEP), True

    def failed(self) -> None:
        """Turn round, or draw another direction with a shorter step."""
        if self._turned or self._direction is None:
            self._direction, self._turned, self.step = None, False, max(self.step * SHORTER, SMALLEST_STEP)
        else:
            self._direction, self._turned = -self._direction, True


def _kept(number: int, least: int) -> int:
    return min(number, max(least, math.ceil(number / KEPT)))
