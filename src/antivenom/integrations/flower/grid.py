"""A grid that hands every reply to the defended strategy as soon as it arrives, and never waits for ever."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flwr.app import Message
from flwr.serverapp import Grid
from google.protobuf.message import DecodeError

from antivenom.integrations.flower.memory import at_most

if TYPE_CHECKING:
    from antivenom.integrations.flower.defended import Defended

# What reading a malformed message raises. Errors of the connection are no subclasses of these and pass.
_MALFORMED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    RecursionError,
    MemoryError,
    DecodeError,  # protobuf's, also where memory ends
)


class TooFewNodes(Exception):
    """The strategy has waited too long for enough connected nodes."""


class WatchedGrid(Grid):
    """The app's grid, with replies pulled one at a time.

    Flower pulls all replies at once, so that one message that breaks while it is read takes the others of the round with
    it. Pulled one at a time, it costs its own sender only, and the bytes of each reply can be freed before the next comes.
    """

    def __init__(self, inner: Grid, owner: Defended) -> None:
        self._inner, self._owner = inner, owner
        self._asking_since: float | None = None

    def begin_asking(self) -> None:
        """Start the clock of `get_node_ids`."""
        self._asking_since = time.monotonic()

    def set_run(self, run: Any) -> None:
        """Set the run."""
        self._inner.set_run(run)

    @property
    def run(self) -> Any:
        """The run."""
        return self._inner.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Create a message."""
        return self._inner.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        """The connected nodes.

        Raises:
            TooFewNodes: a strategy still asks after `Limits.patience` seconds. Flower's strategies ask until there are
                enough, and have no limit of their own.
        """
        nodes = list(self._inner.get_node_ids())
        since = self._asking_since
        if since is not None and time.monotonic() - since > self._owner.limits.patience:
            raise TooFewNodes
        return nodes

    def get_nodes(self) -> Iterable[Any]:
        """What is known of the connected nodes."""
        return self._inner.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages."""
        return self._inner.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pull replies."""
        return self._inner.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send messages and return the replies that arrive in time, each checked when it arrives."""
        asked = list(messages)
        if not asked:
            return []
        nodes = [message.metadata.dst_node_id for message in asked]
        ids = list(self._inner.push_messages(asked))
        waiting = {each: node for each, node in zip(ids, nodes, strict=False) if each}
        end = None if timeout is None else time.monotonic() + timeout
        replies = list[Message]()
        while waiting:
            for each in list(waiting):
                replies += self._pulled(each, waiting)
            left = self._owner.limits.poll if end is None else min(self._owner.limits.poll, end - time.monotonic())
            if not waiting or left <= 0:
                break
            time.sleep(left)
        return replies

    def _pulled(self, each: str, waiting: dict[str, int]) -> list[Message]:
        """The reply to one message, if it is there."""
        found = list[Message]()
        try:
            with at_most(self._owner.memory_for_a_reply):
                found = list(self._inner.pull_messages([each]))
        except _MALFORMED as error:
            self._owner.unreadable(waiting.pop(each), error)
        if each not in waiting:
            gc.collect()  # Flower's threads hold the bytes of a pull that failed in cycles
            return []
        replies = list[Message]()
        for message in found:
            node = waiting.pop(message.metadata.reply_to_message_id, None)
            if node is None:
                self._owner.stray(message.metadata.src_node_id, "a reply to no open question")
                continue
            self._owner.take(message, node)
            replies.append(message)
        return replies
