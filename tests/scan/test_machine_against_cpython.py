"""The machine asks for what CPython's C and Python unpicklers ask for, on streams that no pickler would write."""

from __future__ import annotations

import _compat_pickle
import collections
import datetime
import fractions
import io
import pickle
import re
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from streams import framed, opcodes

from antivenom.scan import scan_view
from antivenom.scan.limits import Limits, Meter
from antivenom.scan.machine import Machine
from antivenom.scan.reader import Fault
from antivenom.scan.rules import MALFORMED, STRADDLING_FRAME
from antivenom.scan.stubs import Global, Instance
from antivenom.scan.view import View

Name = tuple[str, str]
MANY = settings(deadline=None, max_examples=400, derandomize=True, suppress_health_check=list(HealthCheck))


class _Anything(type):
    def __setitem__(cls, key: Any, value: Any) -> None: ...


class _Inert(metaclass=_Anything):
    """Stands for any imported object: accepts every call and change, and does nothing."""

    append = extend = add = __setstate__ = staticmethod(lambda *_: None)

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...


def _renamed(module: str, name: str) -> Name:
    module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


class _Python(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        pair = (module, name)
        if self.proto < 3:
            mapped = _compat_pickle.NAME_MAPPING.get(pair)
            pair = mapped or (_compat_pickle.IMPORT_MAPPING.get(module, module), name)
        self.asked.append(pair)
        return type("Inert", (_Inert,), {})


class _C(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        self.asked.append((module, name))
        return type("Inert", (_Inert,), {})


def _ask(unpickler: Any) -> tuple[list[Name], bool]:
    unpickler.asked = []
    try:
        unpickler.load()
    except Exception:  # whatever breaks the stream, what matters is what was asked for before
        return unpickler.asked, False
    return unpickler.asked, True


class _Watch:
    def __init__(self) -> None:
        self.asked: list[Name] = []
        self.odd_at: list[int] = []
        self.highest = 0

    def imported(self, wanted: Global) -> None:
        self.asked.append((wanted.module, wanted.name))

    def called(self, callee: Any, arguments: Any, at: int, bare: bool) -> Any:
        return Instance(callee, arguments)

    def built(self, target: Any, after: int) -> int:
        return after

    def disputed(self, detail: str, at: int) -> None:
        self.odd_at.append(at)

    def patched(self, target: Any, at: int) -> None: ...
    def extension(self, code: int, at: int) -> None: ...
    def persistent(self, identity: Any, at: int) -> None: ...


class _Machine(Machine):
    highest = 0

    def put(self, index: int) -> None:
        self.highest = max(self.highest, index)
        super().put(index)


def _is_greedy(data: bytes) -> bool:
    """Whether CPython may take memory that the stream does not have: for a bytearray, or for a memo of so many places."""
    places = [int.from_bytes(found[1], "little") for found in re.finditer(rb"(?s)(?=r(.{4}))", data)]
    lengths = [int.from_bytes(found[1], "little") for found in re.finditer(rb"(?s)(?=\x96(.{8}))", data)]
    return max(lengths, default=0) > 1 << 24 or (max(places, default=0) > 1 << 24 and b"\x95" in data)


def _agree(data: bytes) -> None:
    watch, fault = _Watch(), None
    machine = _Machine(View(data), watch, Meter(Limits()))
    try:
        machine.run()
    except Fault as raised:
        fault = raised
    if machine.highest > 1 << 16 or _is_greedy(data):
        return
    real = [(_ask(_Python(io.BytesIO(data))), False)]
    real += [(_ask(_C(file)), True) for file in (io.BytesIO(data), io.BufferedReader(io.BytesIO(data)))]
    for (asked, done), is_c in real:
        seen = [_renamed(*each) for each in watch.asked] if is_c else watch.asked
        wanted = [_renamed(*each) for each in asked] if is_c else asked
        if fault and fault.rule is STRADDLING_FRAME:
            common = min(len(seen), len(wanted))
            assert seen[:common] == wanted[:common]
            continue
        assert seen[: len(wanted)] == wanted
        if done:
            assert fault is None
            assert seen == wanted


@MANY
@given(
    st.lists(st.integers(0, 1 << 12), min_size=4, max_size=60),
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from([0, 0, 0, 1, -1, 9])), max_size=4),
)
def test_made_up_streams(picks: list[int], cuts: list[tuple[int, int]]) -> None:
    _agree(framed(opcodes(picks), cuts))


_VALUES = [
    {"a": [1, 2.5, None, True], "b": ("x" * 300, b"y" * 300, bytearray(b"z"))},
    collections.OrderedDict(a={1, 2}, b=frozenset("ab")),
    [datetime.date(2020, 1, 1), fractions.Fraction(1, 3), complex(1, 2), range(3), OSError("x"), ValueError],
    [collections.deque([1, 2]), collections.Counter("aab"), slice(1, 2), 1 << 70, -(1 << 2100)],
]
_REAL = [pickle.dumps(value, protocol) for value in _VALUES for protocol in range(6)]


@MANY
@given(
    st.sampled_from(_REAL),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3), st.binary(min_size=1, max_size=3)), max_size=3),
)
def test_damaged_pickles(data: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    for at, removed, added in edits:
        at %= len(data)
        data = data[:at] + added + data[at + removed :]
    _agree(data)


@MANY
@given(st.binary(max_size=64))
@example(b"I010\ncos\nsystem\n.")  # octal to C alone
@example(b"I1\0x\ncos\nsystem\n.")  # C stops at a NUL
@example(b"N(ecos\nsystem\n.")  # C appends nothing to None
@example(b"\x96\0\0\0\0\0\0\0\0K\x01acos\nsystem\n.")  # a bytearray that grows
@example(b"\x80\x04\x95\xff\0\0\0\0\0\0\0cos\nsystem\n.")  # a frame beyond the file, which Python reads
@example(b"cos\nsystem")  # the last line without its end, which Python reads
@example(b"\x80\x04\x95\1\0\0\0\0\0\0\0cos\nsystem")  # the same where a frame ends
@example(b"g1\0\ncos\nsystem\n.")
@example(b"S'\\q\\8'\ncos\nsystem\n.")
def test_noise(data: bytes) -> None:
    _agree(data)


def test_every_real_pickle_is_followed_to_its_end() -> None:
    for data in _REAL:
        watch = _Watch()
        assert Machine(View(data), watch, Meter(Limits())).run() == len(data)
        assert not watch.odd_at
        asked, done = _ask(_Python(io.BytesIO(data)))
        assert done
        assert watch.asked == asked


def test_a_line_longer_than_the_window_hides_nothing() -> None:
    data = b"V" + b"x" * 600_000 + b"\n0cos\nsystem\n."
    watch = _Watch()
    assert Machine(View(data), watch, Meter(Limits())).run() == len(data)
    assert watch.asked == [("os", "system")]


def test_one_refusal_is_a_finding() -> None:
    assert MALFORMED.id in {finding.rule for finding in scan_view(View(b"I010\n."), "x").findings}
