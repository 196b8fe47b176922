"""The values that opcodes carry in the stream: numbers, text and bytes, read without evaluating them as Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from antivenom.scan.reader import Reader, malformed
from antivenom.scan.stubs import OPAQUE, Blob
from antivenom.scan.view import View

_T = TypeVar("_T")

LONG = 4096  # longer bytes and texts become a Blob, which refers to the file instead of copying it
_OCTAL = re.compile(rb"\s*[+-]?0+[1-7][0-7]*")  # C reads it as octal, Python 3 refuses it
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9a-fA-F]{2}|.?)", re.DOTALL)
_SHORT_ESCAPES = dict(zip(b"\\'\"abfnrtv", b"\\'\"\a\b\f\n\r\t\v", strict=True))


class Literals:
    """Reads the argument of an opcode as a value. Raises Fault where it is broken.

    `disputed` is told of values that one of CPython's unpicklers accepts and the other refuses.
    """

    def __init__(self, view: View, reader: Reader, disputed: Callable[[str], None]) -> None:
        self._view, self._read, self._disputed = view, reader, disputed

    def number(self, parse: Callable[[bytes], _T]) -> _T:
        """A number on a line of its own. The C unpickler, unlike the Python one, stops at a NUL byte."""
        line = self._read.line()
        try:
            return parse(line)
        except ValueError:
            if b"\0" not in line:
                raise malformed("a number that cannot be parsed") from None
        self._disputed("a number that ends at a NUL")
        try:
            return parse(line.partition(b"\0")[0] or b"0")
        except ValueError:
            raise malformed("a number that cannot be parsed") from None

    def int_line(self) -> object:
        return self.number(self._int)

    def _int(self, line: bytes) -> object:
        if line in (b"00", b"01"):
            return line == b"01"
        if _OCTAL.fullmatch(line):
            self._disputed("an octal integer")
            return OPAQUE
        return int(line, 0)

    def long_line(self) -> int:
        return self.number(lambda line: int(line[:-1] if line.endswith(b"L") else line, 0))

    def long_binary(self, width: int) -> object:
        length = self._read.uint(width)
        if width == 4 and length >= 1 << 31:
            raise malformed("an integer of negative length")
        data = self._read.skip(length)
        return int.from_bytes(data.read(), "little", signed=True) if length <= 64 else OPAQUE

    def float_line(self) -> float:
        return self.number(float)

    def string_line(self) -> object:
        at, line = self._read.at, self._read.line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise malformed("a string without quotes")
        if len(line) > LONG:
            return Blob(self._view.window(at, len(line)), is_text=True)
        return _as_text(_unescaped(line[1:-1]))

    def unicode_line(self) -> object:
        at, line = self._read.at, self._read.line()
        try:
            text = line.decode("raw-unicode-escape")
        except UnicodeDecodeError:
            raise malformed("text with a broken escape") from None
        if len(line) > LONG:
            return Blob(self._view.window(at, len(line)), is_text=True, codec="raw-unicode-escape")
        return text

    def text(self, width: int) -> object:
        length = self._read.uint(width)
        if length > LONG:
            return Blob(self._read.skip(length), is_text=True)
        try:
            return self._read.take(length).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise malformed("text that is not UTF-8") from None

    def bytes_(self, width: int) -> object:
        length = self._read.uint(width)
        return Blob(self._read.skip(length)) if length > LONG else self._read.take(length)

    def old_string(self, width: int) -> object:
        length = self._read.uint(width)
        if width == 4 and length >= 1 << 31:
            raise malformed("a string of negative length")
        return Blob(self._read.skip(length), is_text=True) if length > LONG else _as_text(self._read.take(length))

    def bytearray_(self) -> Blob:
        return Blob(self._read.skip(self._read.uint(8)), grows=True)


def _unescaped(data: bytes) -> bytes:
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


def _as_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
