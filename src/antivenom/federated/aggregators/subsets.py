"""Rules that average the n - f updates which belong together best; both look for the best of all subsets."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import ServerView
from antivenom.core.registry import Derived, require_range
from antivenom.core.threat import HARMS
from antivenom.federated.aggregation import aggregator, require_min_updates
from antivenom.federated.aggregators.selection import chosen, ranked
from antivenom.federated.distances import Gram

_MOST_SUBSETS = 50_000
_MOST_PRODUCTS = 200_000_000  # of one subset after the other; a few seconds
_AT_ONCE = 4_000_000  # of them in memory
_MOST_BRANCHES = 20_000  # a hostile client can make many near ties; the search must end anyway


@aggregator(goal=HARMS, cite="El Mhamdi et al. 2021, arXiv:2008.00742")
class MDA:
    """Minimum diameter averaging: the mean of the n - f updates whose largest distance is smallest.

    A diameter alone often leaves a choice; then the second largest distance decides, and so on. Leaving f rows out so
    that no long distance remains is a vertex cover, found by branching over at most 2^f cases rather than over all
    subsets; exact unless that takes more than 20,000 steps, which ends with the best found so far. Weakness: malicious
    updates inside the honest diameter are averaged in.

    Fields:
        f: how many updates are left out; n >= 2f + 1.

    Reference: Rousseeuw 1985; El Mhamdi et al. 2021, arXiv:2008.00742.
    """

    f: int = 1
    __call__: ClassVar[Derived]
    fewest: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")

    def coefficients(self, gram: Gram, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        n = len(gram)
        require_min_updates(self, n)
        apart = gram.squared_distances
        first, second = torch.triu_indices(n, n, offset=1)
        longest = ranked(apart[first, second]).flip(0)
        pairs = zip(first[longest].tolist(), second[longest].tolist(), strict=True)
        out = left_out(list(pairs), self.f)
        rest = [i for i in range(n) if i not in out]
        nearest = ranked(apart[rest][:, rest].sum(dim=1))[
            : n - self.f
        ]  # fewer than f are out if the search was cut off
        return chosen(n, torch.tensor(rest)[nearest])


def left_out(pairs: list[tuple[int, int]], f: int) -> set[int]:
    """The f rows without which the longest distance is smallest, then the second longest, and so on; `pairs` longest first."""
    search = _Cover()
    forbidden: list[tuple[int, int]] = []
    out: set[int] = set()
    kept: set[int] = set()
    for pair in pairs:
        # A pair is kept apart if f rows can still be left out so that every pair kept apart loses one of its two.
        # If they cannot, both rows of the pair stay, whatever comes later.
        if kept.issuperset(pair):
            continue
        found = out if not out.isdisjoint(pair) else search.of([*forbidden, pair], f)
        if search.steps > _MOST_BRANCHES:
            break
        if found is None:
            kept.update(pair)
        else:
            forbidden.append(pair)
            out = found
    return out


class _Cover:
    """A search for small vertex covers that counts its steps and gives up at the limit."""

    def __init__(self) -> None:
        self.steps = 0

    def of(self, pairs: list[tuple[int, int]], f: int) -> set[int] | None:
        """At most f rows of which every pair has one, or None."""
        self.steps += 1
        if self.steps > _MOST_BRANCHES:
            return None
        if not pairs:
            return set()
        if f == 0:
            return None
        degree: dict[int, int] = {}
        for row in itertools.chain.from_iterable(pairs):
            degree[row] = degree.get(row, 0) + 1
        worst = max(degree, key=lambda row: degree[row])
        if len(pairs) > f * degree[worst]:
            return None
        rest = self.of([pair for pair in pairs if worst not in pair], f - 1)
        if rest is not None:
            return {worst} | rest
        if degree[worst] > f:  # else all its partners would have to go
            return None
        partners = {row for pair in pairs if worst in pair for row in pair} - {worst}
        rest = self.of([pair for pair in pairs if partners.isdisjoint(pair)], f - len(partners))
        return None if rest is None else partners | rest


@aggregator(goal=HARMS, cite="Allouah et al. 2023, arXiv:2302.04787")
class SMEA:
    """Smallest maximum eigenvalue averaging: the mean of the n - f updates whose covariance has the smallest top eigenvalue.

    Weakness: it looks at every subset, so it serves small n only, and malicious updates inside the honest spread are
    averaged in.

    Fields:
        f: how many updates are left out; n >= 2f + 1, at most 50,000 subsets and 2e8 inner products in all of them.

    Reference: Allouah et al. 2023, arXiv:2302.04787.
    """

    f: int = 1
    __call__: ClassVar[Derived]
    fewest: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")

    def coefficients(self, gram: Gram, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        n = len(gram)
        require_min_updates(self, n)
        number, each = math.comb(n, self.f), (n - self.f) ** 2
        if number > _MOST_SUBSETS or number * each > _MOST_PRODUCTS:
            raise PluginError(
                f"at most {_MOST_SUBSETS} subsets of n - f updates for SMEA, with {_MOST_PRODUCTS} products in them",
                f"{number} with {each} each, for n = {n} and f = {self.f}",
                "use CAF, which needs no subsets",
            )
        subsets = torch.tensor(list(itertools.combinations(range(n), n - self.f)))
        spreads = torch.cat([_spread(gram.centred, part) for part in subsets.split(max(_AT_ONCE // each, 1))])
        return chosen(n, subsets[ranked(spreads)[0]])


def _spread(products: Tensor, subsets: Tensor) -> Tensor:
    """(s,) m times the top eigenvalue of the covariance of each subset (s, m) of the rows with these inner products."""
    m = subsets.shape[1]
    inside = products[subsets[:, :, None], subsets[:, None, :]]
    centring = torch.eye(m, dtype=torch.float64) - 1 / m
    spreads: Tensor = torch.linalg.eigvalsh(centring @ inside @ centring)[:, -1]
    return spreads
