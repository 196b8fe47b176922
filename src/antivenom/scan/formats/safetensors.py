"""safetensors: a length, a JSON header and raw numbers. It cannot contain code if the header is consistent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod

from antivenom.scan.findings import Finding
from antivenom.scan.formats.documents import unique
from antivenom.scan.part import Part
from antivenom.scan.reader import malformed
from antivenom.scan.rules import MALFORMED
from antivenom.scan.view import View

_LONGEST = 100_000_000  # the limit of the safetensors library
_BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}


def matches(view: View) -> bool:
    """Whether the content begins with a plausible length and a brace."""
    head = view.read(0, 9)
    return head[8:] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= len(view) - 8


def check(part: Part) -> Iterator[Finding]:
    """Findings if the header does not describe exactly the bytes that follow it."""
    length = int.from_bytes(part.view.read(0, 8), "little")
    if length > _LONGEST:
        raise malformed(f"a header of {length} bytes")
    part.meter.spend("unpacked", length)
    header = _header(part.view.read(8, length))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        yield part.finding(MALFORMED, "metadata that does not map text to text", 8)
    part.meter.spend("opcodes", len(header))
    end = 0
    for begin, stop, name in sorted(_span(name, tensor) for name, tensor in header.items()):
        if begin != end:
            yield part.finding(
                MALFORMED, f"{name} begins at {begin}, the tensor before it ends at {end}", 8 + length + end
            )
            return
        end = stop
    if 8 + length + end != len(part.view):
        left = len(part.view) - 8 - length - end
        yield part.finding(MALFORMED, f"the file has {left} bytes more than its tensors", max(0, 8 + length + end))


def _header(data: bytes) -> dict[str, object]:
    try:
        header = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise malformed(f"a header that is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise malformed("a header that is not a JSON object")
    return header


def _span(name: str, tensor: object) -> tuple[int, int, str]:
    """Begin, end and name of a tensor. Raises Fault if data type, shape and offsets disagree."""
    match tensor:
        case {"dtype": str(dtype), "shape": list(sizes), "data_offsets": [int(begin), int(end)], **rest} if not rest:
            whole = all(type(size) is int and 0 <= size < 1 << 63 for size in sizes)
            if dtype not in _BITS:
                raise malformed(f"{name} is of the unknown data type {dtype}")
            if not whole or begin < 0 or prod(sizes) * _BITS[dtype] != (end - begin) * 8:
                raise malformed(f"{name} has {end - begin} bytes, which does not fit its shape {sizes} of {dtype}")
            return begin, end, name
    raise malformed(f"{name} is not described by dtype, shape and data_offsets")
