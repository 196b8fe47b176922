"""JSON documents. Every object in them is checked for the keys that the loaders of known formats read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.formats import loaders, plain, texts, values
from antivenom.scan.limits import LimitReached
from antivenom.scan.part import Part
from antivenom.scan.reader import malformed
from antivenom.scan.rules import MALFORMED, SOURCE_CODE
from antivenom.scan.view import View

_BLANK = b" \t\r\n"
_WINDOW = 1 << 16
_FOLLOWING = {b"{": frozenset((b'"', b"}")), b"[": frozenset(bytes((byte,)) for byte in b'[{"]0123456789-tfnNI')}
_LONGEST = 1 << 26
_SPACE = re.compile(r"[ \t\r\n]*")


class _Repeated(ValueError):
    """An object with a duplicate key. Readers disagree on which of its values counts."""


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object with distinct keys. Raises ValueError for a duplicate key."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Repeated("a duplicate key")
    return found


def matches(view: View) -> bool:
    """Whether the content is text that begins like a JSON object or array."""
    opening, at = _next(view, 3 if view.read(0, 3) == b"\xef\xbb\xbf" else 0)
    if opening not in (b"{", b"["):
        return False
    following, _ = _next(view, at)
    return following in _FOLLOWING[opening] and texts.is_text(view)


def _next(view: View, at: int) -> tuple[bytes, int]:
    """The next byte that is not white space, and the offset behind it."""
    while window := view.read(at, 64 if at < 64 else _WINDOW):
        if rest := window.lstrip(_BLANK):
            return rest[:1], at + len(window) - len(rest) + 1
        at += len(window)
    return b"", at


def check(part: Part) -> Iterator[Finding]:
    """The findings in the objects of one or several JSON documents; text that is not JSON is checked as text."""
    if len(part.view) > _LONGEST:
        raise LimitReached("bytes of JSON", _LONGEST)
    part.meter.spend("unpacked", len(part.view))
    try:
        text = part.view.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise malformed(f"JSON that is not UTF-8: {error.reason} at {error.start}") from None
    documents: list[object] = []
    broken: ValueError | None = None
    try:
        for document in _documents(text):
            documents.append(document)
    except RecursionError:
        raise LimitReached("nested JSON values", 1000) from None
    except ValueError as error:
        broken = error
    if _is_notebook(documents):
        yield part.finding(SOURCE_CODE, "a notebook", name="notebook")
    yield from values.check(part, documents, loaders.are_texts_worth_reading(text))
    if broken is not None:
        if isinstance(broken, _Repeated) or text.lstrip().startswith("{"):  # prose can begin with a bracket
            yield part.finding(MALFORMED, f"JSON that does not parse: {broken}")
        yield from plain.check(part)


def _is_notebook(documents: list[object]) -> bool:
    """Whether a document is a notebook of Jupyter."""
    return any(isinstance(each, dict) and {"cells", "nbformat"} <= each.keys() for each in documents)


def _documents(text: str) -> Iterator[object]:
    """The values of a JSON or JSON lines document."""
    decoder, at = json.JSONDecoder(object_pairs_hook=unique), 0
    while at < len(text):
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
        if at < len(text):
            value, at = decoder.raw_decode(text, at)
            yield value
