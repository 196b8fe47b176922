"""GGUF: typed keys, descriptions of tensors, raw numbers. Only the chat template in it is executed."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from antivenom.scan.findings import Finding
from antivenom.scan.formats import templates
from antivenom.scan.part import Part
from antivenom.scan.reader import Reader, malformed
from antivenom.scan.rules import MALFORMED
from antivenom.scan.view import View

_SCALAR = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # value type -> bytes
_STRING, _ARRAY = 8, 9
_LONGEST_KEY, _LONGEST_TEXT = 1 << 16, 1 << 26
_WINDOW = 1 << 18
# Tensor type -> (numbers in a block, bytes of a block).
_BLOCK = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 36),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
    40: (64, 36),
    41: (128, 18),
}


def matches(view: View) -> bool:
    return view.read(0, 4) == b"GGUF"


def check(part: Part) -> Iterator[Finding]:
    """Findings for sizes and offsets that do not fit the file, and in its chat templates."""
    reader = Reader(part.view, 4)
    version = reader.uint(4)
    if version not in (2, 3):
        raise malformed(f"version {version} of GGUF, or the other byte order")
    tensors, keys = reader.uint(8), reader.uint(8)
    part.meter.spend("opcodes", tensors + keys)
    alignment, seen = 32, set()
    for _ in range(keys):
        key = _text(reader, _LONGEST_KEY).decode("utf-8", "replace")
        if key in seen:
            yield part.finding(MALFORMED, f"two values for {key}", reader.at)
        seen.add(key)
        kind = reader.uint(4)
        for value in _texts(part, reader, kind, wanted="template" in key or key.startswith("tokenizer.huggingface")):
            if "template" in key:
                yield from templates.check(part, value.decode("utf-8", "replace"), key)
            else:
                yield from part.descend(View(value), key)
        if key == "general.alignment":
            alignment = int.from_bytes(part.view.read(reader.at - 4, 4), "little")
    if not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise malformed(f"an alignment of {alignment}")
    yield from _tensors(part, reader, tensors, alignment)


def _text(reader: Reader, longest: int) -> bytes:
    length = reader.uint(8)
    if length > longest:
        raise malformed(f"a text of {length} bytes at {reader.at}")
    return reader.take(length)


def _texts(part: Part, reader: Reader, kind: int, wanted: bool) -> Iterator[bytes]:
    """Skip a value; yield the texts in it if they are wanted."""
    count = 1
    if kind == _ARRAY:
        kind, count = reader.uint(4), reader.uint(8)
    if kind in _SCALAR:
        reader.skip(_SCALAR[kind] * count)
    elif kind == _STRING:
        part.meter.spend("opcodes", count)
        if not wanted:
            reader.jump(_after(part.view, reader.at, count))
        for _ in range(count if wanted else 0):
            yield _text(reader, _LONGEST_TEXT)
    else:
        raise malformed(f"a value of type {kind} at {reader.at}")


def _after(view: View, at: int, count: int) -> int:
    """Offset behind `count` texts that begin at `at`. The loop is short because a vocabulary has many thousand texts."""
    first, data = at, view.read(at, _WINDOW)
    for _ in range(count):
        index = at - first
        if index + 8 > len(data):
            first, index, data = at, 0, view.read(at, _WINDOW)
        at += 8 + int.from_bytes(data[index : index + 8], "little")
        if at > len(view):
            raise malformed(f"a text that leads out of the file at {at}")
    return at


def _tensors(part: Part, reader: Reader, count: int, alignment: int) -> Iterator[Finding]:
    """Findings if the tensors do not follow one another at multiples of the alignment up to the end of the file."""
    expected = 0
    for _ in range(count):
        name = _text(reader, _LONGEST_KEY).decode("utf-8", "replace")
        dimensions = reader.uint(4)
        if dimensions > 4:
            raise malformed(f"{name} has {dimensions} dimensions")
        sizes = [reader.uint(8) for _ in range(dimensions)]
        kind, offset = reader.uint(4), reader.uint(8)
        if kind not in _BLOCK:
            raise malformed(f"{name} is of the unknown type {kind}")
        numbers, length = _BLOCK[kind]
        if prod(sizes) >= 1 << 63 or (sizes and sizes[0] % numbers):
            raise malformed(f"{name} of shape {sizes} cannot be of type {kind}")
        if offset != expected:
            yield part.finding(
                MALFORMED, f"{name} lies at {offset}, the tensor before it ends at {expected}", reader.at
            )
            return
        expected = _up(offset + prod(sizes) // numbers * length, alignment)
        last = offset + prod(sizes) // numbers * length
    begin = _up(reader.at, alignment) if count else reader.at
    end = len(part.view)
    if count and not begin + last <= end <= begin + expected:
        yield part.finding(MALFORMED, f"{end - begin} bytes of tensors where {expected} are described", reader.at)
    elif not count and end > _up(begin, alignment):
        yield part.finding(MALFORMED, f"{end - begin} bytes after a file without tensors", begin)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
