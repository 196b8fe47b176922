"""The data-poisoning baseline: mislabelled copies of the targets in the malicious agent's own shard."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from antivenom.core.protocols import AgentView
from antivenom.core.registry import agent, require_range
from antivenom.core.threat import Access, Goal
from antivenom.federated.agents.objectives import client_of, each_client
from antivenom.federated.clients import Client


@agent(access=(Access.DATA_INJECTION,), goal=Goal.TARGETED, cite="Bhagoji et al. 2019, arXiv:1811.12470, section 6.1")
class DirtyLabel:
    """Trains honestly on its shard plus copies of the targets labelled as wanted; the update is not boosted.

    The fair comparison for model poisoning: it only touches data. Weakness: averaging over the other agents undoes it;
    the paper finds no effect with up to 1,000 copies.

    Fields:
        copies: of each target.
        noise: half-width of the uniform noise added to each copied feature, in feature units.

    Reference: Bhagoji et al. 2019, arXiv:1811.12470, section 6.1.
    """

    copies: int = 100
    noise: float = 0.0

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "copies", "noise")

    def __call__(self, view: AgentView) -> Tensor:
        def client(member: int) -> Client:
            x, y = view.shards[member]
            streams = view.streams.child("member", member)
            added = view.targets.x.repeat(self.copies, *[1] * (x.dim() - 1))
            if self.noise:
                generator = streams.torch("noise", device=x.device)
                added = added + self.noise * (2 * torch.rand(added.shape, generator=generator, device=x.device) - 1)
            rows = torch.cat([x, added])
            labels = torch.cat([y, view.targets.labels.repeat(self.copies)])
            order = torch.as_tensor(streams.numpy("shuffle").permutation(len(labels)), device=x.device)
            return client_of(view, rows[order], labels[order], streams.child("honest"))

        return each_client(view, client)
