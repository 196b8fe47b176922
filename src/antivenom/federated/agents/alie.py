"""A little is enough: stay within the spread of the benign updates in every coordinate."""

from __future__ import annotations

import math

from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import AgentView
from antivenom.core.registry import agent
from antivenom.core.threat import Goal, Knowledge
from antivenom.federated.agents.implanting import backdoored, check_implanting
from antivenom.federated.agents.knowledge import alike, benign, moments
from antivenom.federated.agents.objectives import each_member


@agent(goal=Goal.AVAILABILITY, cite="Baruch et al. 2019, arXiv:1902.06156")
class ALIE:
    """Sends mean - z * std of the benign updates: as far as a majority of them can be made to stand behind it.

    The shift is inside the spread of every coordinate, yet all coordinates shift at once. Weakness: that sum is long, so
    rules that look at whole vectors in many dimensions see it; and with few malicious agents the paper's z is about 0 or
    below (of ten agents: 0 for two, -0.14 for one) and the attack sends the mean. Give a z then; `worst_case` searches it.

    Fields:
        z: number of standard deviations; None is the paper's, from n and f of the round. A negative one adds.
        knowledge: own or omniscient; None is what the threat model grants. The paper estimates from the own shards.

    Reference: Baruch et al. 2019, NeurIPS, arXiv:1902.06156, section 3.
    """

    z: float | None = None
    knowledge: Knowledge | None = None

    def __call__(self, view: AgentView) -> Tensor:
        mean, spread = moments(benign(view, self.knowledge))
        return alike(view, mean - (z_of(view) if self.z is None else self.z) * spread)


@agent(goal=(Goal.BACKDOOR, Goal.TARGETED), cite="Baruch et al. 2019, arXiv:1902.06156")
class ALIEBackdoor:
    """A backdoor update, kept by its loss and by clipping within z standard deviations of the benign mean.

    Training starts from the mean of the benign updates and minimises
    alpha * (cross-entropy with backdoor rows) + (1 - alpha) * mean of (distance from there / z std)^2. Weakness: where
    the benign updates agree there is no room, so with one local epoch on even shards the backdoor comes slowly.

    Fields:
        z: half-width of the room, in standard deviations; 0.2 in the paper.
        alpha: weight of the backdoor against the distance, 0 to 1; 0.2 in the paper.
        share: of every batch that is backdoor rows, 0 to 1.
        epochs: passes over the own shard; None is what an honest agent makes.
        learning_rate: None is the honest one.
        knowledge: own or omniscient; None is what the threat model grants.

    Reference: Baruch et al. 2019, NeurIPS, arXiv:1902.06156, section 3.3.
    """

    z: float = 0.2
    alpha: float = 0.2
    share: float = 0.5
    epochs: int | None = None
    learning_rate: float | None = None
    knowledge: Knowledge | None = None

    def __post_init__(self) -> None:
        check_implanting(self)
        if self.z <= 0 or not 0 <= self.alpha <= 1:
            raise PluginError("ALIEBackdoor with z > 0 and alpha from 0 to 1", f"{self.z} and {self.alpha}")

    def __call__(self, view: AgentView) -> Tensor:
        mean, spread = moments(benign(view, self.knowledge))
        room = self.z * spread
        centre = view.start + mean

        def distance(vector: Tensor) -> Tensor:
            return crowding(vector, centre, room)

        def update(member: int) -> Tensor:
            sent = backdoored(self, view, member, start=centre, alpha=self.alpha, term=distance)
            return sent.clamp(mean - room, mean + room)

        return each_member(view, update)


def crowding(vector: Tensor, centre: Tensor, room: Tensor) -> Tensor:
    """Mean over the coordinates of ((w - centre) / room)^2; the paper has the sum, which grows with d."""
    return ((vector - centre) / room.clamp_min(1e-5)).square().mean()


def z_of(view: AgentView) -> float:
    """The paper's z for this round's n and f."""
    n = view.num_agents if view.num_chosen is None else view.num_chosen
    return z_max(n, len(view.shards))


def z_max(n: int, f: int) -> float:
    """The largest z with Phi(z) < (n - f - s) / (n - f), s = floor(n / 2 + 1) - f the supporters that are needed.

    It is bounded to 0.001 of the probability on either side, where it would be infinite.
    """
    from scipy.special import ndtri

    needed = math.floor(n / 2 + 1) - f
    share = (n - f - needed) / max(n - f, 1)
    return float(ndtri(min(max(share, 1e-3), 1 - 1e-3)))
