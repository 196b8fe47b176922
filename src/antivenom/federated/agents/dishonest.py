"""Clients that cheat the protocol: a false number of examples, less work or none, one client under many names."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import Agent, AgentView, Sent, Shard
from antivenom.core.registry import Derived, agent, require_range
from antivenom.core.threat import HARMS, Goal
from antivenom.federated.agents.knowledge import alike
from antivenom.federated.agents.objectives import each_member, training_for
from antivenom.federated.agents.teams import spoken_for
from antivenom.federated.guarded import stepped


@agent(goal=HARMS, cite="Fung et al. 2020, RAID; Flower's num-examples")
class FalseExamples:
    """Any agent that claims more examples than it has, so that a weighted mean gives it a larger share.

    It has an effect only where `weighting: examples` takes the numbers that clients report. Weakness: a cap on the
    weights, or uniform ones, undo it.

    Fields:
        agent: what is sent.
        factor: claimed examples, as a multiple of the true number.

    Reference: the trust in reported numbers is McMahan et al. 2017, arXiv:1602.05629, section 2.
    """

    agent: Agent
    factor: float = 10.0
    __call__: ClassVar[Derived]

    def __post_init__(self) -> None:
        if not 0 <= self.factor < float("inf"):
            raise PluginError("a finite factor >= 0", f"{self.factor}", "10 claims ten times the true number")

    def examples(self, shards: Sequence[Shard]) -> tuple[float, ...]:
        """What is claimed for shards of x and y."""
        return tuple(self.factor * len(y) for _, y in shards)

    def step(self, view: AgentView, state: Any) -> Sent:
        """What the inner agent sends; the state is its own."""
        return stepped(self.agent, view, state)


class Idleness(enum.StrEnum):
    """What a free rider sends in place of work."""

    ZEROS = "zeros"
    NOISE = "noise"
    LAST_CHANGE = "last-change"


@agent(goal=Goal.AVAILABILITY, cite="Lin et al. 2019, arXiv:1911.12560")
class FreeRider:
    """Does no training and sends what looks like an update, to get the global model for nothing.

    "last-change" sends the last change of the global model, plus noise: the delta weights attack. Weakness: zeros and
    plain noise are easily told apart; it means no harm, and a few of them only slow the training down.

    Fields:
        kind: zeros, noise or last-change (noise in the first round).
        std: standard deviation of the noise in every coordinate, in the unit of the updates; 0 with zeros.

    Reference: Lin et al. 2019, arXiv:1911.12560; Fraboni et al. 2021, AISTATS, arXiv:2006.11901.
    """

    kind: Idleness = Idleness.LAST_CHANGE
    std: float = 1e-3

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "std")

    def __call__(self, view: AgentView) -> Tensor:
        kind = Idleness(self.kind)
        base = torch.zeros_like(view.start)
        if kind is Idleness.LAST_CHANGE and view.past:
            last = view.past[-1]
            base = (view.start - last.start) / (view.round - last.round)
        if kind is Idleness.ZEROS:
            return alike(view, base)

        def update(member: int) -> Tensor:
            generator = view.streams.child("member", member).torch("noise", device=base.device)
            return base + self.std * torch.randn(base.shape, generator=generator, device=base.device, dtype=base.dtype)

        return each_member(view, update)


@agent(goal=HARMS, cite="Li et al. 2020, arXiv:1812.06127")
class FewerEpochs:
    """Trains honestly on its own rows, but for fewer epochs than the federation asks for.

    A straggler does so without intent. It is the control for an attack whose update is small: a rule that selects this
    agent in as many rounds selects small updates, not poisoned ones. Weakness: it means no harm, and averaging hardly
    notices it.

    Fields:
        epochs: passes over its rows; those of the federation if that asks for fewer.

    Reference: Li et al. 2020 (FedProx), MLSys, arXiv:1812.06127, section 5.2.
    """

    epochs: int = 1

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "epochs")

    def __call__(self, view: AgentView) -> Tensor:
        return training_for(view, min(self.epochs, view.training.epochs)).all_honest()


@agent(goal=HARMS, cite="Fung et al. 2020, RAID, arXiv:1808.04866")
class Sybils:
    """One attacker under many names: every malicious agent sends the first one's update, with a little noise.

    Only the first agent's shard is used. Weakness: the copies are more alike than honest updates ever are, which
    FoolsGold looks for; the noise trades that against strength.

    Fields:
        agent: the strategy of the one attacker.
        noise: length of each copy's noise as a share of the update's length; the first is sent as it is.

    Reference: Fung et al. 2020, RAID, arXiv:1808.04866.
    """

    agent: Agent
    noise: float = 0.0
    __call__: ClassVar[Derived]

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "noise")

    def step(self, view: AgentView, state: Any) -> Sent:
        """The state is the inner agent's."""
        inner = stepped(self.agent, spoken_for(view, view.shards[:1], len(view.shards)), state)
        sent = alike(view, inner.updates[0])
        generator = view.streams.torch("sybils", device=sent.device)
        noise = torch.randn(sent.shape, generator=generator, device=sent.device, dtype=sent.dtype)
        noise = self.noise * sent.norm(dim=1, keepdim=True) * noise / noise.norm(dim=1, keepdim=True).clamp_min(1e-12)
        noise[0] = 0
        return dataclasses.replace(inner, updates=sent + noise)
