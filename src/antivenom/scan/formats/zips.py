"""Zip archives: read from the central directory, with a finding wherever two readers could see different content."""

from __future__ import annotations

import bz2
import lzma
import posixpath
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from antivenom.scan.findings import Finding
from antivenom.scan.formats.streams import Behind, unpack
from antivenom.scan.part import Part
from antivenom.scan.reader import Fault, malformed
from antivenom.scan.rules import ARCHIVE_STRUCTURE, ENCRYPTED, PATH_TRAVERSAL, UNKNOWN_FORMAT, Rule
from antivenom.scan.view import View

_LOCAL, _CENTRAL, _END, _END64, _LOCATOR64 = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07")
_TAIL = 22 + 0xFFFF  # size of the end record with the longest comment
_MANY32, _MANY16 = 0xFFFFFFFF, 0xFFFF
_CRC_WHOLE = 1 << 26  # the checksum of larger members is not verified


@dataclass(frozen=True)
class Member:
    """One entry of the central directory, with the place of its data."""

    name: str
    method: int
    flags: int
    crc: int
    packed: int
    size: int
    header: int
    data: int
    mode: int

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/") and self.size == 0


@dataclass(frozen=True)
class Archive:
    """The entries of a zip file and the defects of its structure."""

    members: tuple[Member, ...]
    faults: tuple[tuple[Rule, str, int], ...]


def matches(view: View) -> bool:
    """Whether a reader recognises a zip archive, by the beginning or by the end of the content."""
    return view.read(0, 4) in (_LOCAL, _END) or _end(view) >= 0


def _end(view: View) -> int:
    """Offset of the end record whose comment reaches the end of the file; -1 if there is none."""
    begin = max(0, len(view) - _TAIL)
    tail = view.read(begin)
    at = tail.rfind(_END)
    while at >= 0:
        if len(tail) >= at + 22 and at + 22 + struct.unpack_from("<H", tail, at + 20)[0] == len(tail):
            return begin + at
        at = tail.rfind(_END, 0, at)
    return -1


def read_archive(part: Part) -> Archive:
    """The entries of the archive. Raises Fault if its directory cannot be read."""
    view, faults = part.view, []
    end = _end(view)
    if end < 0:
        raise malformed("a zip without an end record that closes the file")
    if view.read(end + 4).find(_END) >= 0 or view.rfind(_END, _TAIL) != end:
        faults.append((ARCHIVE_STRUCTURE, "more than one end record", end))
    disk, first_disk, here, count, size, offset = struct.unpack("<HHHHII", view.read(end + 4, 16))
    stop = end
    if view.read(end - 20, 4) == _LOCATOR64 and end >= 20:
        stop = struct.unpack("<Q", view.read(end - 12, 8))[0]
        if stop + 56 > end or view.read(stop, 4) != _END64:
            stop = view.rfind(_END64, _TAIL + 76)
            faults.append((ARCHIVE_STRUCTURE, "the zip64 locator points to another place than its record", end))
        if stop < 0:
            raise malformed("a zip64 locator without its record")
        here, count, size, offset = struct.unpack("<QQQQ", view.read(stop + 24, 32))
    elif _MANY32 in (size, offset) or count == _MANY16:
        raise malformed("a zip64 archive without its locator")
    if disk or first_disk or here != count:
        faults.append((ARCHIVE_STRUCTURE, "an archive of several disks", end))
    start = stop - size
    if start < 0:
        raise malformed("a directory that is longer than the file")
    shift = start - offset
    if shift:
        faults.append((ARCHIVE_STRUCTURE, f"{shift} bytes before the archive", 0))
    members = tuple(_directory(part, start, stop, count, shift, faults))
    _gaps(members, start, faults)
    return Archive(members, tuple(faults))


def _directory(
    part: Part, start: int, stop: int, count: int, shift: int, faults: list[tuple[Rule, str, int]]
) -> Iterator[Member]:
    at, seen = start, set()
    for _ in range(count):
        part.meter.spend("members", 1)
        fixed = part.view.read(at, 46)
        if len(fixed) < 46 or fixed[:4] != _CENTRAL:
            raise malformed(f"no directory entry at {at}")
        flags, method, _, _, crc, packed, size, name_len, extra_len, comment_len, disk, _, outer, header = (
            struct.unpack("<HHHHIIIHHHHHII", fixed[8:])
        )
        name = part.view.read(at + 46, name_len)
        extra = part.view.read(at + 46 + name_len, extra_len)
        size, packed, header = _wide(extra, size, packed, header)
        text = name.decode("utf-8" if flags & 0x800 else "cp437", "replace")
        clean = posixpath.normpath(text.replace("\\", "/"))
        if clean in seen:
            faults.append((ARCHIVE_STRUCTURE, f"two entries named {text}", at))
        if b"\0" in name or (disk not in (0, _MANY16)):
            faults.append((ARCHIVE_STRUCTURE, f"an entry name or disk that readers treat differently: {text}", at))
        seen.add(clean)
        header += shift
        data = _local(part.view, header, name, flags, method, (crc, packed, size), text, faults)
        yield Member(text, method, flags, crc, packed, size, header, data, outer >> 16)
        at += 46 + name_len + extra_len + comment_len
    if at != stop:
        faults.append((ARCHIVE_STRUCTURE, "bytes between the directory and the end record", at))


def _wide(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """Sizes and offset; those that overflow are taken from the zip64 extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            numbers = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
            try:
                size = next(numbers) if size == _MANY32 else size
                packed = next(numbers) if packed == _MANY32 else packed
                header = next(numbers) if header == _MANY32 else header
            except StopIteration:
                raise malformed("a zip64 field that is too short") from None
        at += 4 + length
    return size, packed, header


def _local(
    view: View,
    header: int,
    name: bytes,
    flags: int,
    method: int,
    sizes: tuple[int, int, int],
    text: str,
    faults: list[tuple[Rule, str, int]],
) -> int:
    """Offset of the data, after a check that the local header agrees with the directory."""
    fixed = view.read(header, 30) if header >= 0 else b""
    if len(fixed) < 30 or fixed[:4] != _LOCAL:
        raise malformed(f"no local header at {header} for {text}")
    flags_here, method_here, _, _, crc, packed, size, name_len, extra_len = struct.unpack("<HHHHIIIHH", fixed[6:])
    extra = view.read(header + 30 + name_len, extra_len)
    size, packed, _ = _wide(extra, size, packed, 0) if _MANY32 in (size, packed) else (size, packed, 0)
    if view.read(header + 30, name_len) != name:
        faults.append((ARCHIVE_STRUCTURE, f"two names for one entry: {text}", header))
    if (flags_here, method_here) != (flags, method):
        faults.append((ARCHIVE_STRUCTURE, f"two methods or flags for one entry: {text}", header))
    announced_later = flags & 8 and (crc, packed, size) in ((0, 0, 0), (0, *sizes[1:]))
    if (crc, packed, size) != sizes and not announced_later:
        faults.append((ARCHIVE_STRUCTURE, f"two sizes or checksums for one entry: {text}", header))
    data = int(header + 30 + name_len + extra_len)
    if data + sizes[1] > len(view):
        raise malformed(f"{text} is longer than the file")
    return data


def _gaps(members: tuple[Member, ...], start: int, faults: list[tuple[Rule, str, int]]) -> None:
    """Checks that entries follow one another, with at most a data descriptor between them."""
    at = 0
    for member in sorted(members, key=lambda m: m.header):
        if member.header != at:
            faults.append((ARCHIVE_STRUCTURE, "entries that overlap or have a gap", min(at, member.header)))
            return
        at = member.data + member.packed
        following = min((m.header for m in members if m.header >= at), default=start) if member.flags & 8 else at
        at = following if following - at in (12, 16, 20, 24) else at
    if at != start:
        faults.append((ARCHIVE_STRUCTURE, "bytes between the last entry and the directory", at))


def is_traversal(name: str) -> bool:
    """Whether a path leads out of the folder to which it is relative."""
    path = name.replace("\\", "/")
    return path.startswith("/") or path[1:2] == ":" or ".." in path.split("/")


def content(part: Part, member: Member) -> View:
    """The uncompressed bytes of an entry. Raises Fault if they cannot be read or do not match their checksum."""
    packed = part.view.window(member.data, member.packed)
    try:
        view = _unpacked(part, packed, member)
    except (zlib.error, OSError, lzma.LZMAError, EOFError, Behind) as error:
        raise malformed(f"{member.name} cannot be decompressed: {type(error).__name__}") from None
    if len(view) != member.size:
        raise Fault(ARCHIVE_STRUCTURE, f"{member.name} has {len(view)} bytes where {member.size} are declared")
    if len(view) <= _CRC_WHOLE and zlib.crc32(view.read()) != member.crc:
        raise Fault(ARCHIVE_STRUCTURE, f"{member.name} does not match its checksum")
    return view


def _unpacked(part: Part, packed: View, member: Member) -> View:
    match member.method:
        case 0:
            return packed
        case 8:
            return unpack(part, packed, lambda: zlib.decompressobj(-15))
        case 12:
            return unpack(part, packed, bz2.BZ2Decompressor)
        case 14:
            return unpack(part, packed.window(9), lambda: _lzma(packed))
        case method:
            raise Fault(UNKNOWN_FORMAT, f"{member.name} has the unknown compression method {method}")


def _lzma(packed: View) -> lzma.LZMADecompressor:
    if len(packed) < 9 or packed.read(2, 2) != b"\x05\x00":
        raise malformed("an LZMA entry with invalid properties")
    properties, dictionary = struct.unpack("<BI", packed.read(4, 5))
    rest, lc = divmod(properties, 9)
    pb, lp = divmod(rest, 5)
    return lzma.LZMADecompressor(
        lzma.FORMAT_RAW,
        filters=[{"id": lzma.FILTER_LZMA1, "dict_size": min(dictionary, 1 << 26), "lc": lc, "lp": lp, "pb": pb}],
    )


def check(part: Part) -> Iterator[Finding]:
    """The findings in the structure of an archive and in all its entries."""
    from antivenom.scan.formats import source, torch_files

    archive = read_archive(part)
    for rule, what, at in archive.faults:
        yield part.finding(rule, what, at)
    part = replace(part, shadows=part.shadows | source.modules(archive))
    yield from source.check_archive(part, archive)
    storages = yield from torch_files.check_archive(part, archive)
    for member in archive.members:
        part.meter.tick()
        yield from _entry(part, member, skip=member.name in storages)


def _entry(part: Part, member: Member, skip: bool) -> Iterator[Finding]:
    if is_traversal(member.name):
        yield part.finding(PATH_TRAVERSAL, f"an entry named {member.name}", member.header)
    if member.mode & 0o170000 == 0o120000:
        yield part.finding(PATH_TRAVERSAL, f"{member.name} is a link", member.header)
    if member.flags & (1 | 1 << 6 | 1 << 13):
        yield part.finding(ENCRYPTED, f"{member.name} is encrypted", member.header)
    elif not member.is_folder and not skip:
        try:
            view = content(part, member)
        except Fault as fault:
            yield part.finding(fault.rule, fault.detail, member.header)
            view = part.view.window(member.data, member.packed) if member.method == 0 else View(b"")
        yield from part.descend(view, member.name)
