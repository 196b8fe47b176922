"""A part of a file under scan: its bytes, its path, and the limits on the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from antivenom.scan.allow import AllowList
from antivenom.scan.findings import Finding
from antivenom.scan.limits import LimitReached, Meter
from antivenom.scan.rules import LIMIT, Rule
from antivenom.scan.view import View


@dataclass(frozen=True)
class Part:
    """The input of every check of a format.

    Fields:
        view: its bytes.
        where: its path, as file!member!member.
        meter: the work that the whole file has caused so far.
        allow: the globals that pickles can import.
        scan_part: scans a part that lies inside this one.
        depth: the number of containers around it.
        name: its own name in full, such as the path of a file or of an archive's member.
        shadows: modules whose source code lies in the archive around it, which torch.package imports from there.
    """

    view: View
    where: str
    meter: Meter
    allow: AllowList
    scan_part: Callable[[Part], Iterator[Finding]]
    depth: int = 0
    name: str = ""
    shadows: frozenset[str] = frozenset()

    def finding(self, rule: Rule, what: str, offset: int | None = None, name: str = "") -> Finding:
        """A finding in this part. Text from the file is reduced to printable characters on one line."""
        return Finding(rule.id, self.where, printable(what), offset, printable(name))

    def child(self, view: View, name: str) -> Part:
        """A part that lies inside this one. Raises LimitReached."""
        if self.depth >= self.meter.limits.depth:
            raise LimitReached("depth", self.meter.limits.depth)
        where = f"{self.where}!{printable(name)}"
        return replace(self, view=view, where=where, depth=self.depth + 1, name=name)

    def descend(self, view: View, name: str) -> Iterator[Finding]:
        """The findings in a part that lies inside this one. Raises LimitReached."""
        self.meter.spend("members", 1)
        yield from self.scan_part(self.child(view, name))

    def reached(self, limit: LimitReached) -> Finding:
        """The finding that a limit was reached."""
        what, value = limit.args
        return self.finding(LIMIT, f"more than {value} {what}", name=str(what))


def printable(text: str, longest: int = 200) -> str:
    """`text` on one line without control characters, cut to a readable length."""
    cut = text[:longest]
    shown = "".join(c if c.isprintable() else "?" for c in cut)
    return shown if len(text) <= longest else f"{shown}..."
