"""One round of questions and answers: who was asked, whose reply is usable, and why the others are not."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

from antivenom.integrations.flower.limits import Limits
from antivenom.integrations.flower.metrics import Value, claim_of, metrics_of
from antivenom.integrations.flower.wire import Floats, Template, Unusable


@dataclass(frozen=True)
class Problem:
    """Why a client's reply does not count.

    Fields:
        reason: in a few words.
        hostile: whether no client that runs the app's code could have sent it. Faults of the network never are.
    """

    reason: str
    hostile: bool = False


@dataclass(frozen=True, eq=False)
class Reply:
    """A usable reply.

    Fields:
        node: who sent it.
        claim: how many examples the client claims.
        metrics: its other metrics.
        message: the message.
        arrays: its arrays, if the strategy needs them; the row of the matrix holds their numbers.
    """

    node: int
    claim: float
    metrics: dict[str, Value]
    message: Message
    arrays: ArrayRecord | None


class Round:
    """The replies to the messages of one round, checked as they arrive.

    Args:
        number: the number of the round, from 1.
        asked: the nodes that were asked.
        claim_key: the metric that says how many examples a client has.
        limits: the limits.
        model: the form of the model, and its parameters (d,), for a round of training; None for one of evaluation.
        keeps: whether replies keep their arrays. Otherwise their bytes are freed once they are parsed.

    Attributes:
        good: the usable replies; reply i is row i of `rows` and `side`.
        problems: why the others do not count.
        strays: replies that nobody asked for, such as second ones, with the sender.
    """

    def __init__(
        self,
        number: int,
        asked: Iterable[int],
        claim_key: str,
        limits: Limits,
        model: tuple[Template, Floats] | None = None,
        *,
        keeps: bool = False,
    ) -> None:
        self.number, self.asked = number, tuple(dict.fromkeys(asked))
        self._claim_key, self._limits, self._model, self._keeps = claim_key, limits, model, keeps
        self._asked, self._answered = frozenset(self.asked), set[int]()
        self.good = list[Reply]()
        self.problems = dict[int, Problem]()
        self.strays = list[tuple[int, str]]()
        self._taken = dict[int, Message]()  # by id, which is only valid while the message lives
        self._matrix: Floats | None = None
        self._side: Floats | None = None
        self.began = time.monotonic()

    def take(self, message: Message, node: int | None = None) -> None:
        """Check a reply, once. `node` is the node that was asked, where the grid knows it."""
        if id(message) in self._taken:
            return
        self._taken[id(message)] = message
        node = message.metadata.src_node_id if node is None else node
        if node not in self._asked:
            self.strays.append((node, "a reply of a node that was not asked"))
            return
        if node in self._answered:
            self.strays.append((node, "a second reply"))
            return
        self._answered.add(node)
        try:
            self.good.append(self._checked(message, node))
        except _Fault as error:
            self.problems[node] = Problem(str(error))
        except Unusable as error:
            self.problems[node] = Problem(str(error), hostile=True)
        except Exception as error:  # a client's bytes must never end the run, whatever they provoke
            self.problems[node] = Problem(f"a reply that cannot be read ({type(error).__name__})", hostile=True)
        finally:
            if not message.has_error() and not self._keeps:
                message.content = RecordDict()

    def unreadable(self, node: int, error: Exception) -> None:
        """Count a reply that Flower itself could not read."""
        self._answered.add(node)
        reason = (
            "a message that takes too much memory"
            if isinstance(error, MemoryError)
            else "a message that cannot be read"
        )
        self.problems.setdefault(node, Problem(f"{reason} ({type(error).__name__})", hostile=True))

    def close(self) -> None:
        """Count clients without a reply as faults."""
        self.problems |= {node: Problem("no reply in time") for node in self.asked if node not in self._answered}

    @property
    def rows(self) -> Floats:
        """(n, d) the updates of the usable replies."""
        return self._room()[0][: len(self.good)]

    @property
    def side(self) -> Floats:
        """(n, m) their buffers and counters."""
        return self._room()[1][: len(self.good)]

    @property
    def hostile(self) -> list[int]:
        """The nodes whose replies were hostile, if more than half of the replies were good.

        Otherwise the fault is probably in the app: a learning rate at which every client diverges is no attack.
        """
        bad = [node for node, problem in self.problems.items() if problem.hostile]
        return bad if len(self.good) > len(bad) else []

    def _room(self) -> tuple[Floats, Floats]:
        if self._matrix is None or self._side is None:
            template = self._model[0] if self._model else None
            d, m, kind = (template.d, template.m, template.precision) if template else (0, 0, np.float32)
            self._matrix, self._side = np.empty((len(self.asked), d), kind), np.empty((len(self.asked), m))
        return self._matrix, self._side

    def _checked(self, message: Message, node: int) -> Reply:
        """The reply, if all checks succeed.

        Raises:
            _Fault: an error that the client or the network reports, or a client without examples.
            Unusable: anything else that is wrong.
        """
        if message.has_error():
            raise _Fault(f"an error: {_line(message.error.reason)}")
        if not message.has_content():
            raise Unusable("no content")
        content: Any = message.content
        # Flower's own `array_records` refers to itself, so that the bytes would stay until the garbage collector runs
        arrays = [record for record in content.values() if isinstance(record, ArrayRecord)]
        metrics = [record for record in content.values() if isinstance(record, MetricRecord)]
        if len(metrics) != 1:
            raise Unusable(f"{len(metrics)} records of metrics, not 1")
        found = metrics_of(metrics[0], self._claim_key, self._limits.metrics)
        claim = claim_of(metrics[0], self._claim_key)
        if claim == 0:
            raise _Fault("no examples")
        if self._model is not None:
            if len(arrays) != 1:
                raise Unusable(f"{len(arrays)} records of arrays, not 1")
            template, start = self._model
            matrix, side = self._room()
            template.read(arrays[0], start, matrix[len(self.good)], side[len(self.good)])
        kept = arrays[0] if self._model is not None and self._keeps else None
        return Reply(node, claim, found, message, kept)


class _Fault(Exception):
    """Why a reply does not count although nobody is hostile."""


def _line(text: object) -> str:
    """The start of a client's text, on one line and without control characters."""
    line = str(text).strip().partition("\n")[0]
    return "".join(c if c.isprintable() else "?" for c in line[:200])
