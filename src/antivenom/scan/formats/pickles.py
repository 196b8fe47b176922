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
    CALLED_REFERENCE,
    COMPUTED_CALL,
    EXTENSION,
    PATCHED_GLOBAL,
    PERSISTENT_ID,
    SHADOWED_METHOD,
    TRAILING_STREAM,
)
from antivenom.scan.stubs import Blob, Global, Instance, Mapping, is_called_by_load
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
        if (wanted.module, wanted.name) == ("builtins", "getattr"):
            return  # judged by what it is called with
        rule = self.part.allow.judge(wanted)
        if rule is not None:
            self.add(rule, f"imports {wanted}", wanted.at, str(wanted))

    def called(self, callee: Any, arguments: Any, at: int, bare: bool = False) -> Any:
        self.acted = True
        if not isinstance(callee, Global):
            self.add(COMPUTED_CALL, "calls an object that it has built", at)
            return Instance(callee)
        if (callee.module, callee.name) == ("builtins", "getattr"):
            return self._attribute(arguments, at)
        self._on_terms(callee, arguments, at, bare)
        if isinstance(arguments, tuple) and (callee.module, callee.name) in _UNPICKLING:
            for argument in arguments:
                if isinstance(argument, (bytes, Blob)):
                    view = argument.view if isinstance(argument, Blob) else View(argument)
                    self.nested.append((view, callee))
        return Instance(callee, arguments)

    def _on_terms(self, callee: Global, arguments: Any, at: int, bare: bool) -> None:
        terms = self.part.allow.terms(callee)
        if not terms.call and not bare:
            self.add(CALLED_REFERENCE, f"calls {callee}", at, str(callee))
        for number in (terms.calls, terms.state):
            if number is not None and not isinstance(arguments, tuple):
                self.add(COMPUTED_CALL, f"calls {callee} with arguments that it has built", at, str(callee))
                return
        if terms.calls is not None and len(arguments) > terms.calls:
            match arguments[terms.calls]:
                case Global() as called if self.part.allow.terms(called).call:
                    pass
                case called:
                    self.add(COMPUTED_CALL, f"has {callee} call {_kind(called)}", at, str(callee))
        if terms.state is not None and len(arguments) > terms.state:
            self._shadows(arguments[terms.state], callee, at)

    def _shadows(self, state: Any, target: Any, at: int) -> None:
        for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
            if _may_be_dict(part) or (isinstance(part, Mapping) and part.computed):
                self.add(SHADOWED_METHOD, f"state for {target} under names that it has built", at, str(target))
            elif isinstance(part, Mapping):
                for name in filter(is_called_by_load, part.items):
                    self.add(SHADOWED_METHOD, f"state for {target} that sets {name}", at, f"{target}.{name}")

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

    def built(self, target: Any, after: int) -> int:
        if isinstance(target, Instance):
            self._shadows(target.state, target.maker, after - 1)
        return after


def _may_be_dict(state: Any) -> bool:
    """Whether a call made `state`, and made a dict of it, whose names nobody has seen. No listed name of numpy does."""
    if not isinstance(state, Instance):
        return False
    return not isinstance(state.maker, Global) or state.maker.module.partition(".")[0] != "numpy"


def _kind(value: Any) -> str:
    return str(value) if isinstance(value, Global) else "an object that it has built"


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
    return judge.acted or end == len(view) or (end > 1 and judge.imports > 0)
