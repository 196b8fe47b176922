"""Text: notes, labels, merges, YAML, templates. Runs nothing by itself, but some loaders run what it asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from antivenom.scan.findings import Finding
from antivenom.scan.formats import templates
from antivenom.scan.limits import LimitReached
from antivenom.scan.part import Part
from antivenom.scan.rules import EMBEDDED_CODE
from antivenom.scan.view import View

_CONTROL = bytes(set(range(32)) - {9, 10, 12, 13, 27})
_WINDOW, _OVERLAP = 1 << 20, 1 << 12
_LONGEST_TEMPLATE = 1 << 23
_TAG = re.compile(rb"!(?:[!<][^\s>]{0,300}|[^\s!]{0,60}![^\s]{0,300})")
_HANDLE = re.compile(rb"^%TAG[ \t]+\S+[ \t]+(\S+)", re.MULTILINE)
_PREFIX = re.compile(r"tag:yaml\.org,2002:.")  # with it, a short tag can stand for one of Python's


def is_text(view: View) -> bool:
    """Whether the beginning is UTF-8 without control characters."""
    head = view.read(0, 1 << 16)
    if head.translate(None, _CONTROL) != head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(head) == 1 << 16 and error.start > len(head) - 4  # a character cut at the end
    return True


def check(part: Part) -> Iterator[Finding]:
    """YAML tags that construct Python objects, and templates that reach for Python's internals."""
    marked = False
    for at in range(0, max(1, len(part.view)), _WINDOW):
        part.meter.tick()
        window = part.view.read(at, _WINDOW + _OVERLAP)
        marked |= b"{{" in window or b"{%" in window
        for tag in _python_tags(window):
            yield part.finding(EMBEDDED_CODE, f"the YAML tag {tag} makes a loader call Python", at, tag)
    if marked:
        if len(part.view) > _LONGEST_TEMPLATE:
            raise LimitReached("bytes of a template", _LONGEST_TEMPLATE)
        yield from templates.check(part, part.view.read().decode("utf-8", "replace"), "", strict=False)


def _python_tags(window: bytes) -> list[str]:
    """Tags of PyYAML's Python family, in any spelling, each once."""
    tags = [unquote(tag.group().decode("utf-8", "replace")) for tag in _TAG.finditer(window)]
    handles = [unquote(handle.group(1).decode("utf-8", "replace")) for handle in _HANDLE.finditer(window)]
    found = [tag for tag in tags if "python/" in tag] + [handle for handle in handles if _PREFIX.match(handle)]
    return list(dict.fromkeys(found))
