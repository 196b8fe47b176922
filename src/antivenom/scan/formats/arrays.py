"""NumPy's npy files: a header, which is a Python literal, and then raw items or pickled objects."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.formats import dtypes
from antivenom.scan.part import Part
from antivenom.scan.reader import malformed
from antivenom.scan.rules import TRAILING_STREAM
from antivenom.scan.view import View

MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000  # numpy refuses longer headers, because parsing them could exhaust memory


def matches(view: View) -> bool:
    return view.read(0, 6) == MAGIC


def check(part: Part) -> Iterator[Finding]:
    """The findings in one array and in the bytes that follow it."""
    version = part.view.read(6, 2)
    width = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(version)
    if width is None:
        raise malformed(f"npy version {version.hex('.')}")
    length = int.from_bytes(part.view.read(8, width), "little")
    if length > _LONGEST_HEADER:
        raise malformed(f"an npy header of {length} bytes")
    begin = 8 + width + length
    try:
        header = ast.literal_eval(
            part.view.read(8 + width, length).decode("utf-8" if version[0] == 3 else "latin-1").strip()
        )
        size, shape = dtypes.of_description(header["descr"]), header["shape"]
        count = math.prod(shape)
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
        raise malformed("an npy header that is not a literal") from None
    if size is None or count < 0:
        raise malformed(f"an array of type {str(header['descr'])[:60]}")
    if size == dtypes.OBJECTS:
        yield from part.descend(part.view.window(begin), "<objects>")
        return
    end = begin + size * count
    if end > len(part.view):
        raise malformed("an array that is longer than the file")
    if end < len(part.view):
        rest = part.view.window(end)
        if not matches(rest):  # several arrays can follow one another
            yield part.finding(TRAILING_STREAM, f"{len(rest)} bytes behind the array", end)
        yield from part.descend(rest, "<after array>")
