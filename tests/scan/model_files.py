"""What the tests of the scan share: objects that run something when they are unpickled, and a look at bytes."""

from __future__ import annotations

from typing import Any

from antivenom.scan import scan_view
from antivenom.scan.findings import FileReport
from antivenom.scan.view import View


class Runs:
    """Unpickling calls `callee(*arguments)`."""

    def __init__(self, callee: Any, *arguments: Any) -> None:
        self.callee, self.arguments = callee, arguments

    def __reduce__(self) -> Any:
        return self.callee, self.arguments


def look(data: bytes, **options: Any) -> FileReport:
    return scan_view(View(data), "file", **options)


def rules(report: FileReport) -> list[str]:
    return [finding.rule for finding in report.findings]


def proto(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A protobuf message: numbers are varints, the rest has a length."""
    return b"".join(
        _varint(number << 3) + _varint(value)
        if isinstance(value, int)
        else _varint(number << 3 | 2) + _varint(len(_raw(value))) + _raw(value)
        for number, value in fields
    )


def _raw(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))
