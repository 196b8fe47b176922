"""The limits that a defended server keeps, whatever rule it uses."""

from __future__ import annotations

import math
from dataclasses import dataclass

from antivenom.core.errors import ScenarioError


@dataclass(frozen=True)
class Limits:
    """When a reply, a client or a round does not count.

    Fields:
        quorum: the share of the clients asked whose replies must be usable; with fewer, the model stays as it was.
        claim_factor: no client counts for more examples than this multiple of the round's median claim.
        claim_share: no client counts for more than this share of all examples.
        strikes: after so many hostile replies a client is no longer asked; None never excludes anyone. A reply is hostile
            if no client that runs the app's code could have sent it. Errors, missing and late replies never are.
        flags: after so many rounds in which a detector flagged it, a client is no longer asked; None never excludes anyone.
        metrics: the most metrics that a reply may contain.
        patience: seconds to wait for enough clients to be connected; then the round is skipped.
        poll: seconds between two looks for replies.
        reply_memory: while a reply is pulled, the process may grow by this multiple of the model's bytes, and 128 MB. A reply that
            needs more is refused without reading the rest of it. None for no bound; there is none outside Linux.
    """

    quorum: float = 0.5
    claim_factor: float = 3.0
    claim_share: float = 0.5
    strikes: int | None = 3
    flags: int | None = None
    metrics: int = 100
    patience: float = 600.0
    poll: float = 1.0
    reply_memory: float | None = 8.0

    def __post_init__(self) -> None:
        shares = 0 <= self.quorum <= 1 and 0 < self.claim_share <= 1 and 1 <= self.claim_factor < math.inf
        if not shares:
            got = f"{self.quorum}, {self.claim_share} and {self.claim_factor}"
            raise ScenarioError("quorum from 0 to 1, claim_share above 0 and up to 1, and claim_factor >= 1", got)
        if not all(each is None or each >= 1 for each in (self.strikes, self.flags)):
            raise ScenarioError("strikes and flags >= 1, or None", f"{self.strikes} and {self.flags}")
        if self.reply_memory is not None and not self.reply_memory >= 4:  # Flower holds a reply up to three times
            raise ScenarioError("reply_memory >= 4, or None", f"{self.reply_memory}")
        if not (self.patience >= 0 and self.poll > 0 and self.metrics >= 1):
            got = f"{self.patience}, {self.poll} and {self.metrics}"
            raise ScenarioError("patience >= 0, poll > 0 and metrics >= 1", got)
