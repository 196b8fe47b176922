"""Pickle streams: executed on the stack machine and checked against the allow list."""

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
    DANGEROUS_GLOBAL,
    EXTENSION,
    EXTERNAL_DATA,
    LOADED_CODE,
    MALFORMED,
    PATCHED_GLOBAL,
    PATH_TRAVERSAL,
    PERSISTENT_ID,
    TRAILING_STREAM,
    UNREVIEWED_CALL,
    UNREVIEWED_GLOBAL,
    Rule,
    Status,
)
from antivenom.scan.stubs import COMPUTED, OPAQUE, Blob, Global, Instance, Mapping
from antivenom.scan.view import View

# Callables of the allow list that unpickle their argument.
_UNPICKLING = {("torch.storage", "_load_from_bytes")}
# Opcodes that can begin a stream without a header. P, with which a zip begins, is left out: it needs persistent_load.
_FIRST = {bytes((code,)) for code in b"(c]})NIJKMLFGSTUVXBCi\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x82\x83\x84\x95\x96\x80"}
_STREAMS = 8  # consecutive streams without a header that are tried in search of one that acts
_GETATTR = ("builtins", "getattr")
_WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_ENCODE = ("_codecs", "encode")
_FILES = {("joblib.numpy_pickle", "NDArrayWrapper"), ("joblib.numpy_pickle", "ZNDArrayWrapper")}
# Listed callables that create an instance of their first argument, and how many of their arguments are classes.
_MAKERS = {("copyreg", "_reconstructor"): 2, ("copyreg", "__newobj__"): 1, ("copyreg", "__newobj_ex__"): 1}


class Collector:
    """Watches one or several streams of a part and collects findings, one for each global.

    Fields:
        part: the part that contains the streams.
        imports: number of globals that were imported.
        acted: whether a stream called or patched anything.
        nested: bytes that a listed callable would unpickle, with that callable.
        words: modules and names of the imported globals.
        stopped: the limit that ended the scan; None otherwise.
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
        """Add a finding, once for each rule and name. Raises LimitReached."""
        key = (rule.id, name or what)
        if key in self._found:
            return
        if len(self._found) >= self.part.meter.limits.findings:
            raise LimitReached("findings", self.part.meter.limits.findings)
        self._found[key] = self.part.finding(rule, what, at, name)

    def merge(self, findings: list[Finding]) -> None:
        """Add findings of another collector, each once."""
        for each in findings:
            self._found.setdefault((each.rule, each.name or each.what), each)

    def imported(self, wanted: Global) -> None:
        self.imports += 1
        self.words |= {wanted.module, wanted.name}
        if COMPUTED in (wanted.module, wanted.name):
            self.add(COMPUTED_CALL, f"imports {wanted}, a computed name", wanted.at, str(wanted))
            return
        if (wanted.module, wanted.name) == _GETATTR:
            return  # checked when it is called, by its arguments
        if self.part.shadows and (own := self._own(wanted.module)):
            self.add(LOADED_CODE, f"imports {wanted} from the archive's own {own}", wanted.at, str(wanted))
            return
        rule = self.part.allow.broken_rule(wanted)
        if rule is not None and (UNREVIEWED_CALL.id, str(wanted)) not in self._found:
            self.add(rule, f"imports {wanted}", wanted.at, str(wanted))

    def _own(self, module: str) -> str:
        """The module of the archive that torch.package would import in place of an installed one; empty if none."""
        parts = module.split(".")
        return next(
            (name for count in range(1, len(parts) + 1) if (name := ".".join(parts[:count])) in self.part.shadows), ""
        )

    def called(self, callee: object, arguments: object, at: int, bare: bool = False) -> object:
        self.acted = True
        if isinstance(callee, Global):
            self._say_call(callee, arguments, bare)
        else:
            self.add(COMPUTED_CALL, "calls a computed object", at)
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
                    self.add(COMPUTED_CALL, f"{callee} of computed bytes", at, str(callee))
        made = Instance(callee, arguments)
        self._note(self._types.made(made, name), at)
        if self.part.allow.permission(callee).items:
            self._holders.append((made, callee))
        return made

    def _note(self, violations: Iterable[usage.Violation], at: int) -> None:
        for rule, what, name in violations:
            self.add(rule, what, at, name)

    def _say_call(self, callee: Global, arguments: object, bare: bool) -> None:
        """Replace the finding of an import by that of its first call, which is more informative."""
        name, called = str(callee), not bare or arguments != ()
        what = printable(f"calls {name}{preview(arguments)}" if called else f"makes an object of {name}")
        found = self._found.get((DANGEROUS_GLOBAL.id, name))
        if found and found.what == f"imports {name}":
            self._found[DANGEROUS_GLOBAL.id, name] = replace(found, what=what)
        found = self._found.get((UNREVIEWED_GLOBAL.id, name))
        if found and called:
            del self._found[UNREVIEWED_GLOBAL.id, name]
            self._found[UNREVIEWED_CALL.id, name] = replace(found, rule=UNREVIEWED_CALL.id, what=what)
        elif found:
            self._found[UNREVIEWED_GLOBAL.id, name] = replace(found, what=what)

    def _made(self, callee: Global, arguments: object, at: int) -> object:
        """The instance that copyreg creates of its first argument, as NEWOBJ would."""
        given = arguments if isinstance(arguments, tuple) else ()
        classes = given[: _MAKERS[callee.module, callee.name]]
        if not classes or not all(isinstance(each, Global) for each in classes):
            self.add(COMPUTED_CALL, f"{callee} of a computed class", at, str(callee))
            return Instance(callee, arguments)
        rest = given[len(classes) :]
        return self.called(classes[0], () if rest == (None,) else rest, at, bare=True)

    def _encoded(self, arguments: object) -> bytes | None:
        """Bytes that protocols 0 to 2 write as a call: text that is encoded in Latin-1."""
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
        self.add(COMPUTED_CALL, "getattr on a computed object", at, "builtins.getattr")
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
    """A collector for joblib, which writes the raw bytes of an array behind the object that describes it."""

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
            raise Fault(COMPUTED_CALL, "describes an array by a computed state")
        self.wrapped += 1
        return self._behind_array(target.state.items, after)

    def _other_file(self, state: object, at: int) -> None:
        name = state.items.get("filename") if isinstance(state, Mapping) and state.complete else None
        rule = EXTERNAL_DATA if isinstance(name, str) and not set(name) & set("/\\:") else PATH_TRAVERSAL
        self.add(rule, f"reads an array, which can contain pickled objects, from {name}", at)

    def _behind_array(self, state: dict[str, object], after: int) -> int:
        size = dtypes.of_stub(state.get("dtype"))
        shape = state.get("shape")
        if size is None or not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise malformed("an array whose shape or dtype cannot be read")
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
    """The arguments of a call for a reader: plain values are shortened, other values become dots."""
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
    """Execute one stream; returns the offset of its end and its value. If it is broken, adds a finding; returns -1."""
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
    """The findings of a collector, and those in bytes that would be unpickled in turn. Raises LimitReached."""
    yield from collector.findings
    if collector.stopped:
        raise collector.stopped
    for view, callee in collector.nested:
        yield from collector.part.descend(view, f"<{callee} argument>")


def check(part: Part) -> Iterator[Finding]:
    """The findings of a file that begins with a pickle stream: plain pickle, joblib or older PyTorch."""
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
    """Findings from loading a joblib file with `pickle.load`, which would execute the bytes of its arrays as opcodes.

    With most files this fails at a random name. Names without a rule of their own are left out, because they cannot be
    distinguished from unreviewed modules. Combinations of the file's own modules and names, `words`, are left out too:
    the memo, whose order is then wrong, produces them.
    """
    collector = Collector(part)
    run(collector)
    found = [each for each in collector.findings if each.name and each.status is Status.UNSAFE]
    return [each for each in found if not {*each.name.rpartition(".")[::2]} <= words | {COMPUTED}]


def is_binary(view: View) -> bool:
    """Whether the content begins with the header of protocol 2 or later."""
    head = view.read(0, 2)
    return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def is_old(view: View) -> bool:
    """Whether the content is a stream of protocol 0 or 1, which have no header: it reaches STOP, or acts before."""
    if view.read(0, 1) not in _FIRST or is_binary(view):
        return False
    collector = JoblibCollector(Part(view, "", Meter(Limits(opcodes=100_000)), allow_list(), lambda part: iter(())))
    end, _ = run(collector)
    begins = end == len(view) or (end > 1 and collector.imports > 0)
    for _ in range(_STREAMS):  # a loader can read a second stream behind a harmless first one
        if not 0 <= end < len(view):
            break
        end, _ = run(collector, end)
    known = any(
        finding.rule == DANGEROUS_GLOBAL.id for finding in collector.findings
    )  # rules out prose, whose lines can begin with the opcode "c"
    return bool(begins or known or collector.stopped or collector.acted)
