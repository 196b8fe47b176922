"""Compressed streams: decompressed in memory, within limits, and then scanned."""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from antivenom.scan.findings import Finding
from antivenom.scan.limits import LimitReached
from antivenom.scan.part import Part
from antivenom.scan.reader import malformed
from antivenom.scan.rules import MALFORMED, NO_PARSER, TRAILING_STREAM
from antivenom.scan.view import View

_CHUNK = 1 << 18
_FREE = 1 << 20  # the ratio is not limited below this number of decompressed bytes


class Decompressor(Protocol):
    """The common interface of zlib, bz2, lzma and lz4."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...  # None only in lz4
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Behind(Exception):
    """Bytes behind the end of a compressed stream: the decompressed view, and the number of these bytes."""


def unpack(part: Part, packed: View, new: Callable[[], Any], joined: bool = False) -> View:
    """The decompressed content; with `joined`, consecutive streams are read as one, as gzip does.

    Raises Fault if the stream is truncated, Behind if bytes follow its end, LimitReached if it grows too much.
    """
    out, at, engine = bytearray(), 0, new()
    pending = b""
    while True:
        if engine.eof:
            rest = len(engine.unused_data or b"") + len(packed) - at
            if not rest:
                return View(bytes(out))
            if not joined:
                raise Behind(View(bytes(out)), rest)
            at, pending, engine = len(packed) - rest, b"", new()
        if not pending and getattr(engine, "needs_input", True):
            pending = packed.read(at, _CHUNK)
            at += len(pending)
            if not pending:
                raise malformed("a truncated compressed stream")
        piece = engine.decompress(pending, _CHUNK)
        pending = getattr(engine, "unconsumed_tail", b"")
        out += piece
        part.meter.spend("unpacked", len(piece))
        if len(out) > _FREE and len(out) > part.meter.limits.ratio * max(at, 1):
            raise LimitReached("ratio", part.meter.limits.ratio)


def _lz4() -> Any:
    return importlib.import_module("lz4.frame").LZ4FrameDecompressor()


def _zstd() -> Any:
    return importlib.import_module("compression.zstd").ZstdDecompressor()  # Python 3.14


# name: (signature, decompressor, whether consecutive streams are read as one)
_KINDS: dict[str, tuple[tuple[bytes, ...], Callable[[], Any], bool]] = {
    "gzip": ((b"\x1f\x8b",), lambda: zlib.decompressobj(31), True),
    "bzip2": ((b"BZh",), bz2.BZ2Decompressor, True),
    "xz": ((b"\xfd7zXZ\x00",), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ), True),
    "lzma": ((b"\x5d\x00\x00",), lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE), False),
    "zlib": ((b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"), zlib.decompressobj, False),
    "lz4": ((b"\x04\x22\x4d\x18",), _lz4, True),
    "zstd": ((b"\x28\xb5\x2f\xfd",), _zstd, True),
}


def matcher(kind: str) -> Callable[[View], bool]:
    """A test whether content has the signature of `kind`."""
    return _is_zlib if kind == "zlib" else lambda view: view.read(0, 6).startswith(_KINDS[kind][0])


def _is_zlib(view: View) -> bool:
    """Tries to decompress the beginning, because text can begin with the two bytes of the signature."""
    if not view.read(0, 2).startswith(_KINDS["zlib"][0]):
        return False
    try:
        zlib.decompressobj().decompress(view.read(0, 256), 1)
    except zlib.error:
        return False
    return True


def checker(kind: str) -> Callable[[Part], Iterator[Finding]]:
    """The check of streams of `kind`."""
    _, new, joined = _KINDS[kind]

    def check(part: Part) -> Iterator[Finding]:
        try:
            view = unpack(part, part.view, new, joined)
        except ImportError as error:
            needed = "Python 3.14" if kind == "zstd" else f"the package {error.name}"
            yield part.finding(NO_PARSER, f"{kind} needs {needed}")
            return
        except Behind as behind:
            view, rest = behind.args
            yield part.finding(TRAILING_STREAM, f"{rest} bytes behind the {kind} stream", len(part.view) - rest)
            yield from part.descend(part.view.window(len(part.view) - rest), f"<after {kind}>")
        except (zlib.error, OSError, lzma.LZMAError, EOFError, RuntimeError, ValueError) as error:
            yield part.finding(MALFORMED, f"a broken {kind} stream: {error}")
            return
        yield from part.descend(view, f"<{kind}>")

    return check


KINDS = tuple(_KINDS)
