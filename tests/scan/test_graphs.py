"""Graphs of operations: ONNX, TensorFlow, TensorFlow Lite and the sources of TorchScript."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from model_files import look, proto, rules

from antivenom.scan import Limits, Status, scan
from antivenom.scan.allow import allow_list
from antivenom.scan.findings import FileReport, Finding
from antivenom.scan.formats import tensorflow, torchscript
from antivenom.scan.limits import Meter
from antivenom.scan.part import Part
from antivenom.scan.view import View


def onnx_node(operation: str, domain: str = "", *attributes: bytes) -> bytes:
    return proto((1, "x"), (2, "y"), (4, operation), (7, domain), *((5, each) for each in attributes))


def onnx_model(*graph: tuple[int, bytes], more: tuple[tuple[int, int | str | bytes], ...] = ()) -> bytes:
    return proto((1, 8), (2, "writer"), (7, proto(*graph)), (8, proto((1, ""), (2, 17))), *more)


def external(place: str) -> bytes:
    entry = proto((1, "location"), (2, place))
    return onnx_model((1, onnx_node("Relu")), (5, proto((1, 2), (2, 1), (8, "w"), (13, entry), (14, 1))))


def test_standard_operations_of_onnx_are_safe() -> None:
    weights = proto((1, 2), (2, 1), (8, "w"), (9, bytes(8)))
    report = look(onnx_model((1, onnx_node("MatMul")), (1, onnx_node("Gelu", "com.microsoft")), (5, weights)))
    assert (report.format, report.findings) == ("onnx", ())
    own = proto((1, "Twice"), (7, onnx_node("Add")), (10, "mine"))
    assert look(onnx_model((1, onnx_node("Twice", "mine")), more=((25, own),))).findings == ()


def test_operations_from_elsewhere_are_named_wherever_they_stand() -> None:
    report = look(onnx_model((1, onnx_node("Evil", "mine"))))
    assert (rules(report), report.findings[0].name) == (["custom-operation"], "mine.Evil")
    branch = proto((1, "then"), (6, proto((1, onnx_node("Evil", "mine")))))
    assert rules(look(onnx_model((1, onnx_node("If", "", branch))))) == ["custom-operation"]
    own = proto((1, "Twice"), (7, onnx_node("Evil", "other")), (10, "mine"))
    assert rules(look(onnx_model((1, onnx_node("Twice", "mine")), more=((25, own),)))) == ["custom-operation"]
    assert rules(look(onnx_model((1, onnx_node("EPContext", "com.microsoft"))))) == ["custom-operation"]


@pytest.mark.parametrize("place", ["/etc/passwd", "../../x", "C:\\x", "a\\..\\..\\b", "", "x\0y"])
def test_external_data_outside_the_folder_is_unsafe(place: str) -> None:
    assert rules(look(external(place))) == ["path-traversal"]


def test_external_data_beside_the_model(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(external("w.bin"))
    assert [f.rule for f in scan(model).findings] == ["external-data"]
    (tmp_path / "w.bin").write_bytes(struct.pack("<2f", 1.0, -2.0))
    assert scan(tmp_path).status is Status.SAFE  # numbers that a model beside them names as its own
    (tmp_path / "w.bin").unlink()
    os.symlink("/etc/hostname", tmp_path / "w.bin")
    assert [f.rule for f in scan(model).findings] == ["path-traversal"]


def test_numbers_that_no_model_names_stay_unknown(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(external("w.bin"))
    (tmp_path / "other.bin").write_bytes(struct.pack("<2f", 1.0, -2.0))
    assert scan(tmp_path / "other.bin").status is Status.UNKNOWN


def test_a_model_that_two_parsers_read_differently_is_not_safe() -> None:
    assert rules(look(onnx_model((1, onnx_node("Relu")), more=((99, "x"),)))) == ["malformed"]
    assert rules(look(onnx_model((1, onnx_node("Relu")), (1, 5)))) == ["malformed"]  # type: ignore[arg-type]
    deep = onnx_node("Relu")
    for _ in range(120):
        deep = onnx_node("If", "", proto((1, "then"), (6, proto((1, deep)))))
    assert rules(look(onnx_model((1, deep)))) == ["limit"]
    many = onnx_model(*[(1, onnx_node("Relu"))] * 2000)
    assert rules(look(many, limits=Limits(opcodes=1000))) == ["limit"]


def tf_node(name: str, operation: str, *inputs: str, **attributes: bytes) -> bytes:
    entries = [(5, proto((1, key), (2, value))) for key, value in attributes.items()]
    return proto((1, name), (2, operation), *((3, each) for each in inputs), *entries)


def string_of(value: str) -> bytes:
    """The attribute of a constant that holds one text."""
    return proto((8, proto((1, 7), (8, value))))


def saved(*nodes: bytes, functions: tuple[bytes, ...] = ()) -> bytes:
    library = proto(*((1, each) for each in functions))
    return proto((1, 1), (2, proto((2, proto(*((1, node) for node in nodes), (2, library))))))


def tf_function(name: str, *nodes: bytes) -> bytes:
    return proto((1, proto((1, name))), *((3, node) for node in nodes))


def test_graphs_that_compute_are_safe() -> None:
    nodes = (tf_node("x", "Placeholder"), tf_node("y", "MatMul", "x", "x"), tf_node("c", "PartitionedCall", "y"))
    assert (look(saved(*nodes)).format, look(saved(*nodes)).findings) == ("savedmodel", ())
    assert look(proto(*((1, node) for node in nodes), (4, proto((1, 12))))).format == "tensorflow graph"


@pytest.mark.parametrize(
    "operation", ["ReadFile", "WriteFile", "PyFunc", "EagerPyFunc", "ImmutableConst", "DebugIdentityV3"]
)
def test_operations_that_reach_out_are_unsafe_wherever_they_stand(operation: str) -> None:
    bad = tf_node("b", operation, "x")
    for data in (saved(bad), saved(tf_node("x", "NoOp"), functions=(tf_function("f", bad),)), proto((1, bad))):
        report = look(data)
        assert (rules(report), report.findings[0].name) == (["graph-operation"], operation)
    assert rules(look(saved(tf_node("b", "SentencepieceOp")))) == ["custom-operation"]
    printed = proto((2, "file:///tmp/x"))
    assert rules(look(saved(tf_node("p", "PrintV2", "x", output_stream=printed)))) == ["graph-operation"]
    assert look(saved(tf_node("p", "PrintV2", "x", output_stream=proto((2, "stderr"))))).findings == ()


def test_checkpoints_go_where_the_caller_says() -> None:
    ordinary = (
        tf_node("prefix", "Placeholder"),
        tf_node("part", "Const", value=string_of("_temp/part")),
        tf_node("joined", "StringJoin", "prefix", "part"),
        tf_node("save", "SaveV2", "joined"),
        tf_node("restore", "RestoreV2", "prefix"),
        tf_node("merge", "MergeV2Checkpoints", "joined"),
    )
    assert look(saved(*ordinary)).findings == ()
    fixed = tf_node("path", "Const", value=string_of("/home/user/.ssh/x"))
    assert rules(look(saved(fixed, tf_node("save", "SaveV2", "path:0")))) == ["graph-operation"]
    writer = tf_function("writer", tf_node("save", "SaveV2", "prefix"))
    call = tf_node("call", "StatefulPartitionedCall", "path", f=proto((10, proto((1, "writer")))))
    assert rules(look(saved(fixed, call, functions=(writer,)))) == ["graph-operation"]
    assert look(saved(fixed, tf_node("y", "StringUpper", "path"))).findings == ()


def test_keras_layers_inside_a_saved_model() -> None:
    layer = '{"class_name": "Lambda", "config": {"function": ["4wEAAA==", null, null]}}'
    objects = proto((1, proto((4, proto((1, "_tf_keras_layer"), (3, layer))))))
    data = proto((1, 1), (2, proto((2, proto((1, tf_node("x", "NoOp")))), (7, objects))))
    assert rules(look(data)) == ["embedded-code"]
    metadata = proto((1, proto((2, 1), (3, "root.layer"), (4, "_tf_keras_layer"), (5, layer))))
    assert rules(look(metadata)) == ["embedded-code"]


def test_the_lists_of_operations_do_not_overlap() -> None:
    computing, reaching = tensorflow.operations()
    assert not computing & reaching
    assert (len(computing), len(reaching)) == (1071, 83)
    assert {"MatMul", "Conv2D", "StatefulPartitionedCall"} <= computing


def lite(name: str | None, code: int) -> bytes:
    """A TensorFlow Lite file with one operation code, written out as a flatbuffer."""
    text = b"" if name is None else struct.pack("<I", len(name)) + name.encode()
    operation_layout = struct.pack("<HHHHHH", 12, 12, 0, 4, 0, 8)  # custom_code at 4, builtin_code at 8
    operation = struct.pack("<i", 12) + struct.pack("<Ii", 8 if name else 0, code) + text
    root_layout = struct.pack("<HHHH", 8, 8, 0, 4)
    # 0 root offset, 4 signature, 8 layout, 16 root table, 24 vector, 32 layout, 44 operation
    root = struct.pack("<i", 8) + struct.pack("<I", 4)
    vector = struct.pack("<II", 1, 16)
    head = struct.pack("<I", 16) + b"TFL3" + root_layout + root + vector
    return head + operation_layout + operation


def test_tensorflow_lite() -> None:
    assert (look(lite(None, 3)).format, look(lite(None, 3)).findings) == ("tflite", ())
    assert look(lite("TFLite_Detection_PostProcess", 32)).findings == ()
    assert look(lite("FlexMatMul", 32)).findings == ()
    assert rules(look(lite("FlexWriteFile", 32))) == ["graph-operation"]
    assert rules(look(lite("Mine", 32))) == ["custom-operation"]
    assert rules(look(lite("Mine", 32)[:40])) == ["malformed"]


def source(body: str) -> list[Finding]:
    text = (
        f"class M(Module):\n  __parameters__ = []\n  def forward(self: __torch__.M,\n    x: Tensor) -> Tensor:\n{body}"
    )
    part = Part(View(text.encode()), "file", Meter(Limits()), allow_list(), lambda part: iter(()))
    return list(torchscript.check(part))


def test_sources_of_torchscript_that_compute_are_safe() -> None:
    assert source("    _0 = torch.add(x, 1)\n    return ops.quantized.linear(_0, 1.)\n") == []
    assert source("    ops = self.ops\n    _0 = getattr(ops, '0')\n    return (_0).forward(x, )\n") == []
    assert source("    raise AssertionError('call torch.save(x) or ops.mine.f later')\n") == []


@pytest.mark.parametrize(
    "body",
    [
        "torch.save(x, '/tmp/x')",
        "ops.aten.save(x, '/tmp/x')",
        "t = torch\n    t.save(x, '/tmp/x')",
        "f = torch . save\n    f(x, '/tmp/x')",
        "getattr(torch, 'save')(x, '/tmp/x')",
        "getattr(torch, 'sa' 've')(x, '/tmp/x')",
        "getattr(torch, '\\x73ave')(x, '/tmp/x')",
        "torch.from_file('/tmp/x', True, 4)",
        "ops.image.write_file('/tmp/x', x)",
    ],
)
def test_sources_of_torchscript_that_touch_files(body: str) -> None:
    assert [finding.rule for finding in source(f"    {body}\n    return x\n")] == ["graph-operation"]


def test_sources_of_torchscript_that_need_a_library() -> None:
    assert [f.name for f in source("    return ops.mine.run(x)\n")] == ["mine.run"]
    assert [f.rule for f in source("    o = ops\n    return o.mine.run(x)\n")] == ["custom-operation"]
    assert [f.rule for f in source("    k : __torch__.torch.classes.mine.K\n")] == ["custom-operation"]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_fires_where_the_check_says(tmp_path: Path) -> None:
    """The operators do touch files when such a source is loaded by PyTorch and called."""
    import zipfile

    import torch

    class Plus(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    torch.jit.script(Plus()).save(tmp_path / "plain.pt")
    marker = tmp_path / "marker"
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "evil.pt", "w") as evil:
        for name in plain.namelist():
            data = plain.read(name)
            if name.endswith(".py"):
                data = data.replace(b"    return", f'    t = torch\n    t.save(x, "{marker}")\n    return'.encode())
                assert [f.name for f in source(data.decode())] == ["save"]
            evil.writestr(name, data)
    torch.jit.load(tmp_path / "evil.pt")(torch.zeros(1))
    assert marker.exists()


def test_onnx_of_its_own_library() -> None:
    library = pytest.importorskip("onnx")
    make = library.helper
    nodes = [make.make_node("Relu", ["x"], ["y"])]
    shape = make.make_tensor_value_info("x", 1, [2]), make.make_tensor_value_info("y", 1, [2])
    model: Any = make.make_model(make.make_graph(nodes, "g", [shape[0]], [shape[1]]))
    report: FileReport = look(model.SerializeToString())
    assert (report.format, report.findings) == ("onnx", ())
