"""safetensors, GGUF and Universal Binary JSON: numbers without code, as long as the headers say what is there."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import pytest
from model_files import look, rules

from antivenom.scan import Limits, Status, scan_view
from antivenom.scan.view import View


def safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_safetensors_that_describe_their_bytes_are_safe() -> None:
    pair = {"__metadata__": {"format": "pt"}, "b": tensor("I64", [], 24, 32), "a": tensor("F32", [2, 3], 0, 24)}
    assert look(safetensors(pair, bytes(32))).format == "safetensors"
    assert look(safetensors(pair, bytes(32))).findings == ()
    assert look(safetensors({})).findings == ()
    assert look(safetensors({"e": tensor("F16", [0, 4], 0, 0), "f": tensor("F4", [2], 0, 1)}, b"x")).findings == ()


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 4, 12)}, bytes(12)),  # they overlap
        ({"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 12, 20)}, bytes(20)),  # a hole
        ({"a": tensor("F32", [2], 0, 8)}, bytes(9)),  # a byte too many
        ({"a": tensor("F32", [2], 0, 8)}, bytes(7)),  # one too few
        ({"a": tensor("F32", [3], 0, 8)}, bytes(8)),  # the shape says 12
        ({"a": tensor("F33", [2], 0, 8)}, bytes(8)),
        ({"a": tensor("F32", [-2, -1], 0, 8)}, bytes(8)),
        ({"a": tensor("F32", [2], -8, 0)}, b""),
        ({"a": tensor("F32", [2], 0, 8) | {"code": "x"}}, bytes(8)),
        ({"__metadata__": {"a": 1}}, b""),
        ({"a": 1}, b""),
        (b'{"a": {}, "a": {}}', b""),
        (b'{"a": ', b""),
    ],
)
def test_safetensors_that_do_not_are_not_safe(header: Any, data: bytes) -> None:
    assert set(rules(look(safetensors(header, data)))) == {"malformed"}


def test_a_pickle_in_front_of_a_header_is_seen() -> None:
    """The length of the header can be the opcode of a text line, and the tensors can be the rest of a pickle."""
    payload = b"\n0cposix\nsystem\n(Vtrue\ntR."
    header = json.dumps({"a": tensor("U8", [len(payload)], 0, len(payload))}).encode()
    header += b" " * (ord("V") - len(header))
    assert len(header) == ord("V")
    report = look(safetensors(header, payload))
    assert report.status is Status.UNSAFE
    assert "posix.system" in [finding.name for finding in report.findings]


class Counting(bytes):
    """Bytes that count what is read of them."""

    taken = 0

    def __getitem__(self, index: Any) -> Any:
        got = super().__getitem__(index)
        Counting.taken += len(got) if isinstance(got, bytes) else 1
        return got


def test_tensors_are_stepped_over() -> None:
    size = 1 << 24
    Counting.taken = 0
    data = Counting(safetensors({"a": tensor("U8", [size], 0, size)}, bytes(size)))
    assert scan_view(View(data), "file").findings == ()
    assert Counting.taken < 1 << 20


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def gguf(pairs: dict[str, bytes], tensors: bytes = b"", count: int = 0, data: bytes = b"", version: int = 3) -> bytes:
    """A file from values that carry their type, and descriptions that are written out."""
    head = b"GGUF" + struct.pack("<IQQ", version, count, len(pairs))
    head += b"".join(text(key) + value for key, value in pairs.items()) + tensors
    return head + bytes(-len(head) % 32) + data if count else head


def string(value: str) -> bytes:
    return struct.pack("<I", 8) + text(value)


def info(name: str, shape: list[int], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


TOKENS = struct.pack("<IIQ", 9, 8, 3) + text("a") + text("b") + text("c")


def test_gguf_with_an_ordinary_template_is_safe() -> None:
    two = info("a", [32, 2], 0, 0) + info("q", [32], 8, 256)
    pairs = {"general.architecture": string("llama"), "tokenizer.ggml.tokens": TOKENS, "x": struct.pack("<If", 6, 1.5)}
    pairs["tokenizer.chat_template"] = string("{% for m in messages %}{{ m['role'] }}{% endfor %}")
    report = look(gguf(pairs, two, 2, bytes(256 + 34)))
    assert (report.format, report.findings) == ("gguf", ())
    assert look(gguf(pairs, two, 2, bytes(256 + 64))).findings == ()  # padded to the alignment
    assert look(gguf(pairs)).findings == ()


def test_gguf_whose_template_reaches_for_python_is_unsafe() -> None:
    evil = "{{ cycler.__init__.__globals__ }}"
    assert rules(look(gguf({"tokenizer.chat_template": string(evil)})))[0] == "template"
    several = struct.pack("<IIQ", 9, 8, 2) + text("{{ x }}") + text(evil)
    assert rules(look(gguf({"tokenizer.chat_template.tool_use": several})))[0] == "template"
    assert rules(look(gguf({"tokenizer.huggingface.json": string('{"auto_map": {"a": "b.C"}}')}))) == ["remote-code"]


@pytest.mark.parametrize(
    "data",
    [
        gguf({"a": struct.pack("<IIQ", 9, 4, 1 << 62)}),  # an array that wraps around
        gguf({"a": struct.pack("<I", 8) + struct.pack("<Q", 1 << 63)}),
        gguf({"a": struct.pack("<I", 77)}),
        gguf({}, info("a", [1 << 40, 1 << 40], 0, 0), 1, bytes(64)),
        gguf({}, info("a", [8], 0, 64), 1, bytes(128)),  # a hole before the first tensor
        gguf({}, info("a", [8], 0, 0) + info("b", [8], 0, 0), 2, bytes(64)),  # they overlap
        gguf({}, info("a", [8], 0, 0), 1, bytes(4096)),
        gguf({}, info("a", [8], 99, 0), 1, bytes(32)),
        gguf({}, info("a", [8] * 9, 0, 0), 1, bytes(32)),
        gguf({"general.alignment": struct.pack("<II", 4, 7)}),
        gguf({}, version=9),
        gguf({"a": string("x")})[:-1],
        gguf({"a": string("x")}) + bytes(100),
    ],
)
def test_gguf_that_does_not_add_up_is_not_safe(data: bytes) -> None:
    assert set(rules(look(data))) == {"malformed"}


def test_gguf_counts_end_at_a_limit() -> None:
    assert rules(look(b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60))) == ["limit"]


def key(name: str) -> bytes:
    return b"L" + struct.pack(">q", len(name)) + name.encode()


UBJ = b"{" + key("learner") + b"{" + key("w") + b"[$d#L" + struct.pack(">q", 2) + bytes(8)
UBJ += key("names") + b"[" + b"SL" + struct.pack(">q", 1) + b"a" + b"]" + key("n") + b"i\x05" + b"}" + b"}"


def test_universal_binary_json_to_its_last_byte() -> None:
    assert (look(UBJ).format, look(UBJ).findings) == ("ubjson", ())
    assert rules(look(UBJ + b"x")) == ["trailing-data"]
    assert rules(look(UBJ[:-1])) == ["malformed"]
    assert rules(look(b"{" + key("a") + b"[" * 1000)) == ["malformed"]
    deep = b"{" + key("a") + b"[#L" + struct.pack(">q", 1 << 60) + b"Z" * 100
    assert rules(look(deep, limits=Limits(opcodes=50))) == ["limit"]


def test_what_the_libraries_write_is_safe() -> None:
    np = pytest.importorskip("numpy")
    library = pytest.importorskip("safetensors.numpy")
    assert look(library.save({"a": np.ones((3, 4), "f4"), "b": np.arange(5)})).findings == ()


def test_gguf_of_its_own_writer(tmp_path: Any) -> None:
    np, library = pytest.importorskip("numpy"), pytest.importorskip("gguf")
    writer = library.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_token_list([f"t{i}" for i in range(100)])
    writer.add_chat_template("{{ messages[0].content }}")
    writer.add_tensor("a.weight", np.ones((8, 32), "f4"))
    writer.add_tensor("q", np.zeros((4, 34), "u1"), raw_dtype=library.GGMLQuantizationType.Q8_0)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    assert look((tmp_path / "m.gguf").read_bytes()).findings == ()


def test_xgboost_writes_both_kinds_of_json(tmp_path: Any) -> None:
    np, library = pytest.importorskip("numpy"), pytest.importorskip("xgboost")
    model = library.XGBClassifier(n_estimators=2, max_depth=2).fit(np.eye(8), np.arange(8) % 2)
    for name, kind in (("m.json", "json"), ("m.ubj", "ubjson")):
        model.save_model(tmp_path / name)
        report = look((tmp_path / name).read_bytes())
        assert (report.format, report.findings) == (kind, ())


def test_skops_of_a_fitted_estimator(tmp_path: Any) -> None:
    np, library = pytest.importorskip("numpy"), pytest.importorskip("skops.io")
    linear = pytest.importorskip("sklearn.linear_model")
    file = io.BytesIO(library.dumps(linear.LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])))
    assert set(rules(look(file.getvalue()))) <= {"untrusted-type"}
