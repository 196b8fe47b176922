"""Min-Max and Min-Sum: as far as possible while no further from the benign updates than they are from each other."""

from __future__ import annotations

import enum

import torch
from torch import Tensor

from antivenom.core.protocols import AgentView
from antivenom.core.registry import agent
from antivenom.core.threat import Goal, Knowledge
from antivenom.federated.agents.knowledge import alike, benign, moments
from antivenom.federated.distances import squared_distances

CITE = "Shejwalkar and Houmansadr 2021, NDSS"


class Direction(enum.StrEnum):
    """Where the update leaves the mean for."""

    UNIT = "unit"
    STD = "std"
    SIGN = "sign"


@agent(goal=Goal.AVAILABILITY, cite=CITE)
class MinMaxDistance:
    """mean + gamma * direction, gamma the largest whose greatest distance to a benign update is no greater than theirs.

    The constraint is a parabola in gamma for each benign update, so the largest gamma is a root, to which the paper's
    bisection converges. Weakness: it assumes a rule that looks at distances; and it is as loud as the oddest honest
    client, so on even shards it is quiet.

    Fields:
        direction: unit (against the mean), std (against the spread of every coordinate) or sign.
        knowledge: own or omniscient; None is what the threat model grants.

    Reference: Shejwalkar and Houmansadr 2021, NDSS, "Manipulating the Byzantine", section IV-B.
    """

    direction: Direction = Direction.UNIT
    knowledge: Knowledge | None = None

    def __call__(self, view: AgentView) -> Tensor:
        return stretched(view, self.direction, self.knowledge, summed=False)


@agent(goal=Goal.AVAILABILITY, cite=CITE)
class MinSumDistance:
    """mean + gamma * direction, gamma the largest whose sum of squared distances to the benign updates is within theirs.

    The limit is the largest such sum of a benign update. All malicious agents send the same. Weakness: the sum is a
    tighter limit than Min-Max, so it passes selecting rules and harms averaging ones less.

    Fields:
        direction: unit (against the mean), std (against the spread of every coordinate) or sign.
        knowledge: own or omniscient; None is what the threat model grants.

    Reference: Shejwalkar and Houmansadr 2021, NDSS, "Manipulating the Byzantine", section IV-B.
    """

    direction: Direction = Direction.UNIT
    knowledge: Knowledge | None = None

    def __call__(self, view: AgentView) -> Tensor:
        return stretched(view, self.direction, self.knowledge, summed=True)


def stretched(view: AgentView, direction: Direction, knowledge: Knowledge | None, summed: bool) -> Tensor:
    """(k, d) the mean of the benign updates, moved as far along the direction as their own distances allow.

    The distances to the benign updates are limited one by one, or, if `summed`, in total.
    """
    known = benign(view, knowledge)
    mean, way = known.mean(dim=0), perturbation(known, direction)
    base, slope, bend = parabolas(known, mean, way)
    apart = squared_distances(known)
    if summed:
        gamma = largest(base.sum()[None], slope.sum()[None], len(known) * bend[None], apart.sum(dim=1).max())
    else:
        gamma = largest(base, slope, bend.expand_as(base), apart.max())
    return alike(view, mean + gamma * way)


def perturbation(known: Tensor, direction: Direction) -> Tensor:
    """(d,) the paper's three: -mean / |mean|, -std, -sign(mean)."""
    mean, spread = moments(known)
    if Direction(direction) is Direction.STD:
        return -spread
    return -torch.sign(mean) if Direction(direction) is Direction.SIGN else -mean / mean.norm().clamp_min(1e-12)


def parabolas(known: Tensor, mean: Tensor, way: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The squared distance from mean + g * way to row i is base[i] + 2 slope[i] g + bend g^2; double precision."""
    apart, way = (mean - known).double(), way.double()
    return apart.square().sum(dim=1), apart @ way, way.square().sum()


def largest(base: Tensor, slope: Tensor, bend: Tensor, limit: Tensor) -> float:
    """The largest g >= 0 at which no parabola is above the limit; 0 without a direction."""
    if not float(bend[0]) > 0:
        return 0.0
    roots = (-slope + (slope.square() + bend * (limit - base)).clamp_min(0).sqrt()) / bend
    return max(float(roots.min()), 0.0)
