"""One adapter per kind of plugin in a federation: it calls the plugin, checks what comes back, and types its failures.

Plugins get copies, which they may keep and change. The matrix of updates is too large to copy. It is compared before and
after the call, by torch's count of writes and by a sample of its columns. NaN and infinity in an agent's update are no
error: a hostile client may send them, and the server leaves that client out.
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
from antivenom.core.protocols import (
    AgentView,
    Aggregator,
    ClientDetector,
    LinearReducer,
    LocalTraining,
    Reducer,
    Sent,
    ServerView,
    Shard,
    StatefulAgent,
)
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.fast import kernels
from antivenom.federated.aggregation import step_of
from antivenom.federated.distances import Gram
from antivenom.federated.needs import name_of
from antivenom.models.network import Network

_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # types of whole numbers by size
_RUNS, _RUN = 64, 128  # columns that are compared: so many runs of so many neighbours


class NotFinite(PluginError):
    """A result that overflowed. A client can cause it with huge updates, so the server skips the round and goes on."""


def guarded_agent(agent: object, view: AgentView, state: object) -> Sent:
    """What the agents send, given this view, whose tensors must be copies.

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
    if not _has_shape(updates, torch.Size((k, d))):
        raise PluginError(f"updates of shape ({k}, {d}) from {name}", _form(updates), "return one row per agent")
    if not all(map(_same, before, map(fingerprint, sent_to_them))):
        raise _written(name, "the parameters or targets that it was sent")
    if sent.trigger is not None and view.targets.trigger is None:
        raise ThreatError(f"no trigger from {name} without a backdoor goal", "one of its own", "change `goal`")
    return Sent(updates.detach(), sent.state, sent.trigger)


def guarded_training(
    local: LocalTraining, network: Network, start: Tensor, shard: Shard, round: int, streams: Streams
) -> Tensor:
    """(d,) the parameters after an honest agent's training by code of its own, which gets a copy of `start`.

    Raises:
        PluginError: it fails, or returns no parameters of shape (d,).
    """
    name = name_of(local)
    with failures(name):
        end = local(network, start.clone(), shard, round, streams)
    if not _has_shape(end, start.shape):
        raise PluginError(f"parameters of shape {tuple(start.shape)} from {name}", _form(end), "return all of them")
    return end.detach().to(start)


def stepped(agent: Any, view: AgentView, state: Any) -> Sent:
    """One step of an agent; an agent without memory gets and returns no state."""
    if callable(getattr(type(agent), "step", None)):  # a hyper-parameter may be called `step`, too
        return typing.cast(StatefulAgent, agent).step(view, state)
    return Sent(agent(view))


def guarded_detector(detector: ClientDetector, view: ServerView, state: object) -> tuple[Verdict, object]:
    """The verdict over the n agents of the view, and the detector's state for the next round.

    Raises:
        PluginError: it fails, writes into what it sees, or returns something else.
    """
    name, n = name_of(detector), len(view.updates)
    with failures(name), untouched(name, view.start, view.updates, view.weights):
        found = detector(view, state)
    if not isinstance(found, tuple) or len(found) != 2:
        raise PluginError(f"a Verdict and a state from {name}", type(found).__name__, "return both")
    verdict, kept = found
    plain_state(name, kept)
    if not isinstance(verdict, Verdict):
        raise PluginError(f"a Verdict from {name}", type(verdict).__name__, "return antivenom.core.verdict.Verdict")
    if len(verdict) != n:
        raise PluginError(f"a verdict of {name} over {n} agents", f"{len(verdict)}", "one score and flag per update")
    return verdict, kept


def guarded_rule(rule: Aggregator, view: ServerView, state: object) -> tuple[Tensor, object]:
    """The aggregate (d,) of the updates in the view, and the rule's state for the next round.

    Raises:
        PluginError: it fails, writes into what it sees, or returns no aggregate of shape (d,).
    """
    name, d = name_of(rule), view.updates.shape[1]
    with failures(name), untouched(name, view.start, view.updates, view.weights):
        found = step_of(rule)(view.updates, view.weights, view, state)
    if not isinstance(found, tuple) or len(found) != 2:
        raise PluginError(f"an aggregate and a state from {name}", type(found).__name__, "return both from step")
    aggregate, kept = found
    plain_state(name, kept)
    if not _has_shape(aggregate, torch.Size((d,))):
        raise PluginError(
            f"an aggregate of shape ({d},) from {name}", _form(aggregate), "return one number per parameter"
        )
    return aggregate.detach(), kept


def guarded_reducer(
    link: Reducer, updates: Tensor, weights: Tensor | None, view: ServerView | None
) -> tuple[Tensor, Tensor | None]:
    """The (m, d) rows, and their (m,) weights or None, that the reducer makes of (n, d) updates and (n,) weights or None.

    Raises:
        PluginError: it fails, writes into what it sees, or returns rows or weights of another shape.
        NotFinite: it returns NaN or infinity.
    """
    name, d = name_of(link), updates.shape[1]
    with failures(name), untouched(name, *_seen(view), updates, weights):
        found = link(updates, weights, view)
    if not isinstance(found, tuple) or len(found) != 2:
        raise PluginError(f"rows and weights from {name}", type(found).__name__, "return both")
    rows, shares = found
    if not _is_matrix(rows, d):
        raise PluginError(
            f"rows of shape (m, {d}) from {name}", _form(rows), "return one number per parameter in each row"
        )
    if (shares is None) is not (weights is None) or (shares is not None and not _has_shape(shares, rows.shape[:1])):
        expected = "no weights" if weights is None else f"weights of shape ({len(rows)},)"
        got = "none" if shares is None else _form(shares)
        raise PluginError(f"{expected} from {name}", got, "return one weight per row, or None if it was given None")
    if not kernels.finite_rows(rows).all() or (shares is not None and not shares.isfinite().all()):
        raise NotFinite(f"finite rows and weights from {name}", "NaN or infinity")
    return rows, shares


def guarded_mixing(link: LinearReducer, gram: Gram, weights: Tensor | None, view: ServerView | None) -> Tensor:
    """The (m, n) shares of the old rows in each new one that the reducer computes from the Gram matrix of the n old rows.

    Raises:
        PluginError: it fails, writes into what it sees, or returns another shape.
        NotFinite: it returns NaN or infinity.
    """
    name, n, own = name_of(link), len(gram), gram.copied()
    with failures(name), untouched(name, *_seen(view), weights):
        mixing = link.mixing(own, weights, view)
    if "products" in vars(own) and not torch.equal(_bits(own.products), _bits(gram.products)):
        raise _written(name)
    if not _is_matrix(mixing, n):
        raise PluginError(
            f"shares of shape (m, {n}) from {name}", _form(mixing), "return one row of shares per new row"
        )
    if not mixing.isfinite().all():
        raise NotFinite(f"finite shares from {name}", "NaN or infinity")
    return mixing


def _seen(view: ServerView | None) -> tuple[Tensor, ...]:
    return () if view is None else (view.start, view.updates, view.weights)


def _is_matrix(found: object, columns: int) -> bool:
    """Whether it is a tensor of floating numbers with at least one row and that many columns."""
    if not isinstance(found, Tensor) or found.dim() != 2:
        return False
    return len(found) > 0 and found.shape[1] == columns and found.is_floating_point()


def _has_shape(found: object, shape: torch.Size) -> bool:
    return isinstance(found, Tensor) and found.shape == shape and found.is_floating_point()


def _form(found: object) -> str:
    """The shape of a tensor, or the type of anything else, for a message."""
    if not isinstance(found, Tensor):
        return type(found).__name__
    return f"{tuple(found.shape)}" if found.is_floating_point() else f"{tuple(found.shape)} of {found.dtype}"


@contextlib.contextmanager
def failures(name: str) -> Iterator[None]:
    """Turn whatever the plugin raises into a PluginError of one line that names it."""
    try:
        yield
    except (AntivenomError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        text = str(error).partition("\n")[0]
        raise PluginError(f"{name} to work", f"{type(error).__name__}: {text}") from error


@contextlib.contextmanager
def untouched(name: str, *given: Tensor | None) -> Iterator[None]:
    """Refuse a plugin of the server's that writes into the tensors that it is given.

    Raises:
        PluginError: one of them has changed.
    """
    tensors = list({id(each): each for each in given if each is not None}.values())
    before = [fingerprint(each) for each in tensors]
    yield
    if not all(map(_same, before, map(fingerprint, tensors))):
        raise _written(name)


def fingerprint(numbers: Tensor) -> tuple[int, Tensor]:
    """What changes when (n, d) or (d,) numbers do: torch's count of writes into them, and a copy of columns spread over them.

    A write that avoids torch (through numpy, or `data`) is seen if it reaches any of the columns. Comparing all of them
    would take as long as a median. The columns come in runs, which are copied through a strided view: gathering them by
    their numbers takes five times as long.
    """
    seen, d = numbers.detach(), numbers.shape[-1]
    if d > _RUNS * _RUN:
        seen = seen.unfold(-1, _RUN, (d - _RUN) // (_RUNS - 1))
    writes = 0 if numbers.is_inference() else numbers._version
    return writes, seen.clone(memory_format=torch.contiguous_format)


def _same(before: tuple[int, Tensor], after: tuple[int, Tensor]) -> bool:
    """Equality of bits, in which NaN equals NaN."""
    (writes, kept), (now_writes, now) = before, after
    return writes == now_writes and torch.equal(_bits(kept), _bits(now))


def _bits(numbers: Tensor) -> Tensor:
    return numbers.view(_WHOLE[numbers.element_size()])


def _written(name: str, what: str = "the server's start, updates or weights") -> PluginError:
    return PluginError(f"{name} to leave its inputs alone", f"a change in {what}", "work on a copy")


_PLAIN = frozenset((type(None), bool, int, float, str, Tensor))


def plain_state(name: str, state: object) -> None:
    """Refuse a state that `torch.load(weights_only=True)` would not load. Subclasses, such as numpy's numbers, are refused too.

    Raises:
        PluginError: something in it is neither a tensor, nor a plain value, nor a tuple, list or dict of these.
    """
    if type(state) is dict:
        parts: list[object] = [*state.keys(), *state.values()]
    elif type(state) in (tuple, list):
        parts = [*typing.cast(list[object], state)]
    elif type(state) in _PLAIN:
        return
    else:
        raise PluginError(
            f"a state of tensors and plain values from {name}",
            type(state).__name__,
            "keep tensors, numbers, strings, and tuples, lists or dicts of them",
        )
    for part in parts:
        if type(part) not in _PLAIN:
            plain_state(name, part)


def shares_memory(state: object, result: Tensor) -> bool:
    """Whether a tensor anywhere in the state is, or is a view into, the result."""
    if isinstance(state, Tensor):
        return state.untyped_storage().data_ptr() == result.untyped_storage().data_ptr()
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        return any(shares_memory(getattr(state, field.name), result) for field in dataclasses.fields(state))
    parts = state.values() if isinstance(state, Mapping) else state if isinstance(state, (tuple, list)) else ()
    return any(shares_memory(part, result) for part in parts)
