"""Tar archives, including PyTorch's oldest format."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.formats import torch_files
from antivenom.scan.formats.zips import is_traversal
from antivenom.scan.part import Part
from antivenom.scan.reader import malformed
from antivenom.scan.rules import ARCHIVE_STRUCTURE, MALFORMED, PATH_TRAVERSAL, TRAILING_STREAM
from antivenom.scan.view import View

_PADDING = 1 << 20  # zeros that can follow the end, because writers fill the last record


def matches(view: View) -> bool:
    """Whether the first 512 bytes are a header with a correct checksum."""
    head = view.read(0, 512)
    if len(head) < 512 or not head[148:156].strip(b" \0").isdigit():
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def check(part: Part) -> Iterator[Finding]:
    """The findings in all members."""
    try:
        with tarfile.TarFile(fileobj=part.view.open(), mode="r") as archive:
            names: list[str] = []
            oldest = False
            for member in archive:
                part.meter.spend("members", 1)
                oldest = oldest or member.name in ("storages", "tensors")
                yield from _member(part, member, oldest or member.name == "pickle")
                if member.name in names:
                    yield part.finding(ARCHIVE_STRUCTURE, f"two members named {member.name}", member.offset)
                names.append(member.name)
            end = archive.offset
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise malformed(f"a broken tar archive: {error}") from None
    rest = part.view.window(end, _PADDING + 1)
    if rest.read().strip(b"\0") or len(rest) > _PADDING:
        yield part.finding(TRAILING_STREAM, "bytes behind the end of the archive", end)
        yield from part.descend(part.view.window(end), "<after tar>")


def _member(part: Part, member: tarfile.TarInfo, oldest: bool) -> Iterator[Finding]:
    if is_traversal(member.name):
        yield part.finding(PATH_TRAVERSAL, f"a member named {member.name}", member.offset)
    if member.issym() or member.islnk() or member.isdev():
        yield part.finding(PATH_TRAVERSAL, f"{member.name} is a link or device", member.offset)
    elif member.issparse():
        yield part.finding(MALFORMED, f"{member.name} is a sparse member", member.offset)
    elif member.isfile():
        view = part.view.window(member.offset_data, member.size)
        if len(view) < member.size:
            raise malformed(f"{member.name} is truncated")
        if oldest:
            yield from torch_files.check_tar(part.child(view, member.name))
        else:
            yield from part.descend(view, member.name)
