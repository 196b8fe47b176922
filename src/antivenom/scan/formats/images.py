"""Images that accompany a model. Their structure is followed to the end, to find bytes behind the image."""

from __future__ import annotations

from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.part import Part
from antivenom.scan.reader import malformed
from antivenom.scan.rules import TRAILING_STREAM
from antivenom.scan.view import View

_PNG, _GIF = b"\x89PNG\r\n\x1a\n", (b"GIF87a", b"GIF89a")


def matches(view: View) -> bool:
    head = view.read(0, 12)
    return head.startswith((_PNG, b"\xff\xd8\xff", *_GIF)) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def check(part: Part) -> Iterator[Finding]:
    """Findings in bytes after the end of the image."""
    head = part.view.read(0, 4)
    walk = {b"\x89PNG": _png, b"GIF8": _gif, b"RIFF": _webp}.get(head, _jpeg)
    end = walk(part)
    if end != len(part.view):
        yield part.finding(TRAILING_STREAM, f"{len(part.view) - end} bytes after the picture", end)
        yield from part.descend(part.view.window(end), "<after the picture>")


def _png(part: Part) -> int:
    at, kind = 8, b""
    while kind != b"IEND":
        part.meter.spend("opcodes", 1)
        head = part.view.read(at, 8)
        kind, at = head[4:], at + 12 + int.from_bytes(head[:4], "big")
        if len(head) < 8 or at > len(part.view):
            raise malformed("a picture without an end")
    return at


def _webp(part: Part) -> int:
    size = int.from_bytes(part.view.read(4, 4), "little") + 8
    return size + size % 2


def _gif(part: Part) -> int:
    view, at = part.view, 13
    at += _palette(view.read(10, 1))
    while (mark := view.read(at, 1)) != b";":
        part.meter.spend("opcodes", 1)
        if mark == b",":
            at += 11 + _palette(view.read(at + 9, 1))
        elif mark == b"!":
            at += 2
        else:
            raise malformed("a picture without an end")
        while (size := view.read(at, 1)) not in (b"\0", b""):
            part.meter.spend("opcodes", 1)
            at += 1 + size[0]
        at += 1
    return at + 1


def _palette(packed: bytes) -> int:
    flags = int.from_bytes(packed, "big")
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _jpeg(part: Part) -> int:
    view, at = part.view, 2
    while True:
        part.meter.spend("opcodes", 1)
        mark = view.read(at, 4)
        if mark[:1] != b"\xff" or len(mark) < 2:
            raise malformed("a picture without an end")
        if mark[1] == 0xD9:
            return at + 2
        if mark[1] == 0xFF or mark[1] == 0x01 or 0xD0 <= mark[1] <= 0xD8:
            at += 1 if mark[1] == 0xFF else 2
            continue
        at += 2 + max(2, int.from_bytes(mark[2:], "big"))
        if mark[1] == 0xDA:  # image data follows, whose length is not given
            at = _scan_end(part, at)


def _scan_end(part: Part, at: int) -> int:
    """Offset of the next marker that is neither a stuffed byte nor a restart marker."""
    while at < len(part.view):
        part.meter.tick()
        window = part.view.read(at, 1 << 16)
        found = window.find(b"\xff")
        while 0 <= found < len(window) - 1:
            if window[found + 1] != 0 and not 0xD0 <= window[found + 1] <= 0xD7:
                return at + found
            found = window.find(b"\xff", found + 2)
        at += max(1, len(window) - 1)
    raise malformed("a picture without an end")
