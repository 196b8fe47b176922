"""What a server remembers of its clients: how often their replies were usable, hostile, flagged or missing."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from antivenom.integrations.flower.limits import Limits


@dataclass(frozen=True)
class Reputation:
    """One client's past.

    Fields:
        number: its number among the server's clients, from 0, which detectors and rules with memory know it by.
        good: rounds with a usable reply that no detector flagged.
        hostile: rounds with a hostile reply.
        flagged: rounds in which a detector flagged it.
        faults: rounds with an error, or without a reply.
    """

    number: int
    good: int = 0
    hostile: int = 0
    flagged: int = 0
    faults: int = 0


class Ledger:
    """The clients by identity: the fingerprint of a node's public key, or its id where nodes are not authenticated.

    A node that registers again gets another id, and keeps its key. Without authentication it becomes another client.
    """

    def __init__(self) -> None:
        self._known = dict[str, Reputation]()
        self._identities = dict[int, str]()

    def meet(self, nodes: Iterable[Any]) -> None:
        """Learn the identities of nodes, which have `node_id` and, with authentication, `public_key`."""
        for node in nodes:
            key = bytes(getattr(node, "public_key", b"") or b"")
            self._identities[node.node_id] = f"key-{hashlib.sha256(key).hexdigest()[:16]}" if key else str(node.node_id)

    def knows(self, node: int) -> bool:
        """Whether the node's identity has been learnt."""
        return node in self._identities

    def identity(self, node: int) -> str:
        """The client's identity."""
        return self._identities.get(node, str(node))

    def of(self, node: int) -> Reputation:
        """The client's past; that of a new client if it is unknown."""
        identity = self.identity(node)
        if identity not in self._known:
            self._known[identity] = Reputation(len(self._known))
        return self._known[identity]

    def add(self, node: int, what: str) -> None:
        """Count one more round of this kind: good, hostile, flagged or faults."""
        past = self.of(node)
        self._known[self.identity(node)] = dataclasses.replace(past, **{what: getattr(past, what) + 1})

    def excluded(self, node: int, limits: Limits) -> bool:
        """Whether the client is no longer asked."""
        past = self._known.get(self.identity(node))
        if past is None:
            return False
        strikes = limits.strikes is not None and past.hostile >= limits.strikes
        return strikes or (limits.flags is not None and past.flagged >= limits.flags)

    def state(self) -> dict[str, dict[str, int]]:
        """All reputations as plain values."""
        return {identity: dataclasses.asdict(past) for identity, past in self._known.items()}

    def restore(self, state: Mapping[str, Mapping[str, int]]) -> None:
        """Go on with saved reputations."""
        self._known = {identity: Reputation(**past) for identity, past in state.items()}
