"""Model formats other than pickle: code in graphs, templates and configurations, and false headers."""

from __future__ import annotations

import base64
import importlib
import json
import marshal
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from antivenom.scan.samples.assembly import Sample, code, sample
from antivenom.scan.samples.containers import zipped


def _keras(layer: Callable[[str], dict[str, object]]) -> Callable[[str], bytes]:
    def build(marker: str) -> bytes:
        model = {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": [layer(marker)]}}
        return zipped(("metadata.json", b'{"keras_version": "3.15.1"}'), ("config.json", json.dumps(model).encode()))

    return build


def _marshalled(marker: str) -> str:
    """The payload as marshalled bytecode in Base64, which is how Keras keeps a lambda."""
    return base64.b64encode(marshal.dumps(compile(code(marker), "<lambda>", "eval"))).decode()


def _lambda(marker: str) -> dict[str, object]:
    function = {
        "class_name": "__lambda__",
        "config": {"code": _marshalled(marker), "defaults": None, "closure": None},
    }
    return {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "l", "function": function}}


def _module(marker: str) -> dict[str, object]:
    function = {"module": "os", "class_name": "function", "config": "mkdir", "registered_name": "function"}
    return {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"function": function, "arguments": {"path": marker}},
    }


def _get_file(marker: str) -> dict[str, object]:
    function = {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"}
    return {"module": "keras.layers", "class_name": "Dense", "config": {"activation": function, "cache_dir": marker}}


def message(*fields: tuple[int, int | bytes | str]) -> bytes:
    """A protocol buffer of these numbered fields."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += _varint(number << 3) + _varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _onnx(*graph: tuple[int, int | bytes | str], domain: str = "") -> bytes:
    opset = message((1, domain), (2, 21)) if domain else message((2, 21))
    return message((1, 10), (2, "antivenom"), (7, message(*graph, (2, "g"))), (8, opset))


def _external(location: str) -> bytes:
    entry = message((1, "location"), (2, location))
    return _onnx((5, message((1, 4), (2, 1), (8, "w"), (13, entry), (14, 1))))


def _custom() -> bytes:
    return _onnx(
        (1, message((1, "x"), (2, "y"), (3, "n"), (4, "Run"), (7, "com.example.custom"))), domain="com.example.custom"
    )


def _saved_model(operation: str, marker: str) -> bytes:
    node = message((1, "n"), (2, operation), (3, marker))
    return message((1, 1), (2, message((1, message((4, "serve"))), (2, message((1, node))))))


def _template(marker: str) -> str:
    return f"{{{{ cycler.__init__.__globals__.os.mkdir('{marker}') }}}}"


def _gguf(marker: str) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    entries = {"general.architecture": "llama", "tokenizer.chat_template": _template(marker)}
    body = b"".join(text(key) + struct.pack("<I", 8) + text(value) for key, value in entries.items())
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + body


def _safetensors(header: dict[str, object], data: bytes, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _tensor(begin: int, end: int) -> dict[str, object]:
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}


def _repository(name: str, files: dict[str, Callable[[str], str]], reference: str) -> Sample:
    def make(folder: Path, marker: Path) -> Path:
        home = folder / f"format-{name}"
        home.mkdir()
        for file, build in files.items():
            (home / file).write_text(build(str(marker)))
        return home

    return Sample(f"format/{name}", reference, make, "", "transformers, which is no test dependency")


def _h5(folder: Path, marker: Path) -> Path:
    path = folder / "format-h5-lambda.h5"
    with importlib.import_module("h5py").File(path, "w") as file:
        layer = {
            "class_name": "Lambda",
            "config": {"function": [_marshalled(str(marker)), None, None]},
        }
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})
    return path


def _format(name: str, build: Callable[[str], bytes], reference: str, suffix: str, why: str) -> Sample:
    return sample(f"format/{name}", build, reference, suffix, "", why)


_KERAS, _ONNX, _TF = (
    "keras, which is no test dependency",
    "onnx, which refuses it",
    "tensorflow, which is no test dependency",
)
_READER = "safetensors, which refuses it"

SAMPLES: tuple[Sample, ...] = (
    _format("keras-lambda", _keras(_lambda), "CVE-2024-3660", ".keras", _KERAS),
    _format("keras-module", _keras(_module), "CVE-2025-1550", ".keras", _KERAS),
    _format("keras-get-file", _keras(_get_file), "CVE-2025-8747", ".keras", _KERAS),
    Sample("format/h5-lambda", "CVE-2024-3660", _h5, "", _KERAS, ("h5py",)),
    _format("onnx-traversal", lambda m: _external(f"../../..{m}"), "CVE-2024-27318, CVE-2024-5187", ".onnx", _ONNX),
    _format("onnx-absolute", lambda m: _external(m), "CVE-2024-27318", ".onnx", _ONNX),
    _format("onnx-custom-domain", lambda m: _custom(), "spec: ONNX custom domains", ".onnx", "an operator that is not there"),
    *(_format(f"saved-model-{each}", partial(_saved_model, each), "TensorFlow SECURITY.md; modelscan", ".pb", _TF) for each in ("ReadFile", "WriteFile", "PyFunc")),
    _format("gguf-template", _gguf, "CVE-2024-34359", ".gguf", "llama-cpp-python since 0.2.72"),
    _repository("tokenizer-template", {"tokenizer_config.json": lambda m: json.dumps({"chat_template": _template(m)})}, "CVE-2024-34359"),
    _repository("template-file", {"chat_template.jinja": _template}, "CVE-2024-34359"),
    _repository("auto-map", {"config.json": lambda m: json.dumps({"model_type": "x", "auto_map": {"AutoModel": "modeling_x.Model"}}), "modeling_x.py": code}, "spec: remote-code auto_map"),
    _format("safetensors-overlap", lambda m: _safetensors({"a": _tensor(0, 8), "b": _tensor(4, 12)}, b"\0" * 12), "safetensors format: no holes, no overlap", ".safetensors", _READER),
    _format("safetensors-beyond", lambda m: _safetensors({"a": _tensor(0, 800)}, b"\0" * 8), "safetensors format", ".safetensors", _READER),
    _format("safetensors-header-length", lambda m: _safetensors({"a": _tensor(0, 8)}, b"\0" * 8, 1 << 40), "safetensors format", ".safetensors", _READER),
    _format("safetensors-hole", lambda m: _safetensors({"a": _tensor(0, 4), "b": _tensor(8, 12)}, b"\0" * 12), "safetensors format", ".safetensors", _READER),
    _format("skops-function", lambda m: zipped(("schema.json", json.dumps({"__class__": "system", "__module__": "os", "__loader__": "FunctionNode", "content": {"module_path": "os", "function": "system"}, "protocol": 2, "_skops_version": "0.16"}).encode())), "CVE-2025-54412", ".skops", "skops, which asks for trusted types"),
)  # fmt: skip
