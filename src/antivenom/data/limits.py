"""Decompression within limits: a small file can stand for any number of bytes."""

from __future__ import annotations

import bz2
import errno
import lzma
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

MOST_BYTES = 2 << 30  # of a file, and of what it holds when it is decompressed
MOST_CELLS = 200_000_000  # of a table
_PIECE = 1 << 20
_MAT_COMPRESSED, _MAT_MATRIX = 15, 14
_MAT_NUMBERS = range(6, 16)  # the classes of MATLAB arrays that hold numbers


def too_much(what: str) -> OSError:
    """The error for a file that holds more than the limit."""
    return OSError(errno.EFBIG, f"more than {MOST_BYTES >> 20} MiB {what}")


def unpacked(content: bytes, suffix: str) -> bytes:
    """The content of a file that is compressed as its suffix says (.gz, .bz2 or .xz); other content is returned unchanged.

    Raises:
        OSError: it is damaged, or decompresses to more than `MOST_BYTES`.
    """
    if suffix not in (".gz", ".bz2", ".xz"):
        return content
    parts: list[bytes] = []
    size = 0
    while content:
        stream: Any = {
            ".gz": lambda: zlib.decompressobj(31),
            ".bz2": bz2.BZ2Decompressor,
            ".xz": lzma.LZMADecompressor,
        }[suffix]()
        try:
            while not stream.eof:
                part = stream.decompress(content, _PIECE)
                content = stream.unconsumed_tail if suffix == ".gz" else b""
                parts.append(part)
                size += len(part)
                if size > MOST_BYTES:
                    raise too_much("when it is decompressed")
                if not part and not content and not stream.eof:
                    raise OSError(errno.EIO, "a compressed file that ends too early")
        except (zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
            raise OSError(errno.EIO, f"damaged compression ({error})") from error
        content = stream.unused_data.lstrip(b"\0")  # another member may follow, or padding
    return b"".join(parts)


def names(file: BinaryIO) -> tuple[str, ...]:
    """The names of the arrays in an .npz archive.

    Raises:
        zipfile.BadZipFile: the file is no archive.
    """
    with zipfile.ZipFile(file) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))


def arrays(file: BinaryIO, names: Sequence[str]) -> list[np.ndarray]:
    """The arrays of these names in an .npz archive, none of which may hold Python objects.

    Raises:
        KeyError: there is no such array; the arguments are the name and the names that there are.
        OSError: together they are larger than `MOST_BYTES`.
        ValueError, zipfile.BadZipFile: the file is no such archive.
    """
    try:
        return _arrays(file, names)
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        # numpy's message advises to load Python objects without protection
        raise ValueError("another format, or Python objects, which are not loaded") from error


def _arrays(file: BinaryIO, names: Sequence[str]) -> list[np.ndarray]:
    found = np.load(file, allow_pickle=False)
    if not isinstance(found, np.lib.npyio.NpzFile):
        raise ValueError("a single array instead of an .npz archive")
    with found as archive:
        for name in names:
            if name not in archive.files:
                raise KeyError(name, archive.files)
        whole = archive.zip
        assert whole is not None
        if sum(member.file_size for member in whole.infolist()) > MOST_BYTES:
            raise too_much("when it is decompressed")
        for member in whole.infolist():
            _require_whole(whole, member)
        return [archive[name] for name in names]


def _require_whole(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuse an array whose header states another size than the archive, since numpy would reserve the memory for it."""
    if not member.filename.endswith(".npy"):
        return
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        header = file.tell()
    size = dtype.itemsize
    for length in shape:
        size *= int(length)
    if not dtype.hasobject and size != member.file_size - header:
        raise ValueError(f"{member.filename} of {member.file_size - header} bytes, whose header states {size}")


def require_plain_mat(content: bytes) -> None:
    """Refuse a MATLAB file of which scipy would make anything but arrays of numbers, or more than `MOST_BYTES`.

    Raises:
        OSError: it decompresses to more.
        ValueError: it is no file of MATLAB 5 or later, or holds cells, structures, objects or functions.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None or content[:4] == b"\0\0\0\0":
        raise ValueError("no MATLAB 5 file")
    place, total = 128, 0
    while place < len(content):
        kind, size = np.frombuffer(content, f"{order}u4", 2, place).tolist()
        body = content[place + 8 : place + 8 + size]
        if len(body) < size:
            raise ValueError("a MATLAB file that ends too early")
        if kind == _MAT_COMPRESSED:
            stream = zlib.decompressobj()
            body = stream.decompress(body, MOST_BYTES + 1 - total)
            kind = int(np.frombuffer(body, f"{order}u4", 1)[0])
            flags = int(np.frombuffer(body, f"{order}u4", 1, 16)[0])
        else:
            flags = int(np.frombuffer(body, f"{order}u4", 1, 8)[0])
        total += len(body)
        if total > MOST_BYTES:
            raise too_much("when it is decompressed")
        if kind != _MAT_MATRIX or flags & 0xFF not in _MAT_NUMBERS:
            raise ValueError("something else than arrays of numbers")
        place += 8 + size
