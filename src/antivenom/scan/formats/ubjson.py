"""Universal Binary JSON as XGBoost writes it: nested numbers and texts. Nothing in it is executed."""

from __future__ import annotations

from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.part import Part
from antivenom.scan.reader import Reader, malformed
from antivenom.scan.rules import TRAILING_STREAM
from antivenom.scan.view import View

_FIXED = {**dict.fromkeys("ZNTF", 0), **dict.fromkeys("iUC", 1), "I": 2, "l": 4, "d": 4, "L": 8, "D": 8}
_COUNT = {"i": 1, "U": 1, "I": 2, "l": 4, "L": 8}
_DEEPEST = 200


def matches(view: View) -> bool:
    """Whether the content is an object whose first key has a small length, written in eight bytes."""
    return view.read(0, 8) == b"{L\0\0\0\0\0\0"


def check(part: Part) -> Iterator[Finding]:
    """Findings if the file is not exactly one value."""
    reader = Reader(part.view)
    _value(part, reader, _mark(reader), 0)
    if reader.at != len(part.view):
        yield part.finding(TRAILING_STREAM, f"{len(part.view) - reader.at} bytes after the end", reader.at)


def _mark(reader: Reader) -> str:
    return chr(reader.opcode())


def _count(reader: Reader) -> int:
    mark = _mark(reader)
    if mark not in _COUNT:
        raise malformed(f"no length at {reader.at}")
    count = int.from_bytes(reader.take(_COUNT[mark]), "big", signed=mark != "U")
    if count < 0:
        raise malformed(f"a negative length at {reader.at}")
    return count


def _value(part: Part, reader: Reader, mark: str, depth: int) -> None:
    """Skip one value."""
    part.meter.spend("opcodes", 1)
    if depth > _DEEPEST:
        raise malformed(f"more than {_DEEPEST} nested values")
    if mark in _FIXED:
        reader.skip(_FIXED[mark])
    elif mark in "SH":
        reader.skip(_count(reader))
    elif mark in "[{":
        _container(part, reader, mark, depth)
    else:
        raise malformed(f"no value at {reader.at}")


def _container(part: Part, reader: Reader, opening: str, depth: int) -> None:
    kind, count, mark = "", -1, _mark(reader)
    if mark == "$":
        kind, mark = _mark(reader), _mark(reader)
        if mark != "#":
            raise malformed(f"a type without a count at {reader.at}")
    if mark == "#":
        count = _count(reader)
        if opening == "[" and kind in _FIXED:
            reader.skip(_FIXED[kind] * count)
            return
        mark = _mark(reader) if count and not (kind and opening == "[") else ""
    closing = "]" if opening == "[" else "}"
    while count != 0 and not (count < 0 and mark == closing):
        if opening == "{":
            reader.skip(_length(reader, mark))
            mark = kind or _mark(reader)
        _value(part, reader, kind or mark, depth + 1)
        count -= 1
        if count:
            mark = _mark(reader) if not (kind and opening == "[") else ""


def _length(reader: Reader, mark: str) -> int:
    """The length of a key, whose type mark has been read."""
    if mark not in _COUNT:
        raise malformed(f"no key at {reader.at}")
    return abs(int.from_bytes(reader.take(_COUNT[mark]), "big", signed=mark != "U"))
