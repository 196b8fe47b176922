"""Archives and compressed streams: all that is in them is looked into, and what readers see differently is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from model_files import Runs, look, rules

from antivenom.scan import Limits, Status, scan_view
from antivenom.scan.findings import FileReport
from antivenom.scan.view import View

EVIL = pickle.dumps(Runs(os.system, "true"))
FINE = pickle.dumps([1, 2, 3])


def zipped(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return file.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


WRAPS: dict[str, Callable[[bytes], bytes]] = {
    "zip": lambda data: zipped(("a/b.pkl", data)),
    "deflate": lambda data: zipped(("a.pkl", data), method=zipfile.ZIP_DEFLATED),
    "zip-bz2": lambda data: zipped(("a.pkl", data), method=zipfile.ZIP_BZIP2),
    "zip-lzma": lambda data: zipped(("a.pkl", data), method=zipfile.ZIP_LZMA),
    "tar": lambda data: tarred("a.pkl", data),
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zlib": zlib.compress,
}


@pytest.mark.parametrize("wrap", list(WRAPS))
def test_every_container_is_opened(wrap: str) -> None:
    assert look(WRAPS[wrap](FINE)).status is Status.SAFE
    report = look(WRAPS[wrap](EVIL))
    assert (report.status, report.findings[0].name) == (Status.UNSAFE, "posix.system")
    assert report.findings[0].inner


def test_containers_in_containers_up_to_a_depth() -> None:
    nested = EVIL
    for wrap in ("zip", "tar", "gzip", "xz", "zip-lzma", "zlib"):
        nested = WRAPS[wrap](nested)
    assert look(nested).findings[0].name == "posix.system"
    for _ in range(15):
        nested = gzip.compress(nested)
    assert rules(look(nested)) == ["limit"]


def test_bombs_end_at_a_limit() -> None:
    bomb = gzip.compress(bytes(1 << 25), 9)
    assert rules(look(bomb)) == ["limit"]
    assert rules(look(zipped(("a", bytes(1 << 25)), method=zipfile.ZIP_DEFLATED))) == ["limit"]
    assert rules(look(gzip.compress(os.urandom(1 << 20)), limits=Limits(unpacked=1000))) == ["limit"]
    assert rules(look(zipped(*((str(i), b"") for i in range(50))), limits=Limits(members=20))) == ["limit"]


def test_streams_that_follow_one_another() -> None:
    assert look(gzip.compress(EVIL[:9]) + gzip.compress(EVIL[9:])).findings[0].name == "posix.system"
    assert rules(look(zlib.compress(FINE) + EVIL))[0] == "trailing-data"
    assert "pickle-global" in rules(look(zlib.compress(FINE) + EVIL))
    assert rules(look(gzip.compress(FINE)[:-5])) == ["malformed"]


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
TRICKS: dict[str, Callable[[bytes], bytes]] = {
    "prefix": lambda z: b"#!/bin/sh\n" + z,
    "local name": lambda z: patched(z, z.index(LOCAL) + 30, b"X"),
    "central name": lambda z: patched(z, z.index(CENTRAL) + 46, b"X"),
    "encrypted flag": lambda z: patched(patched(z, z.index(CENTRAL) + 8, b"\x01"), z.index(LOCAL) + 6, b"\x01"),
    "flags differ": lambda z: patched(z, z.index(CENTRAL) + 8, b"\x01"),
    "method differs": lambda z: patched(z, z.index(LOCAL) + 8, b"\x08"),
    "checksum": lambda z: patched(patched(z, z.index(CENTRAL) + 16, b"abcd"), z.index(LOCAL) + 14, b"abcd"),
    "size differs": lambda z: patched(z, z.index(LOCAL) + 22, struct.pack("<I", 3)),
    "two ends": lambda z: z[:-2] + struct.pack("<H", 22) + END + bytes(18),
    "behind the end": lambda z: z + b"more",
    "gap": lambda z: _with_gap(z),
    "two disks": lambda z: patched(z, z.index(END) + 4, b"\x01"),
}


def _with_gap(archive: bytes) -> bytes:
    at = archive.index(CENTRAL)
    end = archive.index(END)
    return patched(archive[:at] + b"hidden" + archive[at:], end + 6 + 16, struct.pack("<I", at + 6))


@pytest.mark.parametrize("trick", list(TRICKS))
def test_zips_that_readers_see_differently_are_never_safe(trick: str) -> None:
    plain = zipped(("a.pkl", FINE))
    assert look(plain).status is Status.SAFE
    report = look(TRICKS[trick](plain))
    assert report.status is not Status.SAFE, trick


def test_duplicate_traversing_and_linked_entries() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = zipped(("a.pkl", FINE), ("a.pkl", FINE))
    assert rules(look(twice)) == ["archive-structure"]
    assert rules(look(zipped(("a", FINE), ("./a", FINE)))) == ["archive-structure"]
    for name in ("../up", "/etc/x", "a/../../b", "C:\\x", "..\\x"):
        assert "path-traversal" in rules(look(zipped((name, FINE)))), name
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "path-traversal" in rules(look(file.getvalue()))
    assert rules(look(tarred("../x", FINE))) == ["path-traversal"]


def test_a_streamed_zip_with_data_descriptors_is_safe() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pkl", FINE)
        archive.writestr("b.pkl", FINE)
    assert look(pipe.getvalue()).status is Status.SAFE


def test_a_pickle_that_is_also_a_zip_is_both() -> None:
    report = look(EVIL + zipped(("a", FINE)))
    assert report.format == "zip+pickle"
    assert {"pickle-global", "archive-structure", "trailing-data"} <= set(rules(report))


def test_npy_and_npz() -> None:
    def saved(array: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        return file.getvalue()

    for array in (np.arange(6).reshape(2, 3), np.array("word"), np.zeros(2, [("a", "f4"), ("b", "U3", (2,))])):
        assert (look(saved(array)).status, look(saved(array)).format) == (Status.SAFE, "npy")
    assert look(saved(np.array([1, None]))).status is Status.SAFE
    assert look(saved(np.array([Runs(os.system, "true")]))).findings[0].name == "posix.system"
    assert rules(look(saved(np.arange(3)) + b"tail"))[0] == "trailing-data"
    assert look(saved(np.arange(3)) + saved(np.arange(4))).status is Status.SAFE
    assert rules(look(saved(np.arange(3))[:-1])) == ["malformed"]
    assert rules(look(b"\x93NUMPY\x01\x00\x14\x00{'descr': __import__")) == ["malformed"]
    file = io.BytesIO()
    np.savez_compressed(file, a=np.zeros(5), b=np.array([None]))
    assert look(file.getvalue()).status is Status.SAFE


def test_a_view_is_a_file_for_libraries() -> None:
    inner = View(b"0123456789").window(2, 6).window(1)
    with inner.open() as file:
        assert (file.read(2), file.seek(-1, io.SEEK_END), file.read()) == (b"34", 4, b"7")
    assert (len(inner), inner.read(3, 9), inner.read(9)) == (5, b"67", b"")
    assert isinstance(scan_view(inner, "x"), FileReport)
