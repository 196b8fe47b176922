"""HDF5: files of a few messages, written out by hand, and those of its own library."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
from model_files import look, rules

UNDEFINED = (1 << 64) - 1
LAMBDA = b'{"class_name": "Lambda", "config": {"function": ["4wEAAA==", null, null], "function_type": "lambda"}}'


def hdf5(*messages: tuple[int, bytes], end: int | None = None) -> bytes:
    """A file whose root group has those messages: their kinds and contents."""
    body = b"".join(struct.pack("<BHB", kind, len(content), 0) + content for kind, content in messages)
    header = b"OHDR\x02\x02" + struct.pack("<I", len(body)) + body + bytes(4)
    size = 48 + len(header) if end is None else end
    return b"\x89HDF\r\n\x1a\n" + struct.pack("<BBBBQQQQI", 2, 8, 8, 0, 0, UNDEFINED, size, 48, 0) + header


def text_attribute(name: str, value: bytes) -> tuple[int, bytes]:
    key = name.encode() + b"\0"
    kind, space = struct.pack("<BBBBI", 0x13, 0, 0, 0, len(value)), struct.pack("<BBBB", 2, 0, 0, 0)
    return 0x0C, struct.pack("<BBHHHB", 3, 0, len(key), len(kind), len(space), 0) + key + kind + space + value


def link(kind: int, content: bytes) -> tuple[int, bytes]:
    return 6, struct.pack("<BBBB", 1, 8, kind, 1) + b"w" + content


def test_attributes_are_looked_into() -> None:
    plain = hdf5(text_attribute("note", b"hello"), text_attribute("backend", b"jax"))
    assert (look(plain).format, look(plain).findings) == ("hdf5", ())
    report = look(hdf5(text_attribute("model_config", LAMBDA)))
    assert (set(rules(report)), report.findings[0].offset) == ({"embedded-code"}, None)
    assert "pickle-global" in rules(look(hdf5(text_attribute("x", pickle.dumps(print)))))
    assert rules(look(hdf5(text_attribute("PSEUDOATOM", b"object")))) == ["embedded-code"]


def test_data_in_other_files_is_unsafe() -> None:
    outside = struct.pack("<H", 13) + b"\0" + b"/etc/x\0" + b"/data\0"
    report = look(hdf5(link(64, outside)))
    assert (rules(report), report.findings[0].name) == (["path-traversal"], "/etc/x")
    assert rules(look(hdf5((8, struct.pack("<BBQI", 4, 3, 0, 0))))) == ["path-traversal"]
    assert look(hdf5(link(1, struct.pack("<H", 2) + b"/v"))).findings == ()  # by name, within the file


def test_what_is_not_understood_is_not_safe() -> None:
    assert rules(look(hdf5((2, struct.pack("<BBQQ", 0, 0, 64, 64))))) == ["unknown-format"]
    assert rules(look(hdf5((0x42, b"")))) == ["unknown-format"]
    assert rules(look(hdf5(link(99, b"")))) == ["unknown-format"]
    assert rules(look(hdf5((11, struct.pack("<BBHHHH", 2, 1, 4242, 0, 0, 0))))) == ["custom-operation"]
    assert rules(look(bytes(512) + hdf5())) == ["malformed"]
    assert rules(look(hdf5() + b"PK")) == ["malformed"]
    assert rules(look(hdf5(link(0, struct.pack("<Q", 1 << 40))))) == ["malformed"]
    assert rules(look(hdf5((16, struct.pack("<QQ", 48, 64))))) == ["malformed"]


def test_groups_that_hold_themselves_end() -> None:
    assert look(hdf5(link(0, struct.pack("<Q", 48)))).findings == ()


def test_files_of_its_own_library(tmp_path: Path) -> None:
    library, np = pytest.importorskip("h5py"), pytest.importorskip("numpy")

    def written(name: str, fill: Any, **options: Any) -> list[str]:
        with library.File(tmp_path / name, "w", **options) as file:
            fill(file)
        return rules(look((tmp_path / name).read_bytes()))

    def weights(file: Any) -> None:
        file.create_dataset("layers/dense/vars/0", data=np.ones((4, 4)), compression="gzip")
        file.attrs["layer_names"] = ["dense", "out"]
        file["soft"] = library.SoftLink("/layers")
        for index in range(30):
            file.create_group(f"g{index}").attrs["n"] = index

    assert written("weights.h5", weights) == []
    assert written("latest.h5", lambda file: file.create_dataset("w", data=np.ones(3)), libver="latest") == []
    assert set(written("code.h5", lambda file: file.attrs.update(model_config=LAMBDA.decode()))) == {"embedded-code"}
    assert written("link.h5", lambda file: file.update(x=library.ExternalLink("/etc/x", "/a"))) == ["path-traversal"]
    outside = [("/etc/hostname", 0, 4)]
    assert written("raw.h5", lambda file: file.create_dataset("x", (4,), "u1", external=outside)) == ["path-traversal"]
