"""Parts of the HDF5 format: the messages of an object's header, and the texts of an attribute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from antivenom.scan.limits import Meter
from antivenom.scan.reader import Fault, malformed
from antivenom.scan.rules import UNKNOWN_FORMAT
from antivenom.scan.view import View

UNDEFINED = (1 << 64) - 1  # the address of absent data
_WINDOW = 1 << 12
_CONTINUED = 0x10
_TEXT, _OPAQUE, _VARIABLE = 3, 5, 9  # classes of data types


def unknown(what: str) -> Fault:
    return Fault(UNKNOWN_FORMAT, f"HDF5: {what}")


class Bytes:
    """Reads numbers and names at addresses; the last window is cached."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._first, self._data = 0, view.read(0, _WINDOW)
        self.heaps: dict[int, dict[int, tuple[int, int]]] = {}

    def read(self, at: int, count: int) -> bytes:
        """`count` bytes. Raises Fault if they are not within the file."""
        if at + count > len(self.view):
            raise malformed(f"an HDF5 address out of the file: {at}")
        if count > _WINDOW:
            return self.view.read(at, count)
        if not self._first <= at <= self._first + len(self._data) - count:
            self._first, self._data = at, self.view.read(at, _WINDOW)
        return self._data[at - self._first : at - self._first + count]

    def uint(self, at: int, width: int) -> int:
        return int.from_bytes(self.read(at, width), "little")

    def signed(self, at: int, signature: bytes) -> int:
        """The address, after a check that the signature is there."""
        if self.read(at, len(signature)) != signature:
            raise malformed(f"no {signature.decode()} at {at}")
        return at

    def text(self, at: int, length: int) -> str:
        return self.read(at, min(length, 1 << 10)).decode("utf-8", "replace")

    def name(self, at: int) -> str:
        """The text up to a zero byte, cut to a readable length."""
        return self.view.read(at, 1 << 10).partition(b"\0")[0].decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a header: its kind and the place of its content."""

    kind: int
    at: int
    size: int
    is_shared: bool


def messages(data: Bytes, header: int, meter: Meter) -> Iterator[Message]:
    """The messages of an object's header and of the blocks that continue it."""
    version, fixed, blocks = 1, 8, [(header + 16, data.uint(header + 8, 4))]
    if data.read(header, 4) == b"OHDR":
        flags = data.uint(header + 5, 1)
        at = header + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        version, fixed, blocks = 2, 4 + (2 if flags & 4 else 0), [(at + width, data.uint(at, width))]
    elif data.uint(header, 1) != 1:
        raise malformed(f"no object header at {header}")
    seen = {blocks[0]}
    while blocks:
        at, size = blocks.pop()
        end = at + size
        while at + fixed <= end:
            meter.spend("opcodes", 1)
            kind = data.uint(at, 2 if version == 1 else 1)
            length, flags = data.uint(at + (2 if version == 1 else 1), 2), data.uint(at + (4 if version == 1 else 3), 1)
            at += fixed
            if at + length > end:
                raise malformed(f"a message that is longer than its header at {at}")
            yield Message(kind, at, length, bool(flags & 2))
            if kind == _CONTINUED:
                block = data.uint(at, 8), data.uint(at + 8, 8)
                if version == 2:
                    block = data.signed(block[0], b"OCHK") + 4, block[1] - 8
                if block in seen:
                    raise malformed("a header that is continued by itself")
                seen.add(block)
                blocks.append(block)
            at += length


def attribute(data: Bytes, message: Message, meter: Meter) -> tuple[str, list[View]]:
    """An attribute's name, and its values if they are texts or bytes."""
    at = message.at
    version, flags = data.uint(at, 1), data.uint(at + 1, 1)
    sizes = [data.uint(at + 2 + 2 * index, 2) for index in range(3)]
    if version not in (1, 2, 3) or (version > 1 and flags):
        raise unknown(f"an attribute of version {version} or of a named type at {at}")
    at += 9 if version == 3 else 8
    name = data.text(at, sizes[0]).rstrip("\0")
    places = []
    for size in sizes:
        places.append(at)
        at += size + (-size % 8 if version == 1 else 0)
    kind, width = data.uint(places[1], 1) & 15, data.uint(places[1] + 4, 4)
    count = _count(data, places[2])
    if kind not in (_TEXT, _OPAQUE, _VARIABLE):
        return name, []
    meter.spend("opcodes", count)
    if at + count * width > message.at + message.size:
        raise malformed(f"the attribute {name} is longer than its message")
    if kind == _VARIABLE:
        return name, [value for item in range(count) if (value := _heaped(data, at + item * width, meter)) is not None]
    whole = [data.view.window(at + item * width, width) for item in range(count)]
    return name, [_trimmed(value) for value in whole] if kind == _TEXT else whole


def _trimmed(value: View) -> View:
    """A text of fixed length without its padding."""
    text = value.read()
    return View(text.rstrip(b"\0 ")) if text[-1:] in (b"\0", b" ") else value


def _count(data: Bytes, at: int) -> int:
    """How many values a dataspace has."""
    version, rank, kind = data.uint(at, 1), data.uint(at + 1, 1), data.uint(at + 3, 1)
    at += 8 if version == 1 else 4
    return 0 if version == 2 and kind == 2 else prod(data.uint(at + 8 * index, 8) for index in range(rank))


def _heaped(data: Bytes, at: int, meter: Meter) -> View | None:
    """A value of variable length, from a global heap; None if it is empty."""
    length, heap, index = data.uint(at, 4), data.uint(at + 4, 8), data.uint(at + 12, 4)
    if not length or heap in (0, UNDEFINED):
        return None
    if heap not in data.heaps:
        data.heaps[heap] = dict(_objects(data, heap, meter))
    if index not in data.heaps[heap]:
        raise malformed(f"a value that is missing in its heap at {heap}")
    begin, size = data.heaps[heap][index]
    return data.view.window(begin, size)


def _objects(data: Bytes, heap: int, meter: Meter) -> Iterator[tuple[int, tuple[int, int]]]:
    end = data.signed(heap, b"GCOL") + data.uint(heap + 8, 8)
    at = heap + 16
    while at + 16 <= end and (index := data.uint(at, 2)):
        meter.spend("opcodes", 1)
        size = data.uint(at + 8, 8)
        if at + 16 + size > end:
            raise malformed(f"a heap at {heap} with a value beyond its end")
        yield index, (at + 16, size)
        at += 16 + size + -size % 8
