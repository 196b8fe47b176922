"""Bounds on the work for one file. Reaching a limit is a finding, so that no part is skipped silently."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """Bounds for one file, including all parts that are nested in it.

    Fields:
        depth: nesting depth of containers.
        members: total number of archive members.
        opcodes: total number of pickle opcodes.
        unpacked: total number of bytes after decompression.
        ratio: decompressed bytes per compressed byte, beyond the first mebibyte of a part.
        seconds: processor time, including that of the digest. A wait for the disk does not count.
        findings: number of findings; further ones are replaced by one finding about this limit.
    """

    depth: int = 12
    members: int = 100_000
    opcodes: int = 5_000_000
    unpacked: int = 1 << 30
    ratio: int = 200
    seconds: float = 120.0
    findings: int = 200


class LimitReached(Exception):
    """Raised and caught within a scan. Its arguments are the name and the value of the limit."""


@dataclass
class Meter:
    """The work that one file has caused so far, in the thread that scans it."""

    limits: Limits
    used: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.thread_time)

    def spend(self, what: str, amount: int) -> None:
        """Add to the number of opcodes, members or unpacked bytes. Raises LimitReached."""
        used = self.used[what] = self.used.get(what, 0) + amount
        if used > getattr(self.limits, what):
            raise LimitReached(what, getattr(self.limits, what))
        self.tick()

    def tick(self) -> None:
        """Raises LimitReached when the time has run out."""
        if time.thread_time() - self.started > self.limits.seconds:
            raise LimitReached("seconds", self.limits.seconds)
