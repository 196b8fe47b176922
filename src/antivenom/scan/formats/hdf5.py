"""HDF5 as Keras and PyTables write it: links and raw data in other files, texts and pickles in attributes.

This is a separate reader because the native library hangs or crashes on some broken files. It supports the features that
these writers use. For others, such as the layouts for very many links or attributes, it yields an unknown-format finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from antivenom.scan.findings import Finding
from antivenom.scan.formats.hdf5_values import UNDEFINED, Bytes, Message, attribute, messages, unknown
from antivenom.scan.part import Part
from antivenom.scan.reader import malformed
from antivenom.scan.rules import CUSTOM_OPERATION, EMBEDDED_CODE, MALFORMED, PATH_TRAVERSAL
from antivenom.scan.view import View

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PLACES = (0, *(512 << shift for shift in range(12)))  # offsets at which the format allows the signature
_BUILT_IN = {*range(1, 7), 32000}  # deflate to scale-offset, and h5py's LZF; other filters are loaded from a library
_SKIPPED = {
    0x00,
    0x01,
    0x03,
    0x04,
    0x05,
    0x0A,
    0x0D,
    0x0E,
    0x10,
    0x12,
    0x13,
    0x16,
}  # dataspaces, types, fill values, times
_DENSE = {0x02: (1, 8), 0x15: (1, 2)}  # message -> flag and width of the optional field before the address of a heap
_LINK, _EXTERNAL, _LAYOUT, _FILTERS, _ATTRIBUTE, _SYMBOLS = 0x06, 0x07, 0x08, 0x0B, 0x0C, 0x11
_VIRTUAL = 3


def matches(view: View) -> bool:
    """Whether the signature is at one of the offsets at which readers search for it."""
    return any(view.read(at, 8) == _SIGNATURE for at in _PLACES if at < len(view))


def check(part: Part) -> Iterator[Finding]:
    """The findings in every object that the file's links reach; numbers are not read."""
    begin = next(at for at in _PLACES if part.view.read(at, 8) == _SIGNATURE)
    if begin and part.view.read(0, 4) != b"PK\x03\x04":
        raise malformed("bytes before the HDF5 signature")
    # A member of an archive can happen to lie at such an offset; then it is read from there, as readers would.
    part = replace(part, view=part.view.window(begin))
    data = Bytes(part.view)
    root, end = _superblock(data)
    if end != len(part.view) and not begin:
        yield part.finding(MALFORMED, f"the file has {len(part.view)} bytes, its superblock declares {end}", 0)
    waiting, seen = [_Place(root, "")], set()
    while waiting:
        here = waiting.pop()
        if here.at in seen:
            continue
        seen.add(here.at)
        part.meter.spend("members", 1)
        for message in messages(data, here.at, part.meter):
            yield from _message(part, data, here, message, waiting)


@dataclass(frozen=True)
class _Place:
    """The address of an object's header, and the path that led to it."""

    at: int
    path: str


def _superblock(data: Bytes) -> tuple[int, int]:
    """The address of the root group's header, and the end of the file."""
    version = data.uint(8, 1)
    widths = 13 if version < 2 else 9
    if version > 3 or (data.uint(widths, 1), data.uint(widths + 1, 1)) != (8, 8):
        raise unknown(f"a superblock of version {version}, or with addresses that are not 8 bytes wide")
    base = {0: 24, 1: 28}.get(version, 12)
    if data.uint(base, 8) != 0 or data.uint(base + (24 if version < 2 else 8), 8) != UNDEFINED:
        raise unknown("a superblock with a base address, a driver or an extension")
    return data.uint(base + (40 if version < 2 else 24), 8), data.uint(base + 16, 8)


def _message(part: Part, data: Bytes, here: _Place, message: Message, waiting: list[_Place]) -> Iterator[Finding]:
    kind, at = message.kind, message.at
    if kind in _SKIPPED:
        return
    if message.is_shared:
        raise unknown(f"a shared message at {at}")
    path = here.path or "/"
    if kind == _ATTRIBUTE:
        yield from _attribute(part, data, path, message)
    elif kind == _SYMBOLS:
        heap = data.uint(data.signed(data.uint(at + 8, 8), b"HEAP") + 24, 8)
        waiting += [_Place(child, f"{here.path}/{data.name(heap + name)}") for child, name in _symbols(part, data, at)]
    elif kind == _LINK:
        yield from _link(part, data, here, at, waiting)
    elif kind in _DENSE:
        flag, width = _DENSE[kind]
        if data.uint(at + 2 + (width if data.uint(at + 1, 1) & flag else 0), 8) != UNDEFINED:
            raise unknown(f"{path} with a heap of links or attributes")
    elif kind == _EXTERNAL:
        names = data.uint(data.signed(data.uint(at + 8, 8), b"HEAP") + 24, 8)
        name = data.name(names + data.uint(at + 16, 8))
        yield part.finding(PATH_TRAVERSAL, f"the numbers of {path} lie in {name}", at, name)
    elif kind == _LAYOUT:
        if data.uint(at, 1) >= 3 and data.uint(at + 1, 1) == _VIRTUAL:
            yield part.finding(PATH_TRAVERSAL, f"the numbers of {path} are assembled from other files", at, path)
    elif kind == _FILTERS:
        for number in set(_filters(data, at)) - _BUILT_IN:
            yield part.finding(CUSTOM_OPERATION, f"{path} needs the HDF5 filter {number}", at, str(number))
    else:
        raise unknown(f"{path} with a message of kind {kind}")


def _symbols(part: Part, data: Bytes, at: int) -> Iterator[tuple[int, int]]:
    """The headers of a group's members, and the offsets of their names in the group's heap."""
    waiting, seen = [data.uint(at, 8)], set()
    while waiting:
        node = waiting.pop()
        if node in seen:
            raise malformed("a tree of names that leads into itself")
        seen.add(node)
        part.meter.spend("members", 1)
        if data.read(node, 4) == b"TREE":
            count = data.uint(node + 6, 2)
            waiting += [data.uint(node + 32 + 16 * index, 8) for index in range(count)]
            continue
        for entry in range(data.signed(node, b"SNOD") + 8, node + 8 + 40 * data.uint(node + 6, 2), 40):
            if data.uint(entry + 16, 4) != 2:  # not a symbolic link, which stays within this file
                yield data.uint(entry + 8, 8), data.uint(entry, 8)


def _link(part: Part, data: Bytes, here: _Place, at: int, waiting: list[_Place]) -> Iterator[Finding]:
    flags, at = data.uint(at + 1, 1), at + 2
    kind, at = (data.uint(at, 1), at + 1) if flags & 8 else (0, at)
    at += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    length, at = data.uint(at, width), at + width
    path, at = f"{here.path}/{data.text(at, length)}", at + length
    if kind == 0:
        waiting.append(_Place(data.uint(at, 8), path))
    elif kind == 64:
        name = data.name(at + 3)
        yield part.finding(PATH_TRAVERSAL, f"{path} lies in {name}", at, name)
    elif kind != 1:
        raise unknown(f"{path}, a link of kind {kind}")


def _filters(data: Bytes, at: int) -> Iterator[int]:
    version, count = data.uint(at, 1), data.uint(at + 1, 1)
    at += 8 if version == 1 else 2
    for _ in range(count):
        number = data.uint(at, 2)
        named = version == 1 or number >= 256
        length = data.uint(at + 2, 2) if named else 0
        at += 4 if named else 2
        values = data.uint(at + 2, 2)
        at += 4 + length + 4 * (values + (values % 2 if version == 1 else 0))
        yield number


def _attribute(part: Part, data: Bytes, path: str, message: Message) -> Iterator[Finding]:
    """The findings in the texts and bytes of an attribute, which are scanned like files."""
    name, values = attribute(data, message, part.meter)
    for value in values:
        if name == "PSEUDOATOM" and value.read(0, 6) == b"object":
            yield part.finding(EMBEDDED_CODE, f"{path} holds pickled objects", message.at, path)
        elif len(value) > 1:
            yield from part.descend(value, f"{path}@{name}")
