"""What lies beside a model: programs, pictures, vocabularies, checkpoints."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from random import Random

import pytest
from model_files import look, proto, rules

from antivenom.scan import Status, scan


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    body = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


PICTURES = {
    "png": png((b"IHDR", bytes(13)), (b"IDAT", b"x"), (b"IEND", b"")),
    "gif": bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"),
    "webp": b"RIFF" + struct.pack("<I", 12) + b"WEBPVP8 " + bytes(4),
    "jpeg": bytes.fromhex("ffd8ffe000044a46ffda0004000011ff0022ffd033ffd9"),
}


@pytest.mark.parametrize("kind", list(PICTURES))
def test_pictures_end_where_they_end(kind: str) -> None:
    data = PICTURES[kind]
    assert (look(data).format, look(data).findings) == ("image", ())
    assert rules(look(data + b"tail"))[0] == "trailing-data"
    assert look(data[:-2]).status is not Status.SAFE
    assert "pickle-global" in rules(look(data + b"\x80\x04cos\nsystem\n(Vtrue\ntR."))


@pytest.mark.parametrize(
    "head",
    [b"\x7fELF\x02\x01", b"MZ\x90\0", b"\xcf\xfa\xed\xfe\x07", b"\xa7\r\r\n" + bytes(12) + b"\xe3"],
)
def test_programs_are_unsafe(head: bytes) -> None:
    assert "executable" in rules(look(head + bytes(32)))


def test_sentencepiece_vocabularies_are_safe() -> None:
    piece = b"\x0a\x03abc\x15" + struct.pack("<f", -1.5)
    data = proto((1, piece), (1, piece), (2, proto((4, 8))))
    assert (look(data).format, look(data).findings) == ("sentencepiece", ())
    assert rules(look(proto((1, piece), (1, piece + b"\x22\x01x")))) == ["malformed"]


def test_a_checkpoint_beside_its_index(tmp_path: Path) -> None:
    index, shard = tmp_path / "variables.index", tmp_path / "variables.data-00000-of-00001"
    shard.write_bytes(struct.pack("<2f", 1.0, -2.0))
    assert scan(shard).status is Status.UNKNOWN
    index.write_bytes(bytes(40) + bytes.fromhex("57fb808b247547db"))
    assert scan(tmp_path).status is Status.SAFE


def test_broken_files_end_in_findings_and_never_in_a_failure() -> None:
    """Random bytes changed, cut and inserted in small files of every format: the scan itself does not fail."""
    from test_graphs import lite, onnx_model, onnx_node, saved, tf_node
    from test_hdf5 import LAMBDA, hdf5, text_attribute
    from test_tensor_files import TOKENS, UBJ, gguf, info, safetensors, tensor

    files = [
        *PICTURES.values(),
        onnx_model((1, onnx_node("Relu"))),
        saved(tf_node("x", "NoOp")),
        lite("FlexMatMul", 32),
        hdf5(text_attribute("model_config", LAMBDA)),
        gguf({"tokenizer.ggml.tokens": TOKENS}, info("a", [8], 0, 0), 1, bytes(32)),
        safetensors({"a": tensor("F32", [2], 0, 8)}, bytes(8)),
        UBJ,
        b'{"chat_template": "{{ x[y] }}", "auto_map": {"a": "b"}, "class_name": "Lambda", "config": {}}',
    ]
    random = Random(0)
    for data in files * 60:
        broken = bytearray(data)
        for _ in range(random.choice((1, 2, 8))):
            at = random.randrange(len(broken))
            broken[at : at + random.choice((0, 1, 1, 8))] = random.randbytes(random.choice((0, 1, 1, 8)))
            broken = broken or bytearray(b"x")
        assert "scan-error" not in rules(look(bytes(broken)))
