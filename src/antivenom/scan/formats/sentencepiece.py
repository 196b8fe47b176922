"""SentencePiece vocabularies, which lie beside many language models: pieces of text with a score, and settings."""

from __future__ import annotations

from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.formats.protobuf import BYTES, NARROW, VARINT, fields, first, shape
from antivenom.scan.part import Part
from antivenom.scan.rules import MALFORMED
from antivenom.scan.view import View


def matches(view: View) -> bool:
    """Whether the content is pieces of text with a score, and nothing that such a model does not have."""
    if view.read(0, 1) != b"\x0a" or shape(first(view, 1)).get(2) != NARROW:
        return False
    found = shape(view)
    return found.get(1) == BYTES and all(wire == BYTES and number <= 5 for number, wire in found.items())


def check(part: Part) -> Iterator[Finding]:
    """Pieces, scores and settings: none of them is executed."""
    for number, _, piece in fields(part.view, part.meter):
        if number == 1 and isinstance(piece, View):
            kinds = {(inner, wire) for inner, wire, _ in fields(piece, part.meter)}
            if not kinds <= {(1, BYTES), (2, NARROW), (3, VARINT)}:
                yield part.finding(MALFORMED, "a piece with a field that pieces do not have")
