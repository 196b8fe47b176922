"""Pickle streams: run on the stack machine, judged by the allow list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from antivenom.scan.allow import allow_list
from antivenom.scan.findings import Finding
from antivenom.scan.limits import LimitReached, Limits, Meter
from antivenom.scan.machine import Machine
from antivenom.scan.part import Part
from antivenom.scan.reader import Fault
from antivenom.scan.rules import (
    COMPUTED_CALL,
    EXTENSION,
    MALFORMED,
    PATCHED_GLOBAL,
    PERSISTENT_ID,
    TRAILING_STREAM,
    UNLISTED_GLOBAL,
)
from antivenom.scan.stubs import COMPUTED, Blob, Global, Instance
from antivenom.scan.view import View

# Callables of the allow list that unpickle what they are given.
_UNPICKLING = {("torch.storage", "_load_from_bytes")}
# Opcodes that can begin a stream without a header.
_FIRST = {bytes((code,)) for code in b"(c]})NIJKMLFGSTUVXBCPi\x80\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x82\x83\x84\x95\x96"}


class Judge:
    """Watches one or several streams of a part and gathers findings, each global once.

    Fields:
        imports: how many globals were looked up.
        acted: whether a stream called or patched anything.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.imports = 0
        self.acted = False
        self.nested: list[tuple[View, Global]] = []
        self._found: dict[tuple[str, str], Finding] = {}

    @property
    def findings(self) -> list[Finding]:
        return list(self._found.values())

    def add(self, rule: Any, what: str, at: int | None, name: str = "") -> None:
        """Note a finding, once for each rule and name."""
        limit = self.part.meter.limits.findings
        if len(self._found) < limit:
            self._found.setdefault((rule.id, name or what), self.part.finding(rule, what, at, name))
        elif (rule.id, name or what) not in self._found:
            raise LimitReached("findings", limit)

    def imported(self, wanted: Global) -> None:
        self.imports += 1
        if COMPUTED in (wanted.module, wanted.name):
            self.add(COMPUTED_CALL, f"imports {wanted}, a name that it has built", wanted.at, str(wanted))
            return
        if (wanted.module, wanted.name) == ("builtins", "getattr"):
            return  # judged by what it is called with
        rule = self.part.allow.judge(wanted)
        if rule is not None:
            self.add(rule, f"imports {wanted}", wanted.at, str(wanted))

    def called(self, callee: Any, arguments: Any, at: int) -> Any:
        self.acted = True
        if not isinstance(callee, Global):
            self.add(COMPUTED_CALL, "calls an object that it has built", at)
            return Instance(callee)
        if (callee.module, callee.name) == ("builtins", "getattr"):
            return self._attribute(arguments, at)
        if (callee.module, callee.name) in _UNPICKLING:
            for argument in arguments if isinstance(arguments, tuple) else (arguments,):
                if isinstance(argument, bytes):
                    self.nested.append((View(argument), callee))
                elif isinstance(argument, Blob) and not argument.grows:
                    self.nested.append((argument.view, callee))
                else:
                    self.add(COMPUTED_CALL, "unpickles bytes that it has built", at, str(callee))
        return Instance(callee, arguments)

    def _attribute(self, arguments: Any, at: int) -> Any:
        match arguments:
            case (Global() as owner, str() as name):
                found = Global(owner.module, f"{owner.name}.{name}", at)
                self.imported(found)
                return found
        self.add(COMPUTED_CALL, "getattr on an object that it has built", at, "builtins.getattr")
        return Instance(Global("builtins", "getattr", at))

    def patched(self, target: Any, at: int) -> None:
        self.acted = True
        self.add(PATCHED_GLOBAL, f"changes {target}", at, str(target))

    def extension(self, code: int, at: int) -> None:
        self.add(EXTENSION, f"looks up extension code {code}", at)

    def persistent(self, identity: Any, at: int) -> None:
        self.add(PERSISTENT_ID, "asks the loader for an object by a persistent id", at)

    def odd(self, detail: str, at: int) -> None:
        self.add(MALFORMED, detail, at)

    def built(self, target: Any, after: int) -> int:
        return after


def run(judge: Judge, start: int = 0) -> tuple[int, Any]:
    """Run one stream: where it ends and what it stands for; -1 if it breaks, which is then a finding."""
    machine = Machine(judge.part.view, judge, judge.part.meter, start)
    try:
        return machine.run(), machine.result
    except Fault as fault:
        judge.add(fault.rule, fault.detail, machine.at)
        return -1, None


def check(part: Part) -> Iterator[Finding]:
    """The findings of a file that is one pickle stream."""
    judge, stopped, end = Judge(part), None, -1
    try:
        end, _ = run(judge)
    except LimitReached as limit:
        stopped = limit
    if 0 <= end < len(part.view):
        judge.add(TRAILING_STREAM, f"{len(part.view) - end} bytes after STOP", end)
    yield from judge.findings
    if stopped:
        raise stopped
    for view, callee in judge.nested:
        yield from part.inside(view, f"<{callee} argument>")
    if 0 <= end < len(part.view):
        yield from part.inside(part.view.within(end), "<after STOP>")


def is_binary(view: View) -> bool:
    """Whether the content begins as a pickle of protocol 2 or later does."""
    head = view.read(0, 2)
    return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def is_old(view: View) -> bool:
    """Whether a stream without a header, as protocols 0 and 1 write it, runs to STOP or acts before it breaks."""
    if view.read(0, 1) not in _FIRST:
        return False
    try:
        judge = Judge(Part(view, "", Meter(Limits(opcodes=100_000)), allow_list(), lambda part: iter(())))
        end, _ = run(judge)
    except LimitReached:
        return True
    known = any(finding.rule == UNLISTED_GLOBAL.id for finding in judge.findings)  # not a word in a line that begins with c
    return judge.acted or known or end == len(view) or (end > 1 and judge.imports > 0)
