"""Numbers and strings in the notation of pickle protocol 0, read without evaluating them as Python."""

from __future__ import annotations

import re

from antivenom.scan.reader import malformed

OCTAL = re.compile(rb"\s*[+-]?0+[1-7][0-7]*")  # C reads it as octal, Python 3 refuses it
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9a-fA-F]{2}|.?)", re.DOTALL)
_SHORT_ESCAPES = dict(zip(b"\\'\"abfnrtv", b"\\'\"\a\b\f\n\r\t\v", strict=True))


def unescaped(data: bytes) -> bytes:
    """Equals codecs.escape_decode, but without its warnings about unknown escapes."""
    return _ESCAPE.sub(_escape, data)


def _escape(found: re.Match[bytes]) -> bytes:
    code = found[1]
    if code in (b"", b"x"):
        raise malformed("a string with a broken escape")
    if code[0] in _SHORT_ESCAPES:
        return bytes((_SHORT_ESCAPES[code[0]],))
    if code == b"\n":
        return b""
    if code[:1] == b"x":
        return bytes((int(code[1:], 16),))
    return bytes((int(code, 8) & 0xFF,)) if code.isdigit() and code < b"8" else found[0]


def as_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
