"""7z archives, which need the package py7zr."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.limits import LimitReached
from antivenom.scan.part import Part
from antivenom.scan.reader import malformed
from antivenom.scan.rules import ENCRYPTED, NO_PARSER
from antivenom.scan.view import View

MAGIC = b"7z\xbc\xaf\x27\x1c"


def matches(view: View) -> bool:
    return view.read(0, 6) == MAGIC


def check(part: Part) -> Iterator[Finding]:
    """The findings in all members, which are decompressed in memory."""
    try:
        py7zr = importlib.import_module("py7zr")
        memory = importlib.import_module("py7zr.io")
    except ImportError:
        yield part.finding(NO_PARSER, "7z needs the package py7zr")
        return
    with part.view.open() as file:
        try:
            with py7zr.SevenZipFile(file) as archive:
                if archive.needs_password():
                    yield part.finding(ENCRYPTED, "an encrypted archive")
                    return
                sizes = [entry.uncompressed for entry in archive.list()]
                part.meter.spend("unpacked", sum(sizes))
                if sum(sizes) > max(1 << 20, part.meter.limits.ratio * len(part.view)):
                    raise LimitReached("ratio", part.meter.limits.ratio)
                room = part.meter.limits.unpacked
                factory = memory.BytesIOFactory(room)
                archive.extract(factory=factory)
        except LimitReached:
            raise
        except Exception as error:  # py7zr raises many types on a broken archive
            raise malformed(f"a broken 7z archive: {error}") from None
    for name, product in factory.products.items():
        product.seek(0)
        yield from part.descend(View(product.read()), name)
