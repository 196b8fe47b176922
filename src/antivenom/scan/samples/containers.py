"""Pickles in containers on which readers disagree, or which scanners do not open."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import partial

from antivenom.scan.samples.assembly import Sample, old_payload, payload, pickled, sample

_FLAGS = "GHSA-w8jq-xcqf-f792, GHSA-7q5r-7gvp-wc82, CVE-2025-10156"
_SPEC = "spec: zip structure"
_NESTED = "spec: every container is opened or refused"
BENIGN = b"\x80\x02ccollections\nOrderedDict\n)R."


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    """A zip archive of these members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile warns about duplicate names
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data, method)
        archive.comment = comment
    return out.getvalue()


def torch_zip(data: bytes, *more: tuple[str, bytes], method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    """A PyTorch archive around a data.pkl."""
    return zipped(("a/data.pkl", data), *more, ("a/version", b"3\n"), method=method, comment=comment)


def tarred(*members: tuple[str, bytes], mode: str = "w") -> bytes:
    """A tar archive of these members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _bad(marker: str) -> bytes:
    return pickled(payload(marker), 4)


def _torch(marker: str) -> bytes:
    return torch_zip(_bad(marker))


def _patched(data: bytes, signature: bytes, offset: int, new: bytes) -> bytes:
    """`data` with a field of the first record of this signature replaced."""
    at = data.index(signature) + offset
    return data[:at] + new + data[at + len(new) :]


_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def _zip64(marker: str) -> bytes:
    """A zip64 record that points to another directory than the ordinary end record."""
    data = _torch(marker)
    end = data.index(_END)
    count, size, offset = struct.unpack("<HII", data[end + 10 : end + 20])
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1)
    return (
        data[:end] + record + locator + _END + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    )


def _two_ends(marker: str) -> bytes:
    """Two complete archives in one file: readers that use the first end record see the benign one."""
    return torch_zip(BENIGN) + _torch(marker)


def _legacy(marker: str, place: int) -> bytes:
    """PyTorch's older format, with the payload in one of its five pickles."""
    streams = [
        pickled_int(0x1950A86A20F9469CFC6C),
        b"\x80\x02M\xe9\x03.",
        b"\x80\x02}.",
        BENIGN,
        b"\x80\x02].",
    ]
    body = streams[place]
    streams[place] = body[:2] + old_payload(marker) + b"0" + body[2:]
    return b"".join(streams)


def pickled_int(value: int) -> bytes:
    """A stream whose value is a large integer."""
    data = value.to_bytes((value.bit_length() + 8) // 8, "little")
    return b"\x80\x02\x8a" + bytes((len(data),)) + data + b"."


def _legacy_tar(marker: str, place: str) -> bytes:
    """PyTorch's oldest format, a tar of three pickles."""
    streams = {
        "sys_info": b"\x80\x02}.",
        "storages": b"\x80\x02K\0.\x80\x02].",
        "tensors": b"\x80\x02K\0.",
        "pickle": BENIGN,
    }
    body = streams[place]
    streams[place] = body[:2] + old_payload(marker) + b"0" + body[2:]
    return tarred(*streams.items())


def _packed(marker: str, pack: Callable[[bytes], bytes]) -> bytes:
    return pack(_bad(marker))


def _in_torch(
    name: str, build: Callable[[str], bytes], reference: str, fires: bool | str = True, loader: str = "torch"
) -> Sample:
    return sample(f"torch/{name}", build, reference, ".pt", loader, fires, ("torch",))


def _plain(name: str, build: Callable[[str], bytes], reference: str = _NESTED, suffix: str = ".bin") -> Sample:
    return sample(f"nesting/{name}", build, reference, suffix, "", "nothing loads it as it stands")


def _seven_zipped(marker: str) -> bytes:
    out = io.BytesIO()
    with importlib.import_module("py7zr").SevenZipFile(out, "w") as archive:
        archive.writestr(_bad(marker), "model.pkl")
    return out.getvalue()


TORCH: tuple[Sample, ...] = (
    _in_torch("data.pkl", _torch, _SPEC),
    _in_torch("deflated", lambda m: torch_zip(_bad(m), method=zipfile.ZIP_DEFLATED), _SPEC),
    _in_torch("flag-encrypted-in-directory", lambda m: _patched(_torch(m), _CENTRAL, 8, b"\x01\x00"), _FLAGS, "miniz, which takes it for encrypted"),
    _in_torch("flag-encrypted-in-local", lambda m: _patched(_torch(m), _LOCAL, 6, b"\x01\x00"), _FLAGS),
    _in_torch("flag-descriptor", lambda m: _patched(_torch(m), _CENTRAL, 8, b"\x08\x00"), _FLAGS),
    _in_torch("crc-in-directory", lambda m: _patched(_torch(m), _CENTRAL, 16, b"\xde\xad\xbe\xef"), _FLAGS),
    _in_torch("crc-in-local", lambda m: _patched(_torch(m), _LOCAL, 14, b"\xde\xad\xbe\xef"), _FLAGS),
    _in_torch("local-name", lambda m: _patched(_torch(m), _LOCAL, 30, b"a/data.txt"), _FLAGS),
    _in_torch("local-size", lambda m: _patched(_torch(m), _LOCAL, 22, b"\x01\0\0\0"), _FLAGS),
    _in_torch("local-method", lambda m: _patched(_torch(m), _LOCAL, 8, b"\x08\0"), _FLAGS),
    _in_torch("duplicate-first-bad", lambda m: torch_zip(_bad(m), ("a/data.pkl", BENIGN)), _SPEC),
    _in_torch("duplicate-last-bad", lambda m: torch_zip(BENIGN, ("a/data.pkl", _bad(m))), _SPEC, "miniz, which takes the first"),
    _in_torch("name-in-capitals", lambda m: zipped(("a/DATA.PKL", _bad(m)), ("a/version", b"3\n")), _SPEC),
    _in_torch("prefix", lambda m: b"\0" * 100 + _torch(m), _SPEC, "torch, which looks for PK in front"),
    _in_torch("prefix-is-zip", _two_ends, _SPEC, "miniz, which finds no header where the directory points"),
    _in_torch("extra-end-record", lambda m: _torch(m) + _END + b"\0" * 18, _SPEC, "an archive without entries"),
    _in_torch("comment", lambda m: torch_zip(_bad(m), comment=b"harmless"), _SPEC),
    _in_torch("comment-holds-archive", lambda m: torch_zip(BENIGN, comment=_torch(m)), _SPEC, "miniz, which finds no header where the directory points"),
    _in_torch("zip64", _zip64, _SPEC),
    _in_torch("trailing-stream-in-data", lambda m: torch_zip(BENIGN + _bad(m)), _SPEC, "torch, which loads the first stream"),
    _in_torch("constants.pkl", lambda m: torch_zip(BENIGN, ("a/constants.pkl", pickled(payload(m), 2))), "spec: TorchScript", "the TorchScript unpickler"),
    _in_torch("torchscript-data.pkl", lambda m: torch_zip(pickled(payload(m), 2), ("a/constants.pkl", b"\x80\x02)."), ("a/code/__torch__.py", b"")), "spec: TorchScript", "the TorchScript unpickler"),
    _in_torch("extra-pickle", lambda m: torch_zip(BENIGN, ("a/extra.pkl", _bad(m))), _NESTED, "torch, which does not look at it"),
    _in_torch("nested-archive", lambda m: torch_zip(BENIGN, ("a/data/0", _torch(m))), _NESTED, "torch, which does not look at it"),
    _in_torch("pickle-before-zip", lambda m: _bad(m) + torch_zip(BENIGN), "spec: pickle and zip polyglot", loader="pickle"),
    *(_in_torch(f"legacy-{place}", partial(_legacy, place=place), "spec: legacy stream") for place in range(5)),
    *(_in_torch(f"tar-{place}", partial(_legacy_tar, place=place), "spec: legacy tar", fires="torch, which does not look at it" if place == "sys_info" else True) for place in ("sys_info", "storages", "tensors", "pickle")),
)  # fmt: skip

JOBLIB: tuple[Sample, ...] = tuple(
    sample(f"joblib/{name}", partial(_packed, pack=pack), "joblib documentation: compress", f".{name}", "joblib", packages=("joblib",))
    for name, pack in (
        ("plain", bytes),
        ("zlib", zlib.compress),
        ("gzip", gzip.compress),
        ("bz2", bz2.compress),
        ("xz", lzma.compress),
        ("lzma", partial(lzma.compress, format=lzma.FORMAT_ALONE)),
    )
)  # fmt: skip

NESTING: tuple[Sample, ...] = (
    _plain("zip", lambda m: zipped(("model.pkl", _bad(m))), suffix=".zip"),
    _plain("zip-in-zip", lambda m: zipped(("a.zip", zipped(("b.zip", zipped(("c.bin", _bad(m)))))))),
    _plain("tar.gz-in-zip", lambda m: zipped(("a.tar.gz", gzip.compress(tarred(("b", _bad(m))))), method=zipfile.ZIP_DEFLATED)),
    _plain("zip-in-tar.xz", lambda m: lzma.compress(tarred(("a", zipped(("b.dat", old_payload(m) + b".")))))),
    _plain("bzip2-zip", lambda m: zipped(("a", _bad(m)), method=zipfile.ZIP_BZIP2)),
    _plain("lzma-zip", lambda m: zipped(("a", _bad(m)), method=zipfile.ZIP_LZMA)),
    _plain("zip-encrypted-flag", lambda m: _patched(_patched(zipped(("a", _bad(m))), _CENTRAL, 8, b"\1\0"), _LOCAL, 6, b"\1\0"), _FLAGS),
    _plain("gzip-members", lambda m: gzip.compress(BENIGN) + gzip.compress(_bad(m)), "RFC 1952: members"),
    _plain("behind-zlib", lambda m: zlib.compress(BENIGN) + _bad(m)),
    _plain("behind-tar", lambda m: tarred(("a", b"text")) + _bad(m)),
    _plain("7z", lambda m: b"7z\xbc\xaf\x27\x1c\0\4" + b"\0" * 24, "nullifAI: 7z in place of zip"),
    sample("nesting/7z-archive", _seven_zipped, "nullifAI: 7z in place of zip", ".7z", "", "nothing loads it as it stands", ("py7zr",)),
    _plain("zip-slip", lambda m: zipped(("../../x.txt", b"text")), "Zip Slip, Snyk 2018"),
    _plain("tar-slip", lambda m: tarred(("/x.txt", b"text")), "CVE-2007-4559"),
    _plain("unlisted-between", lambda m: _hidden(zipped(("a.txt", b"text"), ("b", _bad(m)))), _SPEC),
)  # fmt: skip


def _hidden(data: bytes) -> bytes:
    """The archive without its second entry in the directory; only readers of local headers see that entry."""
    first = data.index(_CENTRAL)
    second = data.index(_CENTRAL, first + 4)
    kept = data[:first] + data[first:second]
    return kept + _END + struct.pack("<HHHHIIH", 0, 0, 1, 1, second - first, first, 0)


SAMPLES: tuple[Sample, ...] = (*TORCH, *JOBLIB, *NESTING)
