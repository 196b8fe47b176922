"""How the search spends its trials: successive halving over all families, then a local search around the best."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from antivenom.search.space import Candidate, Family, candidate, mean_of
from antivenom.search.trials import Trials

KEPT = 3  # one in so many candidates goes on to the next rung, which has more seeds
EXPLORED = 0.6  # share of the search's trials that explore; the others refine
# The local search moves in the unit cube of a family's fields:
FIRST_STEP, SMALLEST_STEP, LARGEST_STEP = 0.2, 0.01, 0.4
LONGER, SHORTER = 1.5, 0.6  # factors of the step after a success, and after a failure in both directions
DRY = 12  # a local search ends after so many proposals in a row that repeat an earlier attack


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
        families: each is tried with its agent's own values, and those with fields with other values, too.
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
        for each in left:
            for seed in seeds[len(each.harms) : count]:
                if not each.failed:
                    each.harms[seed] = trials.run(each.agent, seed, "explore").harm
        size = _kept(size, least)
        ranked = leaders(left, len(left), of_any_family=True)
        diverse = leaders(left, least)
        left = [*diverse, *(each for each in ranked if each not in diverse)][:size]
    return found


def refine(
    trials: Trials, found: list[Candidate], seeds: Sequence[int], reserve: int, few: int, rng: np.random.Generator
) -> None:
    """Local searches around the best candidates of a few families, in turn; their candidates are added to `found`.

    A local search that has nothing new to try gives way to one in the next best family. All end when only `reserve` trials
    are left, or when an attack does all possible harm.
    """
    waiting = _climbs(trials, found, seeds, reserve)
    climbs = list(itertools.islice(waiting, few))
    proposed = 0
    while climbs and trials.left > reserve and max(each.best.mean for each in climbs) < 1:
        climb = climbs.pop(0)
        proposal = climb.proposed(rng)
        if proposal is None or any(proposal.agent == each.agent for each in found):
            climb.failed()
            climb.dry += 1
        else:
            found.append(proposal)
            first = proposed % len(seeds)  # another seed comes first each time, so that no seed alone decides
            proposed, climb.dry = proposed + 1, 0
            if _is_better(trials, proposal, climb.best, (*seeds[first:], *seeds[:first]), reserve):
                climb.succeeded(proposal)
            else:
                climb.failed()
        climbs += [climb] if climb.dry < DRY else itertools.islice(waiting, 1)


def leaders(found: Sequence[Candidate], number: int, of_any_family: bool = False) -> list[Candidate]:
    """The best candidates without a failed trial, one of each family: those with more seeds first, then by harm."""
    usable = [each for each in found if each.harms and not each.failed]
    best: list[Candidate] = []
    for each in sorted(usable, key=lambda one: (-len(one.harms), -one.mean)):
        if of_any_family or all(each.family is not other.family for other in best):
            best.append(each)
    return best[:number]


def drawn(families: Sequence[Family], number: int, rng: np.random.Generator) -> list[Candidate]:
    """So many different candidates, fewer if the families have no more: each family's own agent, then other values.

    A family with more fields gets more of them, in proportion.
    """
    found = [Candidate(family, family.start, family.agent) for family in families]
    points = [(family, family.points(rng)) for family in families]
    turns = [each for each in points for _ in each[0].fields]
    for family, places in itertools.islice(itertools.cycle(turns), 4 * number):
        if len(found) >= number:
            break
        made = candidate(family, next(places))
        if made is not None and all(made.agent != each.agent for each in found):
            found.append(made)
    return found


def _climbs(trials: Trials, found: list[Candidate], seeds: Sequence[int], reserve: int) -> Iterator[_Climb]:
    """Local searches from the best candidate of each family with fields, the best family first.

    A candidate that was dropped on an earlier rung runs on its missing seeds first.
    """
    begun: list[Family] = []
    while True:
        rest = (each for each in leaders(found, len(found)) if all(each.family is not family for family in begun))
        best = next((each for each in rest if each.family.fields), None)
        if best is None:
            return
        for seed in seeds[len(best.harms) :]:
            if trials.left <= reserve:
                return
            if not best.failed:
                best.harms[seed] = trials.run(best.agent, seed, "refine").harm
        if not best.failed:
            begun.append(best.family)
            yield _Climb(best)


class _Climb:
    """A local search: random directions in the unit cube, each also backwards, with steps that adapt.

    A direction that succeeds is kept. After a failure the opposite is tried, unless the search just came from there; then
    the step gets shorter and another direction is drawn.
    """

    def __init__(self, best: Candidate) -> None:
        self.best, self.step = best, FIRST_STEP
        self.dry = 0  # proposals in a row that were not new
        self._direction: np.ndarray | None = None
        self._turned = False  # whether the way back is known to be worse

    def proposed(self, rng: np.random.Generator) -> Candidate | None:
        """The next candidate; None if the agent refuses its values."""
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


def _is_better(trials: Trials, proposal: Candidate, best: Candidate, seeds: Sequence[int], reserve: int) -> bool:
    """Whether the proposal does more harm on all seeds. It is given up as soon as it is behind on its seeds so far."""
    for seed in seeds:
        if trials.left <= reserve:
            return False
        proposal.harms[seed] = trials.run(proposal.agent, seed, "refine").harm
        if not proposal.mean >= mean_of(best.harms[each] for each in proposal.harms):  # or nan, if it failed
            return False
    return proposal.mean > best.mean


def _kept(number: int, least: int) -> int:
    return min(number, max(least, math.ceil(number / KEPT)))
