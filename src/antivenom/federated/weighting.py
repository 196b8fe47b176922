"""The weights of a weighted mean of updates: who counts, and for how much. Every mean in a federation takes them from here.

FedAvg        a_i = m_i / sum of m_j over the clients that were chosen and kept; the a_i sum to 1
fixed         a_i = 1/K, where K is the size of the federation; the a_i sum to (clients chosen and kept) / K
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import torch
from torch import Tensor

from antivenom.core.errors import ScenarioError
from antivenom.core.protocols import ServerView
from antivenom.fast import kernels


class Weighting(enum.StrEnum):
    """How a client's share a_i in the weighted mean is computed.

    UNIFORM and EXAMPLES are federated averaging (McMahan et al. 2017): the shares of the clients that were chosen and
    kept sum to 1. FIXED is 1/K as in Bhagoji et al. 2019: a client that was not chosen, or was left out, counts as one
    whose update is zero, so that the model moves less in a round with fewer clients.
    """

    UNIFORM = "uniform"
    EXAMPLES = "examples"
    FIXED = "fixed"


def shares_of(claims: Tensor, weighting: Weighting, num_agents: int | None = None) -> Tensor:
    """(n,) the shares a_i of n clients that claim these numbers of examples (n,).

    Only EXAMPLES looks at the claims; the shares are all zero there if nobody claims anything. Only FIXED needs
    `num_agents`, K.
    """
    weighting = Weighting(weighting)
    if weighting is Weighting.FIXED:
        return torch.full((len(claims),), 1.0 / required(num_agents))
    if weighting is Weighting.UNIFORM:
        return torch.full((len(claims),), 1.0 / max(len(claims), 1))
    return by_claims(claims)


def total_of(n: int, weighting: Weighting, num_agents: int | None = None) -> float:
    """The sum of the shares of n clients: 1, or n/K with fixed shares."""
    return n / required(num_agents) if Weighting(weighting) is Weighting.FIXED else 1.0


def required(num_agents: int | None) -> int:
    """K, which fixed shares need.

    Raises:
        ScenarioError: it is missing, or below 1.
    """
    if num_agents is None or num_agents < 1:
        raise ScenarioError("num_agents >= 1 for fixed weights", f"{num_agents}", "give the size of the federation")
    return num_agents


def by_claims(claims: Tensor) -> Tensor:
    """(n,) shares in proportion to the claims (n,), which sum to 1; all zero if nobody claims anything."""
    shares = claims.double()  # claims may sum to more than single precision holds
    if not len(shares):
        return shares.float()
    shares = shares / shares.max().clamp(min=1)
    return (shares / shares.sum().clamp(min=1e-300)).float()


def capped_claims(claims: Sequence[float], factor: float = 3.0, share: float = 0.5) -> list[float]:
    """The n claims > 0, none above `factor` times the median claim, and none above `share` of the sum of what is left.

    Both bounds are relative to the other clients: a fixed bound far above what honest clients claim bounds nobody. The
    median is the lower one for an even n, so that of two clients the smaller claim counts. n clients cannot all hold less
    than 1/n, so a smaller share makes all claims equal.

    >>> capped_claims([600.0, 500.0, 700.0, 1e9])
    [600.0, 500.0, 700.0, 1800.0]
    >>> capped_claims([10.0, 1.0, 1.0, 1.0], factor=100)
    [3.0, 1.0, 1.0, 1.0]
    """
    if not claims:
        return []
    ordered = sorted(claims)
    cap = factor * ordered[(len(ordered) - 1) // 2]
    bounded = sorted((min(each, cap) for each in claims), reverse=True)
    if bounded[0] > share * sum(bounded):
        # with the k largest at a cap c, and the rest below it, c is `share` of k c + rest
        for k in range(1, len(bounded) + 1):
            rest = sum(bounded[k:])
            c = share * rest / (1 - share * k) if share * k < 1 else bounded[-1]
            if k == len(bounded) or c >= bounded[k]:
                cap = max(c, bounded[-1])
                break
    return [min(each, cap) for each in claims]


def scaled(weights: Tensor, total: float = 1.0) -> Tensor:
    """(n,) weights in the same proportions that sum to `total`; unchanged if they do so already, up to rounding errors.

    Weights that are all zero stay zero: nobody has a share in the mean.
    """
    largest = weights.double().max() if len(weights) else weights.double().sum()
    if not largest > 0:
        return weights
    parts = weights.double() / largest  # the sum of huge weights would overflow
    held = parts.sum() * largest
    if abs(held - total) <= 1e-6 * total:
        return weights
    return (parts / parts.sum() * total).to(weights)


def averaged(updates: Tensor, weights: Tensor | None, view: ServerView | None = None) -> Tensor:
    """(d,) the weighted mean of the updates (n, d); the plain mean without weights, zero if all weights are zero.

    Weights count in proportion, whatever their sum. Inside a federation with fixed shares the mean is multiplied by their
    sum, `view.total`.
    """
    total = 1.0 if view is None else view.total
    shares = updates.new_full((len(updates),), total / len(updates)) if weights is None else scaled(weights, total)
    return kernels.combine(shares, updates)
