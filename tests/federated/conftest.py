"""Views of malicious agents: one over bare vectors for hand-computed numbers, one over a small federation of digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from antivenom.core.protocols import AgentView, Targets
from antivenom.core.streams import Streams
from antivenom.core.threat import Knowledge
from antivenom.core.wanted import AllToOne
from antivenom.data import load
from antivenom.federated.agents.objectives import train_honest
from antivenom.models.architectures import MLP
from antivenom.models.network import build
from antivenom.models.training import Training
from antivenom.triggers import Patch

STREAMS = Streams(11)


@pytest.fixture
def bare() -> Callable[..., AgentView]:
    """A view whose agents know the benign updates given; there is a network of four parameters, which nobody trains."""

    def make(benign: Any, k: int = 1, **fields: Any) -> AgentView:
        rows = torch.as_tensor(benign, dtype=torch.float64)
        d = rows.shape[1]
        network = build(MLP(hidden=()), (1,), 2, STREAMS)
        shard = (torch.zeros(4, 1), torch.tensor([0, 1, 0, 1]))
        known = {
            "round": 1,
            "start": torch.zeros(d, dtype=torch.float64),
            "network": network,
            "training": Training(epochs=1, batch_size=4),
            "shards": (shard,) * k,
            "targets": Targets(torch.zeros(0, 1), torch.zeros(0), torch.zeros(0)),
            "num_agents": len(rows) + k,
            "weight": 1 / (len(rows) + k),
            "past": (),
            "streams": STREAMS.child("attack"),
            "knowledge": Knowledge.OMNISCIENT,
            "benign": rows.clone(),
            "trainer": train_honest,
        }
        return AgentView(**(known | fields))

    return make


@pytest.fixture
def digits() -> Callable[..., AgentView]:
    """A view with shards of 100 digits each, and the trigger of a backdoor towards class 0."""

    def make(k: int = 1, **fields: Any) -> AgentView:
        rows = load("digits", STREAMS).train
        network = build(MLP(hidden=(16,)), rows.shape, 10, STREAMS)
        x, y = torch.tensor(rows.x), torch.tensor(rows.y)
        known = {
            "round": 1,
            "start": network.initial,
            "network": network,
            "training": Training(epochs=2, batch_size=20, learning_rate=5e-3),
            "shards": tuple((x[100 * i : 100 * i + 100], y[100 * i : 100 * i + 100]) for i in range(k)),
            "targets": Targets(x[:0], y[:0], y[:0], wanted=AllToOne(), trigger=Patch(size=2)),
            "num_agents": 10,
            "weight": 0.1,
            "past": (),
            "streams": STREAMS.child("attack"),
            "trainer": train_honest,
        }
        return AgentView(**(known | fields))

    return make


@pytest.fixture
def cloud() -> Tensor:
    """(8, 5) updates with a common part."""
    generator = STREAMS.torch("cloud")
    return torch.randn(8, 5, generator=generator, dtype=torch.float64) + torch.arange(5.0)
