"""Rules that select some of the updates and leave out the others."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import Need, ServerView
from antivenom.core.registry import Derived, require_range
from antivenom.core.threat import HARMS
from antivenom.fast import kernels
from antivenom.federated.aggregation import aggregator, require_min_updates
from antivenom.federated.distances import Gram
from antivenom.federated.needs import layers_of, streams_of


@aggregator(goal=HARMS, cite="Blanchard et al. 2017, NeurIPS 30", reads_all=True)
class Krum:
    """Selects the one update that is closest to its nearest neighbours.

    The score of an update is the sum of its squared distances to the n - f - 2 other updates that are nearest to it. The
    update with the lowest score is the aggregate; of equal scores the first wins. Weakness: the aggregate is one agent's
    update, so that training is slow on uneven shards, and a malicious update near the others is taken whole (alternating
    minimisation with a small boost).

    >>> from antivenom import Krum
    >>> updates = [[1.0, 2.0], [1.1, 2.0], [0.9, 2.1], [1.0, 1.9], [50.0, -50.0]]  # one row per agent
    >>> Krum(f=1)(updates)
    array([1., 2.])

    Fields:
        f: how many malicious agents are assumed; n >= 2f + 3.
        squared: sum squared distances, as in the paper; False sums distances, as in the code of Bhagoji et al.
        kernels_only: compare only weights of two or more dimensions, without biases, as in that code.

    Reference: Blanchard et al. 2017, NeurIPS 30.
    """

    f: int = 1
    squared: bool = True
    kernels_only: bool = False
    fewest: ClassVar[tuple[int, int]] = (2, 3)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")

    @property
    def needs(self) -> frozenset[Need]:
        """The layers, to tell weights from biases."""
        return frozenset({Need.LAYERS}) if self.kernels_only else frozenset()

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        gram = Gram.of(compared(updates, self.kernels_only, view))
        return kernels.combine(self.coefficients(gram, weights, view), updates)

    def coefficients(self, gram: Gram, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        require_min_updates(self, len(gram))
        return chosen(len(gram), ranked(self._scores(gram))[:1])

    def scores(self, updates: Tensor) -> Tensor:
        """(n,) sums of distances to the n-f-2 nearest others."""
        return self._scores(Gram.of(updates))

    def _scores(self, gram: Gram) -> Tensor:
        apart = gram.squared_distances if self.squared else gram.squared_distances.sqrt()
        return nearness(apart, len(gram) - self.f - 2)


@aggregator(goal=HARMS, cite="Blanchard et al. 2017, NeurIPS 30")
class MultiKrum:
    """The mean of the m updates with the lowest Krum scores.

    Weakness: with m = n - f one malicious update that hides among the others is always averaged in; with a smaller m
    honest minorities are lost.

    Fields:
        f: how many malicious agents are assumed; n >= 2f + 3.
        m: how many updates are averaged; None is n - f.

    Reference: Blanchard et al. 2017, NeurIPS 30.
    """

    f: int = 1
    m: int | None = None
    __call__: ClassVar[Derived]
    fewest: ClassVar[tuple[int, int]] = (2, 3)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")
        require_range(self, 1, math.inf, "m")

    def coefficients(self, gram: Gram, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        n = len(gram)
        require_min_updates(self, n)
        m = n - self.f if self.m is None else self.m
        if not 1 <= m <= n:
            raise PluginError(f"m from 1 to n = {n} for MultiKrum", f"{m}", "use m = n - f, or leave m out")
        return chosen(n, ranked(nearness(gram.squared_distances, n - self.f - 2))[:m])


@aggregator(goal=HARMS, cite="El Mhamdi et al. 2018, arXiv:1802.07927", reads_all=True)
class Bulyan:
    """Selects n - 2f updates by Krum, one after another, and takes the mean around the median of the selected ones.

    The second step removes what Krum cannot see: a single extreme coordinate of an update that is near the others on the
    whole. Each Krum step scores the updates that are left. With fewer than f + 3 of them it uses one neighbour, and the
    distances to all others decide between equal scores. Weakness: it needs n >= 4f + 3, and it keeps at most n - 4f values
    of a coordinate, so that training is slow where honest updates differ.

    Fields:
        f: how many malicious agents are assumed; n >= 4f + 3.

    Reference: El Mhamdi, Guerraoui and Rouault 2018, arXiv:1802.07927.
    """

    f: int = 1
    fewest: ClassVar[tuple[int, int]] = (4, 3)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        n = len(updates)
        require_min_updates(self, n)
        rows = self.selected(Gram.of(updates).squared_distances).to(updates.device)
        return kernels.mean_around_median(updates, n - 4 * self.f, rows)

    def selected(self, apart: Tensor) -> Tensor:
        """Numbers of the n - 2f rows, in the order in which they are chosen, from (n, n) squared distances."""
        left = list(range(len(apart)))
        taken: list[int] = []
        while len(taken) < len(apart) - 2 * self.f:
            among = apart[left][:, left]
            scores = nearness(among, max(len(left) - self.f - 2, 1))
            best = _rounded(scores)
            tied = torch.nonzero(best == best.min()).flatten()
            taken.append(left.pop(int(tied[ranked(among.sum(dim=1)[tied])[0]])))
        return torch.tensor(taken)


@aggregator(goal=HARMS, cite="Gupta et al. 2021, arXiv:2008.04699")
class CGE:
    """Comparative gradient elimination: the mean of the n - f updates with the smallest norms.

    Weakness: a malicious update of honest size or smaller is never eliminated, while honest clients whose updates are
    large (rare data) are. The paper adds up what is left; here it is averaged.

    Fields:
        f: how many updates are left out; n >= 2f + 1.

    Reference: Gupta, Liu and Vaidya 2021, arXiv:2008.04699.
    """

    f: int = 1
    __call__: ClassVar[Derived]
    fewest: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")

    def coefficients(self, gram: Gram, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        require_min_updates(self, len(gram))
        return chosen(len(gram), ranked(gram.norms)[: len(gram) - self.f])


@aggregator(goal=HARMS, cite="Shejwalkar and Houmansadr 2021, NDSS")
class DnC:
    """Divide and conquer: leaves out the updates that stand out most along the direction in which all differ most.

    On a random set of coordinates the updates are centred, projected onto their first right singular vector, and the
    c f with the largest squared projections are dropped; what no repetition drops is averaged. Weakness: malicious
    updates that differ from each other spread over many directions and need not stand out in the first.

    Fields:
        f: how many malicious agents are assumed; n >= 2f + 1.
        coordinates: how many are drawn, b in the paper; all if there are fewer.
        repeats: how many times.
        c: filtering factor, so that c f updates are dropped each time.

    Reference: Shejwalkar and Houmansadr 2021, NDSS, algorithm 2.
    """

    f: int = 1
    coordinates: int = 10_000
    repeats: int = 1
    c: float = 1.0
    fewest: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "f")
        require_range(self, 1, math.inf, "coordinates", "repeats")
        require_range(self, 0, math.inf, "c")

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        n, d = updates.shape
        require_min_updates(self, n)
        generator = streams_of(view).torch("coordinates")
        kept = torch.zeros(n, dtype=torch.int64)
        for _ in range(self.repeats):
            columns = torch.randperm(d, generator=generator)[: self.coordinates].to(updates.device)
            scores = outlyingness(Gram.of(updates[:, columns]))
            kept[ranked(scores)[: max(n - int(self.c * self.f), 1)]] += 1
        # Where the repetitions agree on nobody, those whom most of them keep are taken.
        return kernels.combine(chosen(n, torch.nonzero(kept == kept.max()).flatten()), updates)


def outlyingness(gram: Gram) -> Tensor:
    """(n,) squared projections of the centred rows onto their first right singular vector."""
    n = len(gram)
    centring = torch.eye(n, dtype=torch.float64) - 1 / n
    values, vectors = torch.linalg.eigh(centring @ gram.centred @ centring)
    projections: Tensor = values[-1].clamp_min(0) * vectors[:, -1].square()
    return projections


def nearness(apart: Tensor, neighbours: int) -> Tensor:
    """(n,) sums of the distances (n, n) from each row to its nearest others, so many of them."""
    ordered = apart.sort(dim=1).values  # column 0 is the row itself
    return ordered[:, 1 : 1 + neighbours].sum(dim=1)


def ranked(scores: Tensor) -> Tensor:
    """Row numbers by score, lowest first; of equal ones the first row first. Equal means up to rounding errors."""
    return torch.sort(_rounded(scores), stable=True).indices


def _rounded(scores: Tensor) -> Tensor:
    """To nine digits: the same distance, summed in another order, must not win for that."""
    mantissa, exponent = torch.frexp(scores)
    rounded: Tensor = (mantissa * 2**30).round() / 2**30 * torch.exp2(exponent.double())
    return rounded


def chosen(n: int, rows: Tensor) -> Tensor:
    """(n,) coefficients of the mean of these rows."""
    coefficients = torch.zeros(n, dtype=torch.float64)
    coefficients[rows] = 1 / max(len(rows), 1)
    return coefficients


def compared(updates: Tensor, kernels_only: bool, view: ServerView | None) -> Tensor:
    """The columns that distances are taken over."""
    if not kernels_only:
        return updates
    if view is None:
        raise PluginError(
            "a ServerView for kernels_only", "a bare matrix", "use kernels_only=False outside a federation"
        )
    kernels.refuse(updates)  # the other columns are not looked at
    shapes = layers_of(view, updates.shape[1], compared)
    columns = torch.cat([torch.full((shape.numel(),), len(shape) > 1) for shape in shapes])
    return updates[:, columns.to(updates.device)]


def selected(updates: Tensor, aggregate: Tensor) -> Tensor:
    """(n,) bool: the rows that a selecting rule returned unchanged; all False for a rule that mixes."""
    return torch.all(updates == aggregate, dim=1)
