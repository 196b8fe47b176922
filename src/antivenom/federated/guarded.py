"""One adapter per kind of plugin in a federation: it calls the plugin, checks what comes back, and types its failures.

A plugin is given what it may keep. What is too large to be copied, the matrix of updates, is compared before and after
the call by its products with a fixed random vector, which costs one pass over it. NaN and infinity from an agent are no
error: a hostile client may send them, and the server leaves it out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from antivenom.core.errors import AntivenomError, PluginError, ThreatError
from antivenom.core.protocols import AgentView, Aggregator, ClientDetector, Sent, ServerView, StatefulAgent
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.federated.aggregation import step_of


def guarded_agent(agent: object, view: AgentView, state: object) -> Sent:
    """What the agents send from this view, whose tensors must be theirs.

    Raises:
        PluginError: it fails, writes into what it was sent, or returns no updates of shape (k, d).
    """
    name, start, targets = type(agent).__name__, view.start.clone(), view.targets.x.clone()
    with failures(name):
        sent = stepped(agent, view, state)
    k, d = len(view.shards), start.numel()
    if not isinstance(sent, Sent):
        raise PluginError(f"a Sent from {name}.step", type(sent).__name__, "return Sent(updates, state)")
    updates = sent.updates
    if not isinstance(updates, Tensor) or updates.shape != (k, d) or not updates.is_floating_point():
        got = tuple(updates.shape) if isinstance(updates, Tensor) else type(updates).__name__
        raise PluginError(f"updates of shape ({k}, {d}) from {name}", f"{got}", "return one row per agent")
    if not _equal(start, view.start) or not _equal(targets, view.targets.x):
        raise _written(name, "the parameters or targets that it was sent")
    if sent.trigger is not None and view.targets.trigger is None:
        raise ThreatError(f"no trigger from {name} without a backdoor goal", "one of its own", "change `goal`")
    return Sent(updates.detach(), sent.state, sent.trigger)


def stepped(agent: Any, view: AgentView, state: Any) -> Sent:
    """One step of an agent; one without memory keeps nothing."""
    if callable(getattr(type(agent), "step", None)):  # a hyper-parameter may be called `step`, too
        return typing.cast(StatefulAgent, agent).step(view, state)
    return Sent(agent(view))


def guarded_detector(detector: ClientDetector, view: ServerView, state: object) -> tuple[Verdict, object]:
    """The verdict over the n agents of the view, and what the detector remembers.

    Raises:
        PluginError: it fails, writes into what it sees, or returns something else.
    """
    name, n = type(detector).__name__, len(view.updates)
    with failures(name), untouched(name, view):
        found = detector(view, state)
    if not isinstance(found, tuple) or len(found) != 2:
        raise PluginError(f"a Verdict and a state from {name}", type(found).__name__, "return both")
    verdict, kept = found
    if not isinstance(verdict, Verdict):
        raise PluginError(f"a Verdict from {name}", type(verdict).__name__, "return antivenom.core.verdict.Verdict")
    if len(verdict) != n:
        raise PluginError(f"a verdict of {name} over {n} agents", f"{len(verdict)}", "one score and flag per update")
    return verdict, kept


def guarded_rule(rule: Aggregator, view: ServerView, state: object) -> tuple[Tensor, object]:
    """(d,) what the rule makes of the updates of the view, and what it remembers.

    Raises:
        PluginError: it fails, writes into what it sees, or returns no aggregate of shape (d,).
    """
    name, d = type(rule).__name__, view.updates.shape[1]
    with failures(name), untouched(name, view):
        found = step_of(rule)(view.updates, view.weights, view, state)
    if not isinstance(found, tuple) or len(found) != 2:
        raise PluginError(f"an aggregate and a state from {name}", type(found).__name__, "return both from step")
    aggregate, kept = found
    if not isinstance(aggregate, Tensor) or aggregate.shape != (d,) or not aggregate.is_floating_point():
        got = tuple(aggregate.shape) if isinstance(aggregate, Tensor) else type(aggregate).__name__
        raise PluginError(f"an aggregate of shape ({d},) from {name}", f"{got}", "return one number per parameter")
    return aggregate.detach(), kept


@contextlib.contextmanager
def failures(name: str) -> Iterator[None]:
    """Whatever the plugin raises, as one line with its name."""
    try:
        yield
    except (AntivenomError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        text = str(error).partition("\n")[0]
        raise PluginError(f"{name} to work", f"{type(error).__name__}: {text}") from error


@contextlib.contextmanager
def untouched(name: str, view: ServerView) -> Iterator[None]:
    """Refuse a plugin of the server's that writes into the view.

    Raises:
        PluginError: the start, the updates or the weights are not what they were.
    """
    start, weights, rows = view.start.clone(), view.weights.clone(), fingerprint(view.updates)
    yield
    if not (_equal(start, view.start) and _equal(weights, view.weights) and _equal(rows, fingerprint(view.updates))):
        raise _written(name, "the server's start, updates or weights")


def fingerprint(updates: Tensor) -> Tensor:
    """(n,) numbers that change when the rows do: their products with a fixed random vector, in one pass."""
    probe = _probe(updates.shape[1], str(updates.device), updates.dtype)
    return updates @ probe


@lru_cache(maxsize=2)
def _probe(d: int, device: str, dtype: torch.dtype) -> Tensor:
    return torch.rand(d, generator=Streams(0).torch("probe"), dtype=torch.float32).to(device, dtype)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Equality in which NaN equals NaN."""
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())


def _written(name: str, what: str) -> PluginError:
    return PluginError(f"{name} to leave its inputs alone", f"a change in {what}", "work on a copy")


def shares_memory(state: object, result: Tensor) -> bool:
    """Whether a tensor anywhere in the state is, or is a view into, the result."""
    if isinstance(state, Tensor):
        return state.untyped_storage().data_ptr() == result.untyped_storage().data_ptr()
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        return any(shares_memory(getattr(state, field.name), result) for field in dataclasses.fields(state))
    parts = state.values() if isinstance(state, Mapping) else state if isinstance(state, (tuple, list)) else ()
    return any(shares_memory(part, result) for part in parts)
