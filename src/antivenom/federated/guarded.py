"""One adapter per kind of plugin in a federation: it calls the plugin, checks what comes back, and types its failures.

A plugin is given what it may keep. What is too large to be copied, the matrix of updates, is compared before and after
the call by torch's count of writes and by a sample of its columns. NaN and infinity from an agent are no
error: a hostile client may send them, and the server leaves it out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from antivenom.core.errors import AntivenomError, PluginError, ThreatError
from antivenom.core.protocols import AgentView, Aggregator, ClientDetector, Sent, ServerView, StatefulAgent
from antivenom.core.verdict import Verdict
from antivenom.federated.aggregation import step_of
from antivenom.federated.needs import name_of

_RUNS, _RUN = 64, 128  # columns that are compared: so many runs of so many neighbours


def guarded_agent(agent: object, view: AgentView, state: object) -> Sent:
    """What the agents send from this view, whose tensors must be theirs.

    Raises:
        PluginError: it fails, writes into what it was sent, or returns no updates of shape (k, d).
    """
    name, sent_to_them = name_of(agent), (view.start, view.targets.x)
    before = [fingerprint(each) for each in sent_to_them]
    with failures(name):
        sent = stepped(agent, view, state)
    k, d = len(view.shards), view.start.numel()
    if not isinstance(sent, Sent):
        raise PluginError(f"a Sent from {name}.step", type(sent).__name__, "return Sent(updates, state)")
    updates = sent.updates
    if not isinstance(updates, Tensor) or updates.shape != (k, d) or not updates.is_floating_point():
        got = tuple(updates.shape) if isinstance(updates, Tensor) else type(updates).__name__
        raise PluginError(f"updates of shape ({k}, {d}) from {name}", f"{got}", "return one row per agent")
    if not all(map(_same, before, map(fingerprint, sent_to_them))):
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
    name, n = name_of(detector), len(view.updates)
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
    name, d = name_of(rule), view.updates.shape[1]
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
    seen = (view.start, view.weights, view.updates)
    before = [fingerprint(each) for each in seen]
    yield
    if not all(map(_same, before, map(fingerprint, seen))):
        raise _written(name, "the server's start, updates or weights")


def fingerprint(numbers: Tensor) -> tuple[int, Tensor]:
    """What changes when (n, d) or (d,) numbers do: torch's count of writes into them, and a copy of columns spread over them.

    A write that avoids torch (through numpy, or `data`) is seen if it reaches any of the columns. All of them would take
    as long as a median.
    """
    d = numbers.shape[-1]
    if d > _RUNS * _RUN:
        first = torch.arange(_RUNS) * ((d - _RUN) // (_RUNS - 1))
        columns = (first[:, None] + torch.arange(_RUN)).flatten()
    else:
        columns = torch.arange(d)
    writes = 0 if numbers.is_inference() else numbers._version
    return writes, numbers.detach()[..., columns.to(numbers.device)]


def _same(before: tuple[int, Tensor], after: tuple[int, Tensor]) -> bool:
    """Equality in which NaN equals NaN."""
    (writes, kept), (now_writes, now) = before, after
    return writes == now_writes and (torch.equal(kept, now) or torch.equal(kept.nan_to_num(), now.nan_to_num()))


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
