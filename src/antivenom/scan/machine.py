"""An exact pickle stack machine on inert stubs. It imports, calls, looks up and writes nothing.

It follows the two unpicklers of CPython 3.11 opcode by opcode, including memo, marks and frames, and so reports exactly
the imports and calls that they would make. Where the two disagree with each other, it stops with a Fault.
Reference: Lib/pickle.py, Modules/_pickle.c and PEP 307, 3154 and 574 for the meaning of opcodes.
"""

from __future__ import annotations

import _compat_pickle
from collections.abc import Callable

from antivenom.core.errors import with_article
from antivenom.scan.limits import Meter
from antivenom.scan.literals import Literals
from antivenom.scan.reader import Fault, Reader, malformed
from antivenom.scan.rules import STRADDLING_FRAME
from antivenom.scan.stubs import COMPUTED, OPAQUE, Blob, Global, Instance, Mapping, Opaque
from antivenom.scan.view import View
from antivenom.scan.watcher import Watcher

_BATCH = 512  # opcodes between two checks of the limits


class _Stop(Exception):
    pass


class Machine:
    """Executes one stream that begins at `start`. `run` returns the offset behind STOP and sets `result` to the value.

    Raises Fault where the stream is broken, and LimitReached. The watcher has been told of all events before that.
    """

    def __init__(self, view: View, watcher: Watcher, meter: Meter, start: int = 0) -> None:
        self._read, self._watch, self._meter = Reader(view, start), watcher, meter
        self._literal = Literals(view, self._read, self._dispute)
        self._stack: list[object] = []
        self._marks: list[list[object]] = []
        self._memo: dict[int, object] = {}
        self._protocol = 0
        self._at = start
        self.result: object = None

    @property
    def at(self) -> int:
        """Offset of the opcode being executed."""
        return self._at

    def run(self) -> int:
        reader, table, budget = self._read, _TABLE, _BATCH
        try:
            while True:
                if reader.next < reader.edge:  # reader.opcode() inlined, for speed
                    code = reader.data[reader.next]
                    reader.next += 1
                else:
                    code = reader.opcode()
                self._at = reader.first + reader.next - 1
                table[code](self)
                budget -= 1
                if not budget:
                    self._meter.spend("opcodes", _BATCH)
                    budget = _BATCH
        except _Stop:
            if reader.frame_end > reader.at:
                raise Fault(STRADDLING_FRAME, "the stream stops inside a frame") from None
            return reader.at
        except (IndexError, KeyError) as error:
            raise malformed("stack or memo is empty where a value is needed") from error
        finally:
            self._meter.spend("opcodes", _BATCH - budget)

    def _dispute(self, detail: str) -> None:
        self._watch.disputed(detail, self._at)

    # -- the stack -----------------------------------------------------------------------------------------------

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> object:
        return self._stack.pop()

    def _pop_to_mark(self) -> list[object]:
        if not self._marks:
            raise malformed("no mark on the stack")
        items, self._stack = self._stack, self._marks.pop()
        return items

    def mark(self) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def pop(self) -> None:
        if self._stack:
            del self._stack[-1]
        else:
            self._pop_to_mark()

    def pop_mark(self) -> None:
        self._pop_to_mark()

    def dup(self) -> None:
        self._push(self._stack[-1])

    def stop(self) -> None:
        self.result = self._pop()
        raise _Stop

    # -- containers ----------------------------------------------------------------------------------------------

    def make_tuple(self) -> None:
        items = tuple(self._pop_to_mark())
        self._push(items)

    def short_tuple(self, size: int) -> None:
        if len(self._stack) < size:
            raise IndexError
        items = tuple(self._stack[-size:])
        self._stack[-size:] = [items]

    def make_dict(self) -> None:
        self._push(_filled(Mapping(), self._pop_to_mark()))

    def from_mark(self) -> None:
        self._pop_to_mark()
        self._push(OPAQUE)

    def append(self) -> None:
        self._pop()
        self._changed()

    def extend(self) -> None:
        self._changed(len(self._pop_to_mark()))

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        _filled(self._changed(), [key, value])

    def set_items(self) -> None:
        items = self._pop_to_mark()
        _filled(self._changed(len(items)), items)

    def _changed(self, count: int = 1) -> object:
        target = self._stack[-1]
        if isinstance(target, Global):
            self._watch.patched(target, self._at)
        elif isinstance(target, Blob) and target.grows:
            self._stack[-1] = OPAQUE
        elif not isinstance(target, (Opaque, Mapping, Instance)):
            if count:
                raise malformed(f"items for {with_article(type(target).__name__)}")
            self._dispute(f"no items for {with_article(type(target).__name__)}")
        return target

    # -- memo ----------------------------------------------------------------------------------------------------

    def get(self, index: int) -> None:
        self._push(self._memo[index])

    def put(self, index: int) -> None:
        if index < 0:
            raise malformed("a negative memo index")
        self._memo[index] = self._stack[-1]

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    # -- objects -------------------------------------------------------------------------------------------------

    def _find(self, module: object, name: object) -> Global:
        module, name = _name(module), _name(name)
        if self._protocol < 3:
            if (module, name) in _compat_pickle.NAME_MAPPING:
                module, name = _compat_pickle.NAME_MAPPING[module, name]
            elif module in _compat_pickle.IMPORT_MAPPING:
                module = _compat_pickle.IMPORT_MAPPING[module]
        found = Global(module, name, self._at)
        self._watch.imported(found)
        return found

    def _global_lines(self) -> Global:
        try:
            module, name = (self._read.line().decode("utf-8") for _ in range(2))
        except UnicodeDecodeError:
            raise malformed("a global whose name is not UTF-8") from None
        return self._find(module, name)

    def global_(self) -> None:
        self._push(self._global_lines())

    def stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._push(self._find(module, name))

    def inst(self) -> None:
        found = self._global_lines()
        self._call(found, tuple(self._pop_to_mark()))

    def obj(self) -> None:
        items = self._pop_to_mark()
        self._call(items[0], tuple(items[1:]))

    def reduce(self) -> None:
        arguments, callee = self._pop(), self._pop()
        self._call(callee, arguments)

    def new(self) -> None:
        arguments, callee = self._pop(), self._pop()
        self._call(callee, arguments, bare=True)

    def new_with_names(self) -> None:
        names, arguments, callee = self._pop(), self._pop(), self._pop()
        values = tuple(names.items.values()) if isinstance(names, Mapping) else ()
        self._call(callee, (arguments if isinstance(arguments, tuple) else ()) + values, bare=True)

    def _call(self, callee: object, arguments: object, bare: bool = False) -> None:
        self._push(self._watch.called(callee, arguments, self._at, bare))

    def build(self) -> None:
        state = self._pop()
        target = self._stack[-1]
        if isinstance(target, Instance):
            target.rebuilt, target.state = target.rebuilt or target.state is not None, state
        elif isinstance(target, Global):
            self._watch.patched(target, self._at)
        after = self._watch.built(target, self._read.at)
        if after != self._read.at:
            self._read.jump(after)

    def extension(self, width: int) -> None:
        self._watch.extension(self._read.uint(width), self._at)
        self._push(OPAQUE)

    def persistent_line(self) -> None:
        self._push(self._watch.persistent(self._read.line().decode("ascii", "replace"), self._at))

    def persistent_binary(self) -> None:
        self._push(self._watch.persistent(self._pop(), self._at))

    def next_buffer(self) -> None:
        raise malformed("an out-of-band buffer, which a file cannot contain")

    # -- the stream ----------------------------------------------------------------------------------------------

    def set_protocol(self) -> None:
        self._protocol = self._read.uint(1)
        if self._protocol > 5:
            raise malformed(f"pickle protocol {self._protocol}")

    def frame(self) -> None:
        self._read.frame(self._read.uint(8))


def _name(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Blob) and value.is_text:
        return f"<{len(value.view)} bytes>"
    if isinstance(value, Instance) and value.arguments != () and not _has_attributes(value):  # can be a text
        return COMPUTED
    raise malformed("a global whose name is not text")


def _has_attributes(value: Instance) -> bool:
    """Whether BUILD has set attributes, which a text cannot have."""
    return isinstance(value.state, Mapping) and bool(value.state.items)


def _filled(target: object, items: list[object]) -> object:
    if len(items) % 2:
        raise malformed("a key without a value")
    if isinstance(target, (Mapping, Instance)):
        for key, value in zip(items[::2], items[1::2], strict=True):
            target.put(key, value)
    return target


def _no_opcode(machine: Machine) -> None:
    raise malformed("a byte that is not an opcode")


def _get_line(machine: Machine) -> None:
    machine.get(machine._literal.number(int))


def _put_line(machine: Machine) -> None:
    machine.put(machine._literal.number(int))


def _skip8(machine: Machine) -> None:
    machine._read.take(8)
    machine._push(OPAQUE)


def _literal(read: Callable[[Literals], object]) -> Callable[[Machine], None]:
    return lambda machine: machine._push(read(machine._literal))


def _constant(value: object) -> Callable[[Machine], None]:
    return lambda machine: machine._push(value)


_ACTIONS: dict[bytes, Callable[[Machine], None]] = {
    b"(": Machine.mark,
    b".": Machine.stop,
    b"0": Machine.pop,
    b"1": Machine.pop_mark,
    b"2": Machine.dup,
    b"F": _literal(Literals.float_line),
    b"I": _literal(Literals.int_line),
    b"L": _literal(Literals.long_line),
    b"J": lambda m: m._push(int.from_bytes(m._read.take(4), "little", signed=True)),
    b"K": lambda m: m._push(m._read.byte()),
    b"M": lambda m: m._push(m._read.uint(2)),
    b"N": _constant(None),
    b"\x88": _constant(True),
    b"\x89": _constant(False),
    b")": _constant(()),
    b"]": _constant(OPAQUE),
    b"\x8f": _constant(OPAQUE),
    b"}": lambda m: m._push(Mapping()),
    b"P": Machine.persistent_line,
    b"Q": Machine.persistent_binary,
    b"R": Machine.reduce,
    b"b": Machine.build,
    b"S": _literal(Literals.string_line),
    b"T": lambda m: m._push(m._literal.old_string(4)),
    b"U": lambda m: m._push(m._literal.old_string(1)),
    b"V": _literal(Literals.unicode_line),
    b"X": lambda m: m._push(m._literal.text(4)),
    b"\x8c": lambda m: m._push(m._literal.text(1)),
    b"\x8d": lambda m: m._push(m._literal.text(8)),
    b"B": lambda m: m._push(m._literal.bytes_(4)),
    b"C": lambda m: m._push(m._literal.bytes_(1)),
    b"\x8e": lambda m: m._push(m._literal.bytes_(8)),
    b"\x96": _literal(Literals.bytearray_),
    b"\x97": Machine.next_buffer,
    b"\x98": lambda m: m._push(m._pop()),
    b"a": Machine.append,
    b"e": Machine.extend,
    b"\x90": Machine.extend,
    b"s": Machine.set_item,
    b"u": Machine.set_items,
    b"d": Machine.make_dict,
    b"l": Machine.from_mark,
    b"\x91": Machine.from_mark,
    b"t": Machine.make_tuple,
    b"\x85": lambda m: m.short_tuple(1),
    b"\x86": lambda m: m.short_tuple(2),
    b"\x87": lambda m: m.short_tuple(3),
    b"G": _skip8,
    b"c": Machine.global_,
    b"\x93": Machine.stack_global,
    b"i": Machine.inst,
    b"o": Machine.obj,
    b"\x81": Machine.new,
    b"\x92": Machine.new_with_names,
    b"g": _get_line,
    b"h": lambda m: m.get(m._read.byte()),
    b"j": lambda m: m.get(m._read.uint(4)),
    b"p": _put_line,
    b"q": lambda m: m.put(m._read.byte()),
    b"r": lambda m: m.put(m._read.uint(4)),
    b"\x94": Machine.memoize,
    b"\x82": lambda m: m.extension(1),
    b"\x83": lambda m: m.extension(2),
    b"\x84": lambda m: m.extension(4),
    b"\x8a": lambda m: m._push(m._literal.long_binary(1)),
    b"\x8b": lambda m: m._push(m._literal.long_binary(4)),
    b"\x80": Machine.set_protocol,
    b"\x95": Machine.frame,
}
_TABLE = [_ACTIONS.get(bytes((code,)), _no_opcode) for code in range(256)]
