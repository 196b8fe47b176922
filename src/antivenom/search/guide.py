"""Which trial is worth most: the knowledge gradient under a model of the harm.

Reference: Frazier, Powell and Dayanik 2009, "The Knowledge-Gradient Policy for Correlated Normal Beliefs", INFORMS Journal on
Computing 21.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from antivenom.search.space import Candidate, Choices, Family, Point, candidate
from antivenom.search.surrogate import Layout, Row, Surrogate, learned

POOL = 200  # random points, among which the model chooses
PARENTS, CHILDREN = 6, 12  # the best candidates, and the changes of each that the model chooses among
SMALLEST, LARGEST = -2.0, -0.5  # decimal logarithms of the standard deviation of a change of all fields
PRICED = 8  # of the most valuable trials, which are compared by their price
MOST = 500  # trials that the model learns from: half of them those of the best attacks, the others the latest
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(12)

_Place = tuple[Family, Point, Candidate | None]  # with the candidate that was tried there, if any
Price = Callable[[Candidate], float]  # trials that the next trial of a candidate costs, its clean twin included


@dataclass(frozen=True, eq=False)
class Guide:
    """A model of the harm and what it was learned from.

    Fields:
        model: the model.
        known: the candidates without a failed trial.
        found: all candidates.
    """

    model: Surrogate
    known: tuple[Candidate, ...]
    found: tuple[Candidate, ...]

    def ranked(self) -> list[Candidate]:
        """The known candidates, the most harmful first, by the model's mean."""
        mean, _ = self.model.posterior([_row(self.model.layout, each) for each in self.known])
        return [self.known[i] for i in np.argsort(-mean, kind="stable")]

    def proposals(
        self, number: int, seeds: int, price: Price, rng: np.random.Generator, fresh: bool = True
    ) -> list[Candidate]:
        """The candidates whose next trials are worth most for their price; there may be fewer.

        A later one counts on the earlier ones being run, with the harm that the model expects.

        Args:
            number: how many.
            seeds: the number of seeds; candidates that ran on all of them are not proposed.
            price: what a trial costs.
            rng: draws new attacks.
            fresh: whether attacks that were not tried may be proposed, too.
        """
        pool: list[_Place] = [(each.family, each.point, each) for each in self.known if len(each.harms) < seeds]
        pool += [(family, point, None) for family, point in (self._drawn(rng) if fresh else ())]
        if not pool:
            return []
        layout = self.model.layout
        mean, cov = self.model.posterior([(layout.number(family), point) for family, point, _ in pool])
        made: list[Candidate] = []
        for _ in range(number):
            gains = knowledge_gradient(mean, cov, self.model.noise)
            order = np.argsort(-gains, kind="stable").tolist()
            fitting = ((i, each) for i in order if (each := self._made(pool[i], made)) is not None)
            best = max(
                itertools.islice(fitting, PRICED), key=lambda pair: gains[pair[0]] / price(pair[1]), default=None
            )
            if best is None:
                break
            place, each = best
            made.append(each)
            cov = cov - np.outer(cov[:, place], cov[place]) / (cov[place, place] + self.model.noise)
        return made

    def _made(self, place: _Place, others: Sequence[Candidate]) -> Candidate | None:
        """The candidate at a place; None if it is among the others, or if the attack refuses the values or was tried."""
        family, point, known = place
        if known is not None:
            return None if _among(known, others) else known
        made = candidate(family, point)
        return None if made is None or any(made.attack == each.attack for each in (*self.found, *others)) else made

    def _drawn(self, rng: np.random.Generator) -> list[tuple[Family, Point]]:
        """Places of new candidates: random ones of all families, and changes of the best."""
        layout = self.model.layout
        working = {id(each.family) for each in self.known}
        broken = {id(each.family) for each in self.found if each.failed} - working
        turns = [family for family in layout.families for _ in family.fields if id(family) not in broken]
        drawn: list[tuple[Family, Point]] = []
        for i in rng.integers(len(turns), size=POOL).tolist() if turns else ():
            drawn.append((turns[i], tuple(rng.random(len(turns[i].fields)).tolist())))
        for parent in self.ranked()[:PARENTS]:
            if parent.family.fields:
                drawn += [(parent.family, _changed(parent.point, rng)) for _ in range(CHILDREN)]
        taken = {(id(each.family), each.point) for each in self.found}
        new = {(id(family), point := snapped(family, free)): (family, point) for family, free in drawn}
        return [place for key, place in new.items() if key not in taken]


def guide(families: Sequence[Family], found: Sequence[Candidate], before: Guide | None = None) -> Guide | None:
    """What the trials so far have taught; None without a trial that did not fail."""
    known = tuple(each for each in found if each.harms and not each.failed)
    if not known:
        return None
    layout = Layout(tuple(families)) if before is None else before.model.layout
    trials = [(_row(layout, each), seed, harm) for each in _chosen(known) for seed, harm in each.harms.items()]
    rows, seeds, harms = zip(*trials, strict=True)
    model = learned(layout, rows, seeds, harms, None if before is None else before.model)
    return Guide(model, known, tuple(found))


def knowledge_gradient(mean: np.ndarray, cov: np.ndarray, noise: float) -> np.ndarray:
    """By how much one more trial of each attack is expected to raise the largest posterior mean of all.

    Args:
        mean, cov: mean and covariance of the attacks' harms.
        noise: variance of a trial.
    """
    changes = cov / np.sqrt(
        np.maximum(np.diag(cov), 0.0) + noise
    )  # [i, j]: of the mean of i, if j deviates by one unit
    largest = [(mean[:, None] + changes * node).max(axis=0) for node in NODES]
    return np.asarray(np.average(largest, axis=0, weights=WEIGHTS) - mean.max())


def snapped(family: Family, point: Point) -> Point:
    """The point of the same attack at which a choice or a whole number has the middle of its part of the interval."""
    axes = zip(family.fields.values(), point, strict=True)
    return tuple(
        axis.place(axis.at(place)) if isinstance(axis, Choices) or axis.whole else place for axis, place in axes
    )


def _changed(point: Point, rng: np.random.Generator) -> Point:
    """The point with one field drawn anew, or with a change of all fields."""
    new = np.array(point)
    if rng.random() < 0.5:
        new[rng.integers(len(new))] = rng.random()
    else:
        new = np.clip(new + 10 ** rng.uniform(SMALLEST, LARGEST) * rng.standard_normal(len(new)), 0.0, 1.0)
    return tuple(new.tolist())


def _chosen(known: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that the model learns from."""
    if sum(len(each.harms) for each in known) <= MOST:
        return list(known)
    best = _first(sorted(known, key=lambda each: -each.mean), MOST // 2)
    return [*best, *_first([each for each in reversed(known) if not _among(each, best)], MOST - MOST // 2)]


def _first(ordered: Sequence[Candidate], most: int) -> list[Candidate]:
    """The first candidates with at most so many trials."""
    totals = np.cumsum([len(each.harms) for each in ordered])
    return [each for each, total in zip(ordered, totals, strict=True) if total <= most]


def _among(each: Candidate, others: Sequence[Candidate]) -> bool:
    return any(each is other for other in others)


def _row(layout: Layout, each: Candidate) -> Row:
    return layout.number(each.family), each.point
