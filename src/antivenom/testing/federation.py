"""How agents, rules, reducers and detectors of a federation are called in the contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import PluginError, ThreatError
from antivenom.core.protocols import (
    Agent,
    AgentView,
    ClientDetector,
    Participation,
    Reducer,
    ServerView,
    Targets,
)
from antivenom.core.registry import Entry
from antivenom.core.streams import Streams
from antivenom.core.threat import Goal, Knowledge
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset, load
from antivenom.federated.agents.objectives import train_honest
from antivenom.federated.clients import Shards
from antivenom.federated.guarded import guarded_agent, guarded_detector, guarded_reducer, shares_memory
from antivenom.models.architectures import MLP
from antivenom.models.network import Network, build
from antivenom.testing.samples import (
    SEED,
    TRAINING,
    Check,
    unchanged,
)
from antivenom.triggers import Patch


def agent_calls(plugin: Agent, entry: Entry) -> Iterator[Check]:
    def sent(k: int, past: bool) -> object:
        view = _agent_view(k, past, Goal.BACKDOOR in entry.goals)
        inputs = (view.start, view.targets.x, *(tensor for shard in view.shards for tensor in shard))
        try:
            sent = unchanged(entry, inputs, lambda: guarded_agent(plugin, view, None))
        except ThreatError:  # it reads the benign updates, which only an omniscient agent gets
            others = _federation()[3][k:].clone()
            view = dataclasses.replace(view, knowledge=Knowledge.OMNISCIENT, benign=others)
            sent = unchanged(entry, inputs, lambda: guarded_agent(plugin, view, None))
        again = guarded_agent(plugin, dataclasses.replace(view, round=view.round + 1), sent.state)
        return sent.updates, again.updates

    yield from (partial(sent, k, past) for k, past in ((1, False), (2, True)))


def _federation() -> tuple[Dataset, Network, Shards, Tensor]:
    """300 images, a network, ten shards of them, and ten updates (10, d)."""
    data = load("digits", Streams(SEED)).train[:300]
    network = build(MLP(hidden=(8,)), data.shape, data.num_classes, Streams(SEED))
    updates = 0.01 * torch.randn(10, network.dimension, generator=Streams(SEED).torch("updates"))
    return data, network, Shards.of(data, np.array_split(np.arange(300), 10)), updates


def _agent_view(k: int, past: bool, backdoor: bool) -> AgentView:
    _, network, shards, updates = _federation()
    before = (Participation(1, network.initial - 0.01, updates[:k]),) if past else ()
    x, y = shards.of_agent(0)
    return AgentView(
        round=1 + len(before),
        start=network.initial,
        network=network,
        training=TRAINING,
        shards=tuple(shards.of_agent(9 - i) for i in range(k)),
        targets=Targets(x[:1], y[:1], (y[:1] + 1) % 10, *((AllToOne(), Patch()) if backdoor else ())),
        num_agents=10,
        weight=0.1,
        past=before,
        streams=Streams(SEED).child("attack"),
        trainer=train_honest,
        lasting=Streams(SEED).child("lasting"),
    )


def _server_view(updates: Tensor, number: int) -> ServerView:
    data, network, _, _ = _federation()
    n = len(updates)
    weights, streams = torch.full((n,), 1 / n), Streams(SEED).child("server", number)
    return ServerView(number, network.initial, updates, tuple(range(n)), weights, network, data[:60], TRAINING, streams)


def client_detector_calls(plugin: ClientDetector, entry: Entry) -> Iterator[Check]:
    def judged() -> object:
        updates, state, seen = _federation()[3], None, []
        for number in (1, 2):
            view = _server_view(updates, number)
            verdict, state = unchanged(entry, (updates, view.start), partial(guarded_detector, plugin, view, state))
            seen.append((verdict.scores, verdict.flags))
        return seen

    yield judged


def aggregator_calls(plugin: Any, entry: Entry) -> Iterator[Check]:
    def combined() -> object:
        updates = _federation()[3]
        view, weights = _server_view(updates, 1), torch.full((10,), 0.1)
        one = unchanged(entry, (updates, weights), lambda: plugin(updates, weights, view))
        if not isinstance(one, Tensor) or one.shape != updates.shape[1:] or not one.isfinite().all():
            got = tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__
            raise PluginError(f"a finite update of shape {tuple(updates.shape[1:])} from {entry.name}", str(got))
        for name, other in (
            ("without weights", plugin(updates, None, view)),
            ("of an array", torch.as_tensor(np.asarray(plugin(updates.numpy(), None, view)))),
            ("of lists", torch.as_tensor(np.asarray(plugin(updates.tolist(), None, view)))),
            ("in reverse order", plugin(updates.flip(0), weights, view)),
        ):
            if not torch.allclose(one, other.to(one.dtype), atol=1e-6):
                raise PluginError(f"the same update {name} from {entry.name}", "another one", "treat all rows alike")
        return one

    def remembered() -> list[Tensor]:
        updates, state, seen = _federation()[3], None, []
        for number in (1, 2, 3):
            rows, view = updates * number, _server_view(updates * number, number)
            aggregate, state = unchanged(entry, (rows,), partial(plugin.step, rows, view.weights, view, state))
            if shares_memory(state, aggregate):
                raise PluginError(f"a state apart from the aggregate of {entry.name}", "one tensor", "return a clone")
            seen.append(aggregate)
        if not torch.equal(seen[0], plugin(updates, torch.full((10,), 0.1), _server_view(updates, 1))):
            raise PluginError(
                f"{entry.name} to start without memory", "another first step", "treat the state None as an empty memory"
            )
        return seen

    yield from (combined, remembered)


def reducer_calls(plugin: Reducer, entry: Entry) -> Iterator[Check]:
    def reduced(weighted: bool) -> object:
        updates = _federation()[3]
        weights, view = (torch.full((10,), 0.1) if weighted else None), _server_view(updates, 1)
        rows, shares = unchanged(entry, (updates,), lambda: guarded_reducer(plugin, updates, weights, view))
        if len(rows) > len(updates):
            raise PluginError(f"at most {len(updates)} rows from {entry.name}", f"{len(rows)}")
        return rows, shares if weighted else rows

    yield from (partial(reduced, weighted) for weighted in (False, True))
