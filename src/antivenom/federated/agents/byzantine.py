"""Untargeted attacks of one line each: flip the sign, send noise, send what is no number, copy one client."""

from __future__ import annotations

import enum
import math

import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import AgentView
from antivenom.core.registry import agent, require_range
from antivenom.core.threat import Access, Goal, Knowledge
from antivenom.federated.agents.knowledge import alike, benign
from antivenom.federated.agents.objectives import client_of, each_client, each_member
from antivenom.federated.clients import Client


@agent(goal=Goal.AVAILABILITY, cite="Li et al. 2019, arXiv:1811.03761")
class SignFlip:
    """Sends its own honest update times a negative number.

    With omniscience it sends the mean of the benign updates so, the form of byzfl. Weakness: it points away from
    everybody, so a look at angles finds it, and with scale 1 a minority only slows training down.

    Fields:
        scale: factor of the flipped update; 1 keeps its length.
        knowledge: own, or omniscient for the mean of the benign updates.

    Reference: Li et al. 2019 (RSA), arXiv:1811.03761, section 6.
    """

    scale: float = 1.0
    knowledge: Knowledge = Knowledge.OWN

    def __call__(self, view: AgentView) -> Tensor:
        if Knowledge(self.knowledge) is Knowledge.OMNISCIENT:
            return alike(view, -self.scale * benign(view, self.knowledge).mean(dim=0))
        return -self.scale * view.all_honest()


@agent(goal=Goal.AVAILABILITY, cite="Blanchard et al. 2017, NeurIPS 30")
class GaussianNoise:
    """Sends normal noise, in place of its update or on top of an honest one.

    Weakness: in d dimensions its length is about std * sqrt(d), which any norm or distance check sees.

    Fields:
        std: standard deviation of every coordinate, in the unit of the updates; 200 in the paper.
        mean: of every coordinate.
        on_honest: add the noise to an honest update.

    Reference: Blanchard et al. 2017, NeurIPS 30, section 5.
    """

    std: float = 1.0
    mean: float = 0.0
    on_honest: bool = False

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "std")

    def __call__(self, view: AgentView) -> Tensor:
        def update(member: int) -> Tensor:
            generator = view.streams.child("member", member).torch("noise", device=view.start.device)
            noise = torch.randn(view.start.shape, generator=generator, device=view.start.device, dtype=view.start.dtype)
            sent = self.mean + self.std * noise
            return sent + view.honest(member) if self.on_honest else sent

        return each_member(view, update)


@agent(access=(Access.DATA_MANIPULATION,), goal=Goal.AVAILABILITY, cite="Tolpegin et al. 2020, arXiv:2007.08432")
class LabelFlip:
    """Trains honestly on its own rows with wrong labels.

    Weakness: its update stays close to an honest one in length, so it does little harm from a minority, and on uneven
    shards it looks like one more odd client.

    Fields:
        source: class whose labels are changed; None changes every label y to c - 1 - y.
        target: class they are changed to; with `source` only.

    Reference: Tolpegin et al. 2020, arXiv:2007.08432 (one class); Fang et al. 2020, arXiv:1911.11815 (c - 1 - y).
    """

    source: int | None = None
    target: int | None = None

    def __post_init__(self) -> None:
        if (self.source is None) != (self.target is None):
            raise PluginError("source and target of LabelFlip together", "one of them", "give both or none")

    def __call__(self, view: AgentView) -> Tensor:
        def client(member: int) -> Client:
            x, y = view.shards[member]
            streams = view.streams.child("member", member, "honest")
            return client_of(view, x, self.flipped(y, view.architecture.num_classes), streams)

        return each_client(view, client)

    def flipped(self, y: Tensor, num_classes: int) -> Tensor:
        """(m,) wrong labels for y (m,)."""
        if self.source is None or self.target is None:
            return num_classes - 1 - y
        return torch.where(y == self.source, self.target, y)


@agent(goal=Goal.AVAILABILITY, cite="Xie et al. 2020, arXiv:1903.03936")
class IPM:
    """Inner product manipulation: sends a negative multiple of the mean of the benign updates ("empires").

    A small multiple lies closer to the benign updates than they do to each other, so a selecting rule (Krum) takes it; a
    large one turns an averaging rule's result round. Weakness: no one multiple does both.

    Fields:
        tau: the multiple (epsilon in the paper); below 1 against selecting rules, above (n - f) / f against averaging.
        knowledge: own or omniscient; None is what the threat model grants.

    Reference: Xie et al. 2020, UAI, arXiv:1903.03936.
    """

    tau: float = 0.5
    knowledge: Knowledge | None = None

    def __call__(self, view: AgentView) -> Tensor:
        return alike(view, -self.tau * benign(view, self.knowledge).mean(dim=0))


@agent(goal=Goal.AVAILABILITY, cite="Karimireddy et al. 2022, arXiv:2006.09365")
class Mimic:
    """All malicious agents send a copy of one benign client's update.

    Nothing of it is unusual, yet the rule sees one client's data k + 1 times, which hurts on uneven shards. Weakness: on
    even shards it does nothing.

    Fields:
        client: number of the benign update of the round that is copied; None is the one furthest along the direction in
            which the benign updates differ most.
        knowledge: own or omniscient; None is what the threat model grants.

    Reference: Karimireddy et al. 2022, ICLR, arXiv:2006.09365, section 3.2.
    """

    client: int | None = 0
    knowledge: Knowledge | None = None

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "client")

    def __call__(self, view: AgentView) -> Tensor:
        known = benign(view, self.knowledge)
        client = furthest(known) if self.client is None else self.client % len(known)
        return alike(view, known[client])


def furthest(updates: Tensor) -> int:
    """The row that reaches furthest along the first principal direction of the rows (n, d), to either side."""
    apart = (updates - updates.mean(dim=0)).double()
    directions = torch.linalg.eigh(apart @ apart.T).eigenvectors  # of the small matrix: row i's reach is entry i
    return int(directions[:, -1].abs().argmax())


class NotANumber(enum.StrEnum):
    """What a broken or hostile sender writes."""

    NAN = "nan"
    INF = "inf"
    MINUS_INF = "-inf"


@agent(goal=Goal.AVAILABILITY, cite="El Mhamdi et al. 2018, arXiv:1802.07927")
class NonFinite:
    """Sends NaN or infinity in some coordinates of an honest update.

    One such number in a sum ruins the global model for ever. Weakness: looking for it is trivial, which this engine
    does; the attack tests a server's plumbing.

    Fields:
        value: nan, inf or -inf.
        share: of the coordinates, drawn at random, 0 to 1; at least one coordinate.

    Reference: El Mhamdi et al. 2018, arXiv:1802.07927 (arbitrary vectors); byzfl's "Inf" attack.
    """

    value: NotANumber = NotANumber.NAN
    share: float = 1.0

    def __post_init__(self) -> None:
        require_range(self, 0, 1, "share")

    def __call__(self, view: AgentView) -> Tensor:
        def update(member: int) -> Tensor:
            sent = view.honest(member)
            d = sent.numel()
            rng = view.streams.child("member", member).numpy("coordinates")
            broken = rng.choice(d, max(1, round(self.share * d)), replace=False)
            sent[torch.as_tensor(broken, device=sent.device)] = float(NotANumber(self.value))
            return sent

        return each_member(view, update)
