"""How much work one file may cause. A limit that is reached is a finding, never silence."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """Bounds for one file with all that is nested in it.

    Fields:
        depth: containers within containers.
        members: entries of all its archives together.
        opcodes: pickle opcodes of all its streams together.
        unpacked: bytes that its compressed parts may grow to, together.
        ratio: bytes out per byte in, of a compressed part beyond its first mebibyte.
        seconds: wall time.
        findings: findings that are kept; the rest is counted as one more.
    """

    depth: int = 12
    members: int = 100_000
    opcodes: int = 5_000_000
    unpacked: int = 1 << 30
    ratio: int = 200
    seconds: float = 120.0
    findings: int = 200


class LimitReached(Exception):
    """Raised inside a scan and caught there: the limit's name and value are its arguments."""


@dataclass
class Meter:
    """What one file has used of its limits so far."""

    limits: Limits
    used: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def spend(self, what: str, amount: int) -> None:
        """Count `amount` of opcodes, members or unpacked bytes. Raises LimitReached."""
        used = self.used[what] = self.used.get(what, 0) + amount
        if used > getattr(self.limits, what):
            raise LimitReached(what, getattr(self.limits, what))
        self.tick()

    def tick(self) -> None:
        """Raises LimitReached when the time is up."""
        if time.monotonic() - self.started > self.limits.seconds:
            raise LimitReached("seconds", self.limits.seconds)
