"""Rules that rely on a trusted update, or on the history of the clients."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import Need, ServerView
from antivenom.core.registry import require_range
from antivenom.core.threat import HARMS
from antivenom.fast import kernels
from antivenom.federated.aggregation import aggregator, require_min_updates
from antivenom.federated.aggregators.selection import chosen, ranked
from antivenom.federated.clients import Client, trained
from antivenom.federated.distances import Gram
from antivenom.federated.needs import network_of
from antivenom.models.training import Training


@aggregator(goal=HARMS, cite="Cao et al. 2021, arXiv:2012.13995")
class FLTrust:
    """Weights each update by its cosine with the server's own update, and scales it to the length of that update.

    The server trains on its root rows as a client does. An update with a negative cosine gets weight 0, and a long update
    counts no more than a short one of the same direction. Weakness: it needs honest root rows from the clients'
    distribution, and a malicious update with a positive cosine keeps some weight.

    Reference: Cao et al. 2021, NDSS, arXiv:2012.13995.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.NETWORK, Need.ROOT_ROWS})

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        own = own_update(view, self).to(updates).double()
        length = own.norm()
        norms = kernels.norms(updates)
        norms = norms.where(norms > 0, torch.inf)
        trust = (torch.stack([row.double() @ own for row in updates]) / norms).clamp_min(0)  # cosines, times the length
        if trust.sum() <= 0:
            return torch.zeros_like(updates[0])
        return kernels.combine(trust / trust.sum() * length / norms, updates)


@aggregator(goal=HARMS, cite="Farhadkhani et al. 2023, arXiv:2209.10931")
class MoNNA:
    """The mean of the n - f updates that are nearest to a trusted one.

    The rule was made for peers without a server, each of which trusts its own update. A server trusts the update that it
    trains on its root rows. Weakness: the result depends on the trusted update alone, and malicious updates that are
    nearer to it than honest ones are averaged in.

    Fields:
        f: how many updates are left out; n >= 2f + 1.
        trusted: number of the trusted row; None trusts the server's own update from its root rows.

    Reference: Farhadkhani et al. 2023, ICML, arXiv:2209.10931.
    """

    f: int = 1
    trusted: int | None = None
    fewest: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "trusted")
        require_range(self, 0, math.inf, "f")

    @property
    def needs(self) -> frozenset[Need]:
        """Nothing where a row is trusted."""
        return frozenset({Need.NETWORK, Need.ROOT_ROWS}) if self.trusted is None else frozenset()

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        n = len(updates)
        require_min_updates(self, n)
        if self.trusted is None:
            centre = own_update(view, self).to(updates)
        elif 0 <= self.trusted < n:
            centre = updates[self.trusted]
        else:
            raise PluginError(f"trusted from 0 to {n - 1} for MoNNA", f"{self.trusted}", "name a row that exists")
        apart = torch.stack([(row.double() - centre).norm() for row in updates]).cpu()
        return kernels.combine(chosen(n, ranked(apart)[: n - self.f]), updates)


@aggregator(goal=("targeted", "backdoor"), cite="Fung et al. 2020, arXiv:1808.04866")
class FoolsGold:
    """Gives little weight to clients whose updates, added up over the rounds, point in the same direction as another's.

    Sybils that share a goal are more alike than honest clients with different data. Honest clients that resemble a
    sybil are pardoned; a logit spreads the weights. Weakness: blind to a single attacker, it punishes honest clients
    with equal data (IID shards), and it keeps a vector of d numbers for every client.

    Fields:
        confidence: what is added to the logit.

    Reference: Fung, Yoon and Beschastnikh 2020, RAID, arXiv:1808.04866, algorithm 1.
    """

    confidence: float = 0.5
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IDS, Need.PAST})

    def __post_init__(self) -> None:
        require_range(self, -math.inf, math.inf, "confidence")

    def step(
        self, updates: Tensor, weights: Tensor | None, view: ServerView | None, state: dict[int, Tensor] | None
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """The state is every client's sum of updates so far. Weights w_i count as w_i / n, as the paper's sum of steps."""
        n = len(updates)
        known = view is not None and len(view.agents) == n
        names = view.agents if view is not None and known else tuple(range(n))
        before = state or {}
        most = min(torch.finfo(updates.dtype).max, 1e145)  # squares are summed in double precision
        sums = {
            a: (before[a] + row if a in before else row).clamp(-most, most)
            for a, row in zip(names, updates, strict=True)
        }
        alike = Gram.of(torch.stack([sums[a] for a in names])).cosines
        return kernels.combine(self.shares(alike) / n, updates), {**before, **sums}

    def shares(self, cosines: Tensor) -> Tensor:
        """(n,) weights from 0 to 1, from (n, n) cosines of the clients' sums."""
        alike = cosines.clone().fill_diagonal_(0)
        worst = alike.max(dim=1).values
        pardon = worst[:, None] / worst.where(worst > 0, 1)[None, :]
        alike = torch.where(worst[:, None] < worst[None, :], alike * pardon, alike)
        shares = (1 - alike.max(dim=1).values).clamp(0, 1)
        if shares.max() < 1e-12:  # everybody is everybody's double
            return torch.zeros_like(shares)
        shares = (shares / shares.max()).clamp_max(0.99)
        return (torch.logit(shares) + self.confidence).clamp(0, 1)


def own_update(view: ServerView | None, rule: object) -> Tensor:
    """(d,) what the server would send if it were a client: its root rows, trained on as a client does.

    Raises:
        NotApplicable: no view, or no root rows.
        PluginError: the server's own training diverged.
    """
    if view is None or view.validation is None or len(view.validation) == 0:
        got = "a bare matrix" if view is None else "none"
        remedy = "set validation_rows in the scenario"
        raise NotApplicable(f"root rows of the server for {type(rule).__name__}", got, remedy)
    device = view.start.device
    x = torch.tensor(view.validation.inputs, device=device)
    y = torch.tensor(view.validation.y, device=device)
    client = Client(
        network_of(view, rule), view.start, x, y, view.training or Training(), view.streams.child("root rows")
    )
    own = trained([client])[0] - view.start
    if not own.isfinite().all():
        name = type(rule).__name__
        raise PluginError(f"a finite update of the root rows for {name}", "NaN or infinity", "lower the learning rate")
    return own
