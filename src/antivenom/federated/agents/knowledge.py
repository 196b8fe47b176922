"""What an agent knows of the benign updates: the updates themselves, or an estimate from its own rows."""

from __future__ import annotations

import torch
from torch import Tensor

from antivenom.core.protocols import AgentView
from antivenom.core.threat import Knowledge
from antivenom.federated.agents.objectives import client_of
from antivenom.federated.clients import trained

RESAMPLES = 3  # of a lone agent: a spread needs more than one update


def benign(view: AgentView, knowledge: Knowledge | None = None) -> Tensor:
    """(b, d) this round's benign updates, or estimates of them.

    `knowledge` None takes what the threat model grants. OMNISCIENT reads the benign updates; in a round without benign
    agents it falls back on the estimates.

    Raises:
        ThreatError: OMNISCIENT is asked for and not granted.
    """
    if Knowledge(view.knowledge if knowledge is None else knowledge) is Knowledge.OMNISCIENT:
        updates = view.benign_updates
        if len(updates):
            return updates
    return estimated(view)


def estimated(view: AgentView) -> Tensor:
    """(b, d) honest updates of the own shards; a lone agent also trains on bootstrap resamples of its rows."""
    own = view.all_honest()
    if len(own) > 1:
        return own
    x, y = view.shards[0]
    more = []
    for count in range(RESAMPLES):
        streams = view.streams.child("resample", count)
        rows = torch.as_tensor(streams.numpy("rows").integers(0, max(len(y), 1), size=len(y)), device=x.device)
        more.append(client_of(view, x[rows], y[rows], streams))
    return torch.cat([own, trained(more) - view.start])


def crowd(view: AgentView, knowledge: Knowledge | None = None) -> Tensor:
    """(b, d) as many benign updates as the round has; estimates are filled up with draws from their mean and spread."""
    known = benign(view, knowledge)
    number = (view.num_agents if view.num_chosen is None else view.num_chosen) - len(view.shards)
    if number <= len(known):
        return known
    mean, spread = moments(known)
    generator = view.streams.torch("crowd", device=known.device)
    noise = torch.randn(
        number - len(known), known.shape[1], generator=generator, device=known.device, dtype=known.dtype
    )
    return torch.cat([known, mean + spread * noise])


def moments(updates: Tensor) -> tuple[Tensor, Tensor]:
    """(d,) mean and (d,) standard deviation (n - 1 in the denominator; 0 for one update) of every coordinate."""
    mean = updates.mean(dim=0)
    return mean, updates.std(dim=0) if len(updates) > 1 else torch.zeros_like(mean)


def alike(view: AgentView, update: Tensor) -> Tensor:
    """(k, d): every agent sends this update (d,)."""
    return update.repeat(len(view.shards), 1)
