"""Protocol buffers, read by their wire format without a schema. Tensors are skipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from antivenom.scan.limits import LimitReached, Limits, Meter
from antivenom.scan.reader import Fault, malformed
from antivenom.scan.view import View

VARINT, WIDE, BYTES, NARROW = 0, 1, 2, 5  # the wire types; groups are obsolete
_WINDOW = 1 << 14
_BATCH = 256


def fields(view: View, meter: Meter, kinds: Mapping[int, int] | None = None) -> Iterator[tuple[int, int, int | View]]:
    """Number, wire type and value of each field. Raises Fault where the bytes are not a message.

    A field whose number is in `kinds` must have that wire type. Parsers skip a known field of another type, so that two
    parsers could otherwise read two different messages.
    """
    at, size, first, data, seen = 0, len(view), 0, b"", 0
    while at < size:
        if at + 20 > first + len(data) < size or not data:
            first, data = at, view.read(at, _WINDOW)
        tag, after = _varint(data, at - first)
        number, wire = tag >> 3, tag & 7
        if not number or number > 0x1FFFFFFF or (kinds and kinds.get(number, wire) != wire):
            raise malformed(f"field {number} of wire type {wire} at {at}")
        value: int | View
        if wire == VARINT:
            value, after = _varint(data, after)
            at = first + after
        else:
            length = {WIDE: 8, NARROW: 4}.get(wire, -1)
            if wire == BYTES:
                length, after = _varint(data, after)
            begin = first + after
            if length < 0 or length > size - begin:
                raise malformed(f"field {number} of wire type {wire} at {at} does not fit its message")
            value, at = view.window(begin, length), begin + length
        seen += 1
        if seen % _BATCH == 0:
            meter.spend("opcodes", _BATCH)
        yield number, wire, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise malformed("a number without its last byte")


def shape(view: View) -> dict[int, int]:
    """The wire type of each field number of a message; empty if the bytes are not a message."""
    found: dict[int, int] = {}
    try:
        for number, wire, _ in fields(view, Meter(Limits(opcodes=1_000_000))):
            if found.setdefault(number, wire) != wire:
                return {}
    except (Fault, LimitReached):
        return {}
    return found


def first(view: View, wanted: int) -> View:
    """The content of the first field of that number; empty if it is absent or a plain number."""
    try:
        found = next(value for number, _, value in fields(view, Meter(Limits())) if number == wanted)
    except (Fault, LimitReached, StopIteration):
        return View(b"")
    return found if isinstance(found, View) else View(b"")


def text(value: int | View, longest: int = 1 << 16) -> str:
    """The value of a string field. Raises Fault if it is not text."""
    if isinstance(value, int) or len(value) > longest:
        raise malformed("a name that is not text")
    try:
        return value.read().decode("utf-8")
    except UnicodeDecodeError:
        raise malformed("a name that is not UTF-8") from None
