"""Text without a format of its own: notes, labels, merges."""

from __future__ import annotations

from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.part import Part
from antivenom.scan.view import View

_CONTROL = bytes(set(range(32)) - {9, 10, 12, 13, 27})


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
    """Text runs nothing by itself."""
    return iter(())
