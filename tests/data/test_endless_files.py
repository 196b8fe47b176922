"""Files that never end, or that grow when they are read, are refused within limits by every reader."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from antivenom.core.errors import AntivenomError, DataError
from antivenom.data import DATASETS, limits, text
from antivenom.data.files import PublishedFile, cache_folder, locate, read_bytes
from antivenom.data.reading import read_cells
from antivenom.data.sources import ImageFolder, NpzFile, TableFile, TextFile
from antivenom.defences.tables import sanitize_table

LIMIT = 1 << 20
ZEROS = bytes(LIMIT + 1)


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_BYTES", LIMIT)


def refused(read: Callable[[], object]) -> str:
    """The one line with which the reader refuses, within ten seconds."""
    said: list[BaseException | None] = []

    def attempt() -> None:
        try:
            read()
            said.append(None)
        except BaseException as error:
            said.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(10)
    assert said, "the reader did not end"
    assert isinstance(said[0], AntivenomError), repr(said[0])
    assert "\n" not in str(said[0])
    return str(said[0])


def npz(**arrays: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return made.getvalue()


def npy(array: np.ndarray) -> bytes:
    made = io.BytesIO()
    np.save(made, array)
    return made.getvalue()


READERS: dict[str, Callable[[Path], object]] = {
    "table": lambda path: TableFile(str(path), "y").unsplit(),
    "cells": lambda path: read_cells(path),
    "npz": lambda path: NpzFile(str(path)).unsplit(),
    "texts": lambda path: TextFile(str(path)).unsplit(),
    "bytes": lambda path: read_bytes(path),
    "sanitize": lambda path: sanitize_table(
        TableFile(str(path), "y"), "KNNSanitizer", None, None, path.parent, 0, True
    ),
}
SUFFIX = {"npz": ".npz", "texts": ".jsonl"}


@pytest.mark.parametrize("kind", ["pipe", "device", "link", "folder", "long"])
@pytest.mark.parametrize("reader", list(READERS))
def test_what_never_ends_is_refused(tmp_path: Path, reader: str, kind: str) -> None:
    path = tmp_path / f"rows{SUFFIX.get(reader, '.csv')}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "link":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    refused(lambda: READERS[reader](path))


BOMBS: dict[str, tuple[str, bytes]] = {
    "gz": (".csv.gz", gzip.compress(ZEROS)),
    "gz of two members": (".csv.gz", gzip.compress(ZEROS[:-2]) + gzip.compress(ZEROS[:-2])),
    "bz2": (".csv.bz2", bz2.compress(ZEROS)),
    "xz": (".csv.xz", lzma.compress(ZEROS)),
    "gz lines": (".jsonl.gz", gzip.compress(ZEROS)),
    "xz lines": (".jsonl.xz", lzma.compress(ZEROS)),
}


@pytest.mark.parametrize(("suffix", "content"), BOMBS.values(), ids=list(BOMBS))
def test_what_grows_when_it_is_decompressed_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    source = TextFile(str(path)) if ".jsonl" in suffix else TableFile(str(path), "y")
    assert "more than 1 MiB when it is decompressed" in refused(source.unsplit)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_decompression_equals_the_standard_library_up_to_the_limit(suffix: str) -> None:
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[suffix]
    rng = np.random.default_rng(0)
    for content in (b"", b"x", rng.bytes(50_000), b"ab" * 400_000, bytes(LIMIT - 4)):
        packed = pack(content)
        assert limits.unpacked(packed, suffix) == content
        assert limits.unpacked(pack(b"more") + packed, suffix) == b"more" + content
        for cut in {len(packed) // 2, len(packed) - 1}:
            with pytest.raises(OSError, match=r"ends too early|damaged|Invalid data"):
                limits.unpacked(packed[:cut], suffix)
    with pytest.raises(OSError, match=r"damaged|Invalid data"):
        limits.unpacked(b"not compressed at all", suffix)


NPZ = {
    "a bomb": (npz(x=npy(np.zeros(LIMIT)), y=npy(np.zeros(1))), "more than 1 MiB when it is decompressed"),
    "another array that is a bomb": (npz(x=npy(np.zeros(2)), y=npy(np.zeros(2)), z=ZEROS), "more than 1 MiB"),
    "Python objects": (
        npz(x=npy(np.array([{}], dtype=object)), y=npy(np.zeros(1))),
        "Python objects, which are not loaded",
    ),
    "no array": (npz(x=b"hello", y=b""), "an .npz archive of plain arrays"),
    "a single array": (npy(np.zeros(3)), "a single array"),
    "no archive": (b"PK\x03\x04 no", "an .npz archive of plain arrays"),
    "an empty file": (b"", "an .npz archive of plain arrays"),
}


@pytest.mark.parametrize(("content", "said"), NPZ.values(), ids=list(NPZ))
def test_hostile_npz_archives_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "rows.npz"
    path.write_bytes(content)
    assert said in refused(NpzFile(str(path)).unsplit)


@pytest.mark.parametrize("shape", ["10**12,", "999999999999,", "2,", "-1,", "99999, 99999"])
def test_an_array_whose_header_lies_is_refused(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(8)
    path = tmp_path / "rows.npz"
    path.write_bytes(npz(x=content, y=npy(np.zeros(1))))
    refused(NpzFile(str(path)).unsplit)


def mat(*elements: bytes, order: bytes = b"IM") -> bytes:
    return b"MATLAB 5.0".ljust(124) + b"\x00\x01" + order + b"".join(elements)


def matrix(kind: int, body: bytes = b"") -> bytes:
    flags = struct.pack("<IIII", 6, 8, kind, 0)
    return struct.pack("<II", 14, len(flags) + len(body)) + flags + body


def compressed(element: bytes) -> bytes:
    packed = zlib.compress(element)
    return struct.pack("<II", 15, len(packed)) + packed


MAT = {
    "a bomb": mat(compressed(matrix(6, ZEROS))),
    "two halves of a bomb": mat(*[compressed(matrix(6, ZEROS[: LIMIT // 2 + 9]))] * 2),
    "a cell": mat(matrix(1)),
    "a compressed structure": mat(compressed(matrix(2))),
    "an object": mat(matrix(3)),
    "a function": mat(compressed(matrix(16))),
    "cells in cells": mat(compressed(matrix(1, matrix(1, b"")) * 5)),
    "a sparse matrix": mat(matrix(5)),
    "something else": mat(struct.pack("<II", 1, 8) + bytes(8)),
    "a size that lies": mat(struct.pack("<II", 14, 1 << 31)),
    "an element that is cut off": mat(b"\x0e\0\0"),
    "damaged compression": mat(struct.pack("<II", 15, 8) + bytes(8)),
    "an empty compressed element": mat(compressed(b"")),
    "no MATLAB file": b"hello",
    "MATLAB 4": bytes(200),
    "an empty file": b"",
}


@pytest.mark.parametrize("content", MAT.values(), ids=list(MAT))
def test_hostile_mat_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setenv("ANTIVENOM_DATA", str(tmp_path))
    (tmp_path / "mnist_1_7.mat").write_bytes(content)
    assert "a complete, readable mnist_1_7.mat" in refused(lambda: DATASETS["mnist-1-7"].read(None))  # type: ignore[arg-type]


def test_a_mat_file_of_numbers_passes() -> None:
    from scipy.io import savemat

    for pack in (True, False):
        made = io.BytesIO()
        savemat(made, {"x": np.eye(3), "y": np.arange(3)}, do_compression=pack)
        limits.require_plain_mat(made.getvalue())


def tar(*members: tuple[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


CORPORA = {
    "a large member": ("enron1.tar.gz", tar(("enron1/ham/1.txt", ZEROS))),
    "many members": ("enron1.tar.gz", tar(*[(f"enron1/ham/{i}.txt", ZEROS[:1000]) for i in range(700)])),
    "lines": ("enron-spam.jsonl.xz", lzma.compress(ZEROS)),
}


@pytest.mark.parametrize(("name", "content"), CORPORA.values(), ids=list(CORPORA))
def test_corpora_that_grow_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    monkeypatch.setenv("ANTIVENOM_DATA", str(tmp_path))
    (tmp_path / name).write_bytes(content)
    assert "more than 1 MiB" in refused(lambda: text.texts(text.ENRON[0], text.MAIL, "enron1/"))


def test_a_table_of_too_many_cells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_CELLS", 100)
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "1,2,3\n" * 60)
    assert "more than 100 cells" in refused(TableFile(str(path), "y").unsplit)


def test_a_parquet_file_of_few_bytes_and_many_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(limits, "MOST_CELLS", 1000)
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": np.zeros(2000), "y": np.zeros(2000)}).to_parquet(path)
    assert "more than 1000 cells" in refused(TableFile(str(path), "y").unsplit)


def test_a_line_of_deep_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("[" * 100_000)
    assert "one JSON object" in refused(TextFile(str(path)).unsplit)


def test_pipes_and_devices_among_images_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").symlink_to("/dev/zero")
    assert "no images" in refused(ImageFolder(str(tmp_path), (2, 2)).unsplit)


# --- the cache -------------------------------------------------------------------------------------------------------


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ANTIVENOM_OFFLINE", "1")
    monkeypatch.delenv("ANTIVENOM_DATA", raising=False)
    cache_folder().mkdir(parents=True)
    return cache_folder()


def test_a_cached_file_must_have_the_published_checksum(cached: Path) -> None:
    content = json.dumps({"rows": 3}).encode()
    source = PublishedFile("t.json", "https://example.org/t.json", f"sha256:{hashlib.sha256(content).hexdigest()}")
    (cached / "t.json").write_bytes(content)
    assert locate(source) == cached / "t.json"
    (cached / "t.json").write_bytes(content.replace(b"3", b"4"))
    with pytest.raises(
        DataError, match=r"another checksum than the published one .*delete the file and fetch it again"
    ):
        locate(source)
    (cached / "t.json").unlink()
    (cached / "t.json.gz").write_bytes(gzip.compress(content))
    assert locate(source) == cached / "t.json.gz"
    (cached / "t.json.gz").write_bytes(gzip.compress(content + b" "))
    with pytest.raises(DataError, match="another checksum"):
        locate(source)


def test_another_form_of_a_published_file_belongs_into_the_users_own_folder(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PublishedFile("t.gz", "https://example.org/t.gz", "sha256:" + "0" * 64)
    (cached / "t").write_bytes(b"unpacked")
    with pytest.raises(DataError, match=r"no published checksum: move it into \$ANTIVENOM_DATA"):
        locate(source)
    monkeypatch.setenv("ANTIVENOM_DATA", str(tmp_path))
    (tmp_path / "t").write_bytes(b"unpacked")
    assert locate(source) == tmp_path / "t"


def test_every_download_is_https_and_fashion_mnist_has_sha256() -> None:
    files = [file for data in DATASETS.values() for file in data.files if file.url]
    assert all(file.url.startswith("https://") for file in files)
    assert all(file.checksum for file in files)
    assert all(file.checksum.startswith("sha256:") for file in DATASETS["fashion-mnist"].files)
