"""Pickle streams: run on the stack machine, judged by the allow list."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from antivenom.scan import usage
from antivenom.scan.allow import allow_list
from antivenom.scan.findings import Finding
from antivenom.scan.formats import dtypes
from antivenom.scan.limits import LimitReached, Limits, Meter
from antivenom.scan.machine import Machine
from antivenom.scan.part import Part, printable
from antivenom.scan.reader import Fault, malformed
from antivenom.scan.rules import (
    COMPUTED_CALL,
    EXTENSION,
    EXTERNAL_DATA,
    MALFORMED,
    PATCHED_GLOBAL,
    PATH_TRAVERSAL,
    PERSISTENT_ID,
    TRAILING_STREAM,
    UNLISTED_GLOBAL,
    UNREVIEWED_GLOBAL,
    Rule,
    Status,
)
from antivenom.scan.stubs import COMPUTED, OPAQUE, Blob, Global, Instance, Mapping
from antivenom.scan.view import View

# Callables of the allow list that unpickle what they are given.
_UNPICKLING = {("torch.storage", "_load_from_bytes")}
# Opcodes that can begin a stream without a header. Not P, with which a zip begins: it stops a loader that knows no ids.
_FIRST = {bytes((code,)) for code in b"(c]})NIJKMLFGSTUVXBCi\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x82\x83\x84\x95\x96\x80"}
_STREAMS = 8  # that may follow one another without a header before one of them acts
_GETATTR = ("builtins", "getattr")
_WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_ENCODE = ("_codecs", "encode")
_FILES = {("joblib.numpy_pickle", "NDArrayWrapper"), ("joblib.numpy_pickle", "ZNDArrayWrapper")}
# Listed callables that make an instance of their first argument, and how many arguments are classes.
_MAKERS = {("copyreg", "_reconstructor"): 2, ("copyreg", "__newobj__"): 1, ("copyreg", "__newobj_ex__"): 1}


class Collector:
    """Watches one or several streams of a part and gathers findings, each global once.

    Fields:
        part: what is judged.
        imports: how many globals were looked up.
        acted: whether a stream called or patched anything.
        nested: bytes that a listed callable would unpickle.
        words: modules and names that were looked up.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.imports = 0
        self.acted = False
        self.nested: list[tuple[View, Global]] = []
        self.words: set[str] = set()
        self.stopped: LimitReached | None = None
        self._found: dict[tuple[str, str], Finding] = {}
        self._types = usage.ArrayTypes()
        self._holders: list[tuple[Instance, Global]] = []  # dict-like objects whose items become attributes

    @property
    def findings(self) -> list[Finding]:
        for holder, maker in self._holders:  # checked last, because items can still be added to them until then
            self._note(usage.check_state(holder.items, maker), maker.at)
        return list(self._found.values())

    def add(self, rule: Rule, what: str, at: int | None, name: str = "") -> None:
        """Note a finding, once for each rule and name. Raises LimitReached."""
        key = (rule.id, name or what)
        if key in self._found:
            return
        if len(self._found) >= self.part.meter.limits.findings:
            raise LimitReached("findings", self.part.meter.limits.findings)
        self._found[key] = self.part.finding(rule, what, at, name)

    def merge(self, findings: list[Finding]) -> None:
        """Take over findings, each once."""
        for each in findings:
            self._found.setdefault((each.rule, each.name or each.what), each)

    def imported(self, wanted: Global) -> None:
        self.imports += 1
        self.words |= {wanted.module, wanted.name}
        if COMPUTED in (wanted.module, wanted.name):
            self.add(COMPUTED_CALL, f"imports {wanted}, a name that it has built", wanted.at, str(wanted))
            return
        if (wanted.module, wanted.name) == _GETATTR:
            return  # judged by what it is called with
        rule = self.part.allow.broken_rule(wanted)
        if rule is not None:
            self.add(rule, f"imports {wanted}", wanted.at, str(wanted))

    def called(self, callee: object, arguments: object, at: int, bare: bool = False) -> object:
        self.acted = True
        if isinstance(callee, Global):
            self._say_call(callee, arguments)
        else:
            self.add(COMPUTED_CALL, "calls an object that it has built", at)
            return Instance(callee)
        name = (callee.module, callee.name)
        if name == _ENCODE:
            encoded = self._encoded(arguments)
            return Instance(callee, arguments) if encoded is None else encoded
        if name == _GETATTR:
            return self._attribute(arguments, at)
        self._note(usage.check_call(self.part.allow, callee, arguments, bare), at)
        if name in _MAKERS:
            return self._made(callee, arguments, at)
        if name in _UNPICKLING:
            for argument in arguments if isinstance(arguments, tuple) else (arguments,):
                if isinstance(argument, bytes):
                    self.nested.append((View(argument), callee))
                elif isinstance(argument, Blob) and not argument.grows:
                    self.nested.append((argument.view, callee))
                else:
                    self.add(COMPUTED_CALL, f"{callee} of bytes that it has built", at, str(callee))
        made = Instance(callee, arguments)
        self._note(self._types.made(made, name), at)
        if self.part.allow.permission(callee).items:
            self._holders.append((made, callee))
        return made

    def _note(self, violations: Iterable[usage.Violation], at: int) -> None:
        for rule, what, name in violations:
            self.add(rule, what, at, name)

    def _say_call(self, callee: Global, arguments: object) -> None:
        """Turn the finding of an import into that of its first call, which tells more."""
        name = str(callee)
        for rule in (UNLISTED_GLOBAL.id, UNREVIEWED_GLOBAL.id):
            found = self._found.get((rule, name))
            if found and found.what == f"imports {name}":
                self._found[rule, name] = replace(found, what=printable(f"calls {name}{preview(arguments)}"))

    def _made(self, callee: Global, arguments: object, at: int) -> object:
        """The instance that copyreg makes of its first argument, as NEWOBJ would."""
        given = arguments if isinstance(arguments, tuple) else ()
        classes = given[: _MAKERS[callee.module, callee.name]]
        if not classes or not all(isinstance(each, Global) for each in classes):
            self.add(COMPUTED_CALL, f"{callee} of a class that it has built", at, str(callee))
            return Instance(callee, arguments)
        rest = given[len(classes) :]
        return self.called(classes[0], () if rest == (None,) else rest, at, bare=True)

    def _encoded(self, arguments: object) -> bytes | None:
        """Bytes as protocols 0 to 2 spell them, text in Latin-1."""
        match arguments:
            case (str() as text, "latin1" | "latin-1"):
                pass
            case (Blob(is_text=True) as blob, "latin1" | "latin-1"):
                self.part.meter.spend("unpacked", len(blob.view))
                text = blob.view.read().decode(blob.codec, "surrogateescape" if blob.codec == "utf-8" else "strict")
            case _:
                return None
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            return None

    def _attribute(self, arguments: object, at: int) -> object:
        match arguments:
            case (Global() as owner, str() as name):
                found = Global(owner.module, f"{owner.name}.{name}", at)
                self.imported(found)
                return found
        self.add(COMPUTED_CALL, "getattr on an object that it has built", at, "builtins.getattr")
        return Instance(Global(*_GETATTR, at))

    def patched(self, target: object, at: int) -> None:
        self.acted = True
        self.add(PATCHED_GLOBAL, f"changes {target}", at, str(target))

    def extension(self, code: int, at: int) -> None:
        self.add(EXTENSION, f"looks up extension code {code}", at)

    def persistent(self, identity: object, at: int) -> object:
        self.add(PERSISTENT_ID, "asks the loader for an object by a persistent id", at)
        return OPAQUE

    def disputed(self, detail: str, at: int) -> None:
        self.add(MALFORMED, detail, at)

    def built(self, target: object, after: int) -> int:
        if isinstance(target, Instance):
            self._note(usage.check_state(target.state, target.maker), after - 1)
            self._note(self._types.built(target), after - 1)
        return after


class JoblibCollector(Collector):
    """A collector that reads on as joblib does, which puts an array's raw bytes behind the object that describes it."""

    wrapped = 0

    def built(self, target: object, after: int) -> int:
        super().built(target, after)
        if not isinstance(target, Instance):
            return after
        if _name(target.maker) in _FILES:
            self._other_file(target.state, after)
        if _name(target.maker) != _WRAPPER:
            return after
        if not isinstance(target.state, Mapping) or not target.state.complete or target.rebuilt:
            raise Fault(COMPUTED_CALL, "describes an array by a state that it has built")
        self.wrapped += 1
        return self._behind_array(target.state.items, after)

    def _other_file(self, state: object, at: int) -> None:
        name = state.items.get("filename") if isinstance(state, Mapping) and state.complete else None
        rule = EXTERNAL_DATA if isinstance(name, str) and not set(name) & set("/\\:") else PATH_TRAVERSAL
        self.add(rule, f"reads an array, and what is pickled in it, from {name}", at)

    def _behind_array(self, state: dict[str, object], after: int) -> int:
        size = dtypes.of_stub(state.get("dtype"))
        shape = state.get("shape")
        if size is None or not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise malformed("an array whose shape or type is not plain")
        if size == dtypes.OBJECTS:
            return Machine(self.part.view, self, self.part.meter, after).run()
        if state.get("numpy_array_alignment_bytes") is not None:
            after += 1 + int.from_bytes(self.part.view.read(after, 1), "little")
        after += math.prod(shape) * size
        if after > len(self.part.view):
            raise malformed("an array that is longer than the file")
        return after


def _name(maker: object) -> tuple[str, str] | None:
    return (maker.module, maker.name) if isinstance(maker, Global) else None


def preview(arguments: object) -> str:
    """The arguments of a call as a reader wants to see them: plain values, shortened, and dots for the rest."""
    if not isinstance(arguments, tuple):
        return "(...)"
    plain = (str, bytes, int, float, type(None), Global)
    shown = [
        (str(each) if isinstance(each, Global) else repr(each[:80] if isinstance(each, (str, bytes)) else each))
        if isinstance(each, plain)
        else "..."
        for each in arguments[:4]
    ]
    return f"({', '.join(shown + ['...'] * (len(arguments) > 4))})"


def run(collector: Collector, start: int = 0) -> tuple[int, object]:
    """Run one stream: where it ends and what it stands for; -1 if it breaks, which is then a finding."""
    if collector.stopped:
        return -1, None
    machine = Machine(collector.part.view, collector, collector.part.meter, start)
    try:
        return machine.run(), machine.result
    except Fault as fault:
        collector.add(fault.rule, fault.detail, machine.at)
    except LimitReached as limit:
        collector.stopped = limit
    return -1, None


def findings_of(collector: Collector) -> Iterator[Finding]:
    """What a collector has found, with what lies in the bytes that would be unpickled in turn. Raises LimitReached."""
    yield from collector.findings
    if collector.stopped:
        raise collector.stopped
    for view, callee in collector.nested:
        yield from collector.part.descend(view, f"<{callee} argument>")


def check(part: Part) -> Iterator[Finding]:
    """The findings of a file that begins as a pickle stream: of plain pickle, of joblib or of older PyTorch."""
    from antivenom.scan.formats import torch_files

    collector = JoblibCollector(part)
    end, value = run(collector)
    if value == torch_files.MAGIC:
        yield from torch_files.check_stream(part)
        return
    if collector.wrapped:
        collector.merge(_as_plain(part, collector.words))
    if 0 <= end < len(part.view):
        collector.add(TRAILING_STREAM, f"{len(part.view) - end} bytes after STOP", end)
    yield from findings_of(collector)
    if 0 <= end < len(part.view):
        yield from part.descend(part.view.window(end), "<after STOP>")


def _as_plain(part: Part, words: set[str]) -> list[Finding]:
    """What `pickle.load` would do with a joblib file, whose arrays it takes for opcodes, beyond breaking off.

    It breaks off in most, over names that are no modules; those are left out, as nothing tells them from unreviewed ones.
    So are modules and names of the file itself, `words`, that only the memo has mixed up.
    """
    collector = Collector(part)
    run(collector)
    found = [each for each in collector.findings if each.name and each.status is Status.UNSAFE]
    return [each for each in found if not {*each.name.rpartition(".")[::2]} <= words | {COMPUTED}]


def is_binary(view: View) -> bool:
    """Whether the content begins as a pickle of protocol 2 or later does."""
    head = view.read(0, 2)
    return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def is_old(view: View) -> bool:
    """Whether a stream without a header, as protocols 0 and 1 write it, runs to STOP or acts before it breaks."""
    if view.read(0, 1) not in _FIRST or is_binary(view):
        return False
    collector = JoblibCollector(Part(view, "", Meter(Limits(opcodes=100_000)), allow_list(), lambda part: iter(())))
    end, _ = run(collector)
    begins = end == len(view) or (end > 1 and collector.imports > 0)
    for _ in range(_STREAMS):  # a loader that reads on finds a second stream behind a harmless first
        if not 0 <= end < len(view):
            break
        end, _ = run(collector, end)
    known = any(finding.rule == UNLISTED_GLOBAL.id for finding in collector.findings)  # not a word on a line after "c"
    return bool(begins or known or collector.stopped or collector.acted)
