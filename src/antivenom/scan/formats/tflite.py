"""TensorFlow Lite: a flatbuffer whose operations are built in, custom, or TensorFlow's own (Flex)."""

from __future__ import annotations

from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.formats import tensorflow
from antivenom.scan.part import Part
from antivenom.scan.reader import malformed
from antivenom.scan.rules import CUSTOM_OPERATION, UNSAFE_OPERATION
from antivenom.scan.view import View

_CUSTOM = 32  # the code of operations that are identified by name
_PROVIDED = frozenset({"TFLite_Detection_PostProcess", "AudioSpectrogram", "Mfcc", "NumericVerify"})


def matches(view: View) -> bool:
    return view.read(4, 4) == b"TFL3"


def check(part: Part) -> Iterator[Finding]:
    """Findings for operations that are not part of TensorFlow Lite."""
    view = part.view
    vector = _field(view, _number(view, 0), 1)
    if not vector:
        raise malformed("a model without operations")
    vector += _number(view, vector)
    count = _number(view, vector)
    part.meter.spend("opcodes", count)
    for index in range(count):
        entry = vector + 4 + 4 * index
        yield from _operation(part, entry + _number(view, entry))


def _operation(part: Part, table: int) -> Iterator[Finding]:
    old, new, named = (_field(part.view, table, index) for index in (0, 3, 1))
    code = max(_number(part.view, old, 1) if old else 0, _number(part.view, new) if new else 0)
    if code != _CUSTOM:
        return
    at = named + _number(part.view, named) if named else 0
    name = part.view.read(at + 4, min(_number(part.view, at), 256)).decode("utf-8", "replace") if at else "?"
    own = name.removeprefix("Flex")
    computing, reaching = tensorflow.operations()
    if name.startswith("Flex") and own in reaching:
        yield part.finding(UNSAFE_OPERATION, f"the operation {own}", table, own)
    elif name not in _PROVIDED and not (name.startswith("Flex") and own in computing):
        yield part.finding(CUSTOM_OPERATION, f"the operation {name}", table, name)


def _number(view: View, at: int, width: int = 4) -> int:
    data = view.read(at, width)
    if at < 0 or len(data) < width:
        raise malformed("an offset that leads out of the file")
    return int.from_bytes(data, "little")


def _field(view: View, table: int, index: int) -> int:
    """Offset of a field of a table; 0 if it is absent."""
    back = int.from_bytes(view.read(table, 4), "little", signed=True)
    layout = table - back
    if 4 + 2 * index >= _number(view, layout, 2):
        return 0
    offset = _number(view, layout + 4 + 2 * index, 2)
    return table + offset if offset else 0
