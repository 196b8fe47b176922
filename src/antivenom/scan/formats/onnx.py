"""ONNX: a graph of standard operations runs no code, so the check concerns external files and other operations."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.formats.protobuf import BYTES, VARINT, fields, shape, text
from antivenom.scan.limits import LimitReached
from antivenom.scan.part import Part
from antivenom.scan.reader import malformed
from antivenom.scan.rules import CUSTOM_OPERATION, EXTERNAL_DATA, PATH_TRAVERSAL
from antivenom.scan.view import View

_MODEL = {
    1: VARINT,
    2: BYTES,
    3: BYTES,
    4: BYTES,
    5: VARINT,
    6: BYTES,
    7: BYTES,
    8: BYTES,
    14: BYTES,
    20: BYTES,
    25: BYTES,
    26: BYTES,
}
# Message -> field number -> type of the message in that field.
_INNER: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
# Message -> field number -> meaning of the text in that field.
_NAMES: dict[str, dict[int, str]] = {
    "model": {2: "producer", 3: "version"},
    "node": {4: "operation", 7: "domain"},
    "function": {1: "operation", 10: "domain"},
    "entry": {1: "key", 2: "value"},
}
_STANDARD = {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft"}
_STANDARD |= {"com.microsoft.nchwc", "com.ms.internal.nhwc"}
# Operations of the domains above whose code is a library, a compiled blob or a Python function.
_FOREIGN = {"EPContext", "PythonOp", "PythonOpGrad", "ExternalFunctionOp", "ATen", "TritonOp", "Snpe"}
_DEEPEST = 90  # nesting depth of subgraphs; protobuf itself allows 100 nested messages


def matches(view: View) -> bool:
    """Whether the content is a message with a version and a graph in the fields of an ONNX model."""
    if view.read(0, 1) not in (b"\x08", b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42", b"\x72"):
        return False
    found = shape(view)
    return {1, 7} <= found.keys() and all(_MODEL.get(number, wire) == wire for number, wire in found.items())


def check(part: Part) -> Iterator[Finding]:
    """Findings for operations outside of the standard, and for external data that is not in the model's folder."""
    needed: dict[tuple[str, str], None] = {}
    defined: set[tuple[str, str]] = set()
    places: dict[str, None] = {}
    for kind, found in _walk(part, part.view, "model", 0):
        if len(needed) + len(places) > part.meter.limits.findings:
            raise LimitReached("findings", part.meter.limits.findings)
        match kind:
            case "node":
                needed[found.get("domain", ""), found.get("operation", "")] = None
            case "function":
                defined.add((found.get("domain", ""), found.get("operation", "")))
            case "entry" if found.get("key") == "location":
                places[found.get("value", "")] = None
            case "model" if not (found.get("producer", "") + found.get("version", "") + "-").isprintable():
                raise malformed("a producer's name that is not text")
    for domain, operation in needed:
        if (domain not in _STANDARD or operation in _FOREIGN) and (domain, operation) not in defined:
            name = f"{domain or 'ai.onnx'}.{operation}"
            yield part.finding(CUSTOM_OPERATION, f"needs the operation {name}", name=name)
    for place in places:
        yield from _external(part, place)


def external(part: Part) -> set[str]:
    """The files with this model's external data, as the model names them."""
    found = (entry for kind, entry in _walk(part, part.view, "model", 0) if kind == "entry")
    return {entry.get("value", "") for entry in found if entry.get("key") == "location"}


def _walk(part: Part, view: View, kind: str, depth: int) -> Iterator[tuple[str, dict[str, str]]]:
    """The relevant messages with their texts, inner ones first."""
    if depth > _DEEPEST:
        raise LimitReached("depth", _DEEPEST)
    inner, names, found = _INNER[kind], _NAMES.get(kind, {}), {}
    kinds = _MODEL if kind == "model" else dict.fromkeys((*inner, *names), BYTES)
    for number, _, value in fields(view, part.meter, kinds):
        if kind == "model" and number not in _MODEL:
            raise malformed(f"field {number}, which ONNX does not define")
        if number in inner and isinstance(value, View):
            yield from _walk(part, value, inner[number], depth + 1)
        elif number in names:
            found[names[number]] = text(value)
    part.meter.spend("opcodes", 1)
    yield kind, found


def _external(part: Part, place: str) -> Iterator[Finding]:
    pieces = place.replace("\\", "/").split("/")
    if not pieces[0] or ".." in pieces or pieces[0][1:2] == ":" or "\0" in place:
        yield part.finding(PATH_TRAVERSAL, f"external data in {place}", name=place)
    elif part.depth or not _is_beside(part.where, pieces):
        yield part.finding(EXTERNAL_DATA, f"external data in {place}, which is not beside the model", name=place)
    elif _passes_link(part.where, pieces):
        yield part.finding(PATH_TRAVERSAL, f"external data in {place}, which is a link", name=place)


def _is_beside(model: str, pieces: list[str]) -> bool:
    return os.path.isfile(os.path.join(os.path.dirname(model), *pieces))


def _passes_link(model: str, pieces: list[str]) -> bool:
    """Whether the path to the data leaves the model's folder through a link."""
    at = os.path.dirname(model)
    for piece in pieces:
        at = os.path.join(at, piece)
        if stat.S_ISLNK(os.lstat(at).st_mode):
            return True
    return False
