"""What lies beside a TensorFlow graph: the index of a checkpoint's numbers and the fingerprint. Neither is executed."""

from __future__ import annotations

from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.formats.protobuf import BYTES, VARINT, shape
from antivenom.scan.part import Part
from antivenom.scan.view import View

_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")  # the end of a table of keys and values
_FINGERPRINT = {**dict.fromkeys((1, 2, 3, 4, 5), VARINT), 6: BYTES, 7: BYTES}


def matches(view: View) -> bool:
    return len(view) >= 48 and view.read(len(view) - 8) == _MAGIC


def is_fingerprint(view: View) -> bool:
    """Whether the content is the hashes of a SavedModel."""
    if len(view) > 1024 or view.read(0, 1) != b"\x08":
        return False
    found = shape(view)
    return {1, 2, 3} <= found.keys() and all(_FINGERPRINT.get(number) == wire for number, wire in found.items())


def check(part: Part) -> Iterator[Finding]:
    return iter(())
