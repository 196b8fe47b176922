"""Directed deviation: push every parameter against the way it would go, as far as the rule in use lets it pass."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import AgentView
from antivenom.core.registry import agent, require_range
from antivenom.core.threat import Goal, Knowledge
from antivenom.federated.agents.knowledge import alike, benign, moments
from antivenom.federated.aggregators import Krum, Median
from antivenom.federated.distances import squared_distances

CITE = "Fang et al. 2020, arXiv:1911.11815"


@agent(goal=Goal.AVAILABILITY, cite=CITE)
class FangKrum:
    """Sends -lambda * s, s the signs of the honest global change, with the largest lambda at which Krum picks it.

    lambda starts at the paper's upper bound and is halved. The other malicious agents send near copies as supporters.
    With own knowledge the attacker tries it on its honest updates, with more and more supporters. Weakness: tailored to
    Krum; where benign updates differ little, the lambda that passes is small.

    Fields:
        smallest: lambda below which the search ends.
        spread: largest L2 distance of a supporter from the first update (epsilon in the paper).
        knowledge: own (partial) or omniscient (full); None is what the threat model grants.

    Reference: Fang et al. 2020, USENIX Security, arXiv:1911.11815, section 3.3.
    """

    smallest: float = 1e-5
    spread: float = 0.01
    knowledge: Knowledge | None = None

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "smallest", "spread")

    def __call__(self, view: AgentView) -> Tensor:
        known, k = benign(view, self.knowledge), len(view.shards)
        full = Knowledge(view.knowledge if self.knowledge is None else self.knowledge) is Knowledge.OMNISCIENT
        change = known.mean(dim=0)
        if full and len(known) >= 3:
            change = Krum(f=min(k, (len(known) - 3) // 2))(known)
        against = -signs(change)
        limit, crafted = self.upper_bound(known, k), known[0]
        for supporters in (k,) if full else range(1, k + 1):
            scale, chosen = limit, False
            while scale >= self.smallest and not chosen:
                crafted = scale * against
                chosen = picked(known, crafted, supporters, k)
                scale /= 2
            if chosen:
                break
        return self._supported(view, crafted)

    @staticmethod
    def upper_bound(known: Tensor, k: int) -> float:
        """The paper's bound on lambda for benign updates (b, d) and k malicious agents, in the unit of an update."""
        b, d = known.shape
        nearest = squared_distances(known).sort(dim=1).values[:, 1 : max(b - 1, 2)]  # m - c - 2 = b - 2 others
        closest = float(nearest.sum(dim=1).min()) if b > 1 else 0.0
        reach = float(known.norm(dim=1).max())  # the distance to the parameters that were sent out
        return math.sqrt(closest / (max(b - k - 1, 1) * d)) + reach / math.sqrt(d)

    def _supported(self, view: AgentView, crafted: Tensor) -> Tensor:
        sent = alike(view, crafted)
        generator = view.streams.torch("supporters", device=crafted.device)
        noise = torch.randn(sent.shape, generator=generator, device=sent.device, dtype=sent.dtype)
        lengths = self.spread * torch.rand(len(sent), 1, generator=generator, device=sent.device, dtype=sent.dtype)
        noise = noise / noise.norm(dim=1, keepdim=True).clamp_min(1e-12) * lengths
        noise[0] = 0
        supported: Tensor = sent + noise
        return supported


def picked(known: Tensor, crafted: Tensor, copies: int, f: int) -> bool:
    """Whether Krum takes the crafted update (d,) among the known ones and its copies; f is lowered if n is too small."""
    rows = torch.cat([known, crafted.repeat(copies, 1)])
    return len(rows) >= 3 and torch.equal(Krum(f=min(f, (len(rows) - 3) // 2))(rows), crafted)


def signs(change: Tensor) -> Tensor:
    """(d,) of 1 and -1; 0 counts as 1."""
    return torch.where(change < 0, -torch.ones_like(change), torch.ones_like(change))


@agent(goal=Goal.AVAILABILITY, cite=CITE)
class FangTrimmedMean:
    """Draws every parameter just beyond the benign extreme on the side opposite to the honest global change.

    With full knowledge each lies between the extreme w and b times w (or w / b); with own knowledge from 3 to 4 standard
    deviations beyond the mean of the own honest models. Weakness: every coordinate is an extreme, so the whole update is
    far from everybody, and selecting rules drop it.

    Fields:
        b: how far beyond the extreme, as a factor above 1; 2 in the paper.
        of_models: take the extremes of the parameters, as in the paper; else of the updates, as most code does.
        knowledge: own (partial) or omniscient (full); None is what the threat model grants.

    Reference: Fang et al. 2020, USENIX Security, arXiv:1911.11815, section 3.4.
    """

    b: float = 2.0
    of_models: bool = True
    knowledge: Knowledge | None = None

    def __post_init__(self) -> None:
        _check_factor(self.b)

    def __call__(self, view: AgentView) -> Tensor:
        return _beyond(self, view, lambda known: known.mean(dim=0))


@agent(goal=Goal.AVAILABILITY, cite=CITE)
class FangMedian:
    """The same draws as FangTrimmedMean, with the direction that the coordinate-wise median would take.

    Weakness: as there; and the median moves only to the next benign value in each coordinate.

    Fields:
        b: how far beyond the extreme, as a factor above 1; 2 in the paper.
        of_models: take the extremes of the parameters, as in the paper; else of the updates, as most code does.
        knowledge: own (partial) or omniscient (full); None is what the threat model grants.

    Reference: Fang et al. 2020, USENIX Security, arXiv:1911.11815, section 3.4.
    """

    b: float = 2.0
    of_models: bool = True
    knowledge: Knowledge | None = None

    def __post_init__(self) -> None:
        _check_factor(self.b)

    def __call__(self, view: AgentView) -> Tensor:
        return _beyond(self, view, Median())


def _check_factor(b: float) -> None:
    if not 1 < b < math.inf:
        raise PluginError("b > 1", f"{b}", "2 is the paper's")


def _beyond(agent: FangTrimmedMean | FangMedian, view: AgentView, rule: Callable[[Tensor], Tensor]) -> Tensor:
    """(k, d) draws, one set per malicious agent, in the intervals of the paper."""
    known = benign(view, agent.knowledge)
    full = Knowledge(view.knowledge if agent.knowledge is None else agent.knowledge) is Knowledge.OMNISCIENT
    up = rule(known) >= 0
    origin = view.start if agent.of_models else torch.zeros_like(view.start)
    low, high = full_interval(origin + known, up, agent.b) if full else partial_interval(origin + known, up)
    generator = view.streams.torch("draws", device=known.device)
    share = torch.rand(len(view.shards), known.shape[1], generator=generator, device=known.device, dtype=known.dtype)
    return low + share * (high - low) - origin


def full_interval(rows: Tensor, up: Tensor, b: float) -> tuple[Tensor, Tensor]:
    """(d,) ends of the interval beyond the smallest of the rows where the honest change goes up, else the largest."""
    smallest, largest = rows.min(dim=0).values, rows.max(dim=0).values
    below = torch.where(smallest > 0, smallest / b, smallest * b)
    above = torch.where(largest > 0, largest * b, largest / b)
    return torch.where(up, below, largest), torch.where(up, smallest, above)


def partial_interval(rows: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """(d,) ends of the interval from 3 to 4 standard deviations beyond the mean of the rows."""
    mean, spread = moments(rows)
    return torch.where(up, mean - 4 * spread, mean + 3 * spread), torch.where(up, mean - 3 * spread, mean + 4 * spread)
