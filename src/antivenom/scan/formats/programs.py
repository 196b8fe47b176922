"""Programs and native libraries, recognised by their first bytes."""

from __future__ import annotations

from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.part import Part
from antivenom.scan.rules import EXECUTABLE
from antivenom.scan.view import View

_KINDS = {
    b"\x7fELF": "an ELF program or library",
    b"MZ": "a Windows program or library",
    b"!<arch>\n": "a native library",
    **dict.fromkeys(
        (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"), "a Mach-O program"
    ),
    b"\xca\xfe\xba\xbe": "a Mach-O program or Java class",
    b"\0asm": "a WebAssembly module",
}


def matches(view: View) -> bool:
    return bool(_kind(view))


def check(part: Part) -> Iterator[Finding]:
    yield part.finding(EXECUTABLE, _kind(part.view), 0)


def _kind(view: View) -> str:
    head = view.read(0, 17)
    if head[2:4] == b"\r\n" and head[16:] in (b"\xe3", b"\x63"):
        return "compiled Python"
    return next((kind for start, kind in _KINDS.items() if head.startswith(start)), "")
