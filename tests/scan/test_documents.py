"""JSON, YAML and text: configurations that make a loader import, fetch or run something."""

from __future__ import annotations

import contextlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from model_files import look, rules

from antivenom.scan import Status
from antivenom.scan.findings import FileReport


def says(value: Any) -> FileReport:
    return look(json.dumps(value).encode())


def layer(kind: str, config: Any = None, module: str | None = "keras.layers", **more: Any) -> FileReport:
    """The report of a model with one layer of that description."""
    inner = {"module": module, "class_name": kind, "config": config or {}, "registered_name": None, **more}
    return says({"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": [inner]}})


DENSE = {
    "units": 3,
    "activation": "relu",
    "kernel_initializer": {"module": "keras.initializers", "class_name": "GlorotUniform", "config": {"seed": None}},
}
CODE = {"class_name": "__lambda__", "config": {"code": "4wEAAA==", "defaults": None, "closure": None}}


def function(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def test_layers_of_keras_are_safe() -> None:
    assert layer("Dense", DENSE).findings == ()
    assert layer("Dense", {"activation": function("builtins", "relu")}).findings == ()
    assert layer("Exp", module="keras.src.ops.numpy").findings == ()
    assert layer("TextVectorization", {"vocabulary": ["a", "b"]}).findings == ()
    assert (
        says({"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense", "config": DENSE}]}}).findings
        == ()
    )


def test_code_and_imports_in_a_keras_configuration_are_unsafe() -> None:
    assert "embedded-code" in rules(layer("Lambda", {"function": CODE}))
    assert "embedded-code" in rules(layer("Lambda", {"function": ["4wEAAA==", None, None], "function_type": "lambda"}))
    assert rules(layer("Lambda", {"function": "f", "function_type": "function", "mask": CODE}))[0] == "embedded-code"
    assert rules(layer("function", "system", module="os")) == ["imported-name"]  # CVE-2025-1550
    assert "imported-name" in rules(layer("Lambda", {"function": function("keras.utils", "get_file")}))  # CVE-2025-8747
    assert rules(layer("function", "func_load", module="keras.src.utils.python_utils")) == ["imported-name"]
    assert rules(layer("TorchModuleWrapper", module="keras.src.utils.torch_utils"))[0] == "embedded-code"
    assert rules(layer("TFSMLayer", {"filepath": "/x"})) == ["graph-operation"]
    assert rules(layer("StringLookup", {"vocabulary": "/etc/passwd"})) == ["graph-operation"]  # CVE-2025-12058
    assert rules(layer("TFOpLambda", {"function": "io.write_file"}, module=None)) == ["graph-operation"]


def test_objects_from_outside_keras_need_a_review() -> None:
    assert rules(layer("Mine", module="my.layers", registered_name="my>Mine")) == ["untrusted-type"]
    assert rules(layer("Mine", module=None, registered_name="my>Mine")) == ["untrusted-type"]
    assert layer("TFOpLambda", {"function": "math.add"}, module=None).findings == ()


def test_a_keras_archive_is_an_archive_of_such_files() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps({"class_name": "Lambda", "config": {"function": CODE}}))
    report = look(file.getvalue())
    assert report.status is Status.UNSAFE
    assert report.findings[0].where == "file!config.json" or report.findings[0].inner == "config.json"


def test_hugging_face_files() -> None:
    assert rules(says({"auto_map": {"AutoModel": "modeling.Model"}})) == ["remote-code"]
    assert rules(says({"custom_pipelines": {"p": {"impl": "pipe.P"}}})) == ["remote-code"]
    assert rules(says([{"idx": 0, "name": "0", "path": "", "type": "custom.Module"}])) == ["remote-code"]
    assert says([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Pooling"}]).findings == ()
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0", "unet": ["diffusers", "UNet"]}
    assert says(index).findings == ()
    assert rules(says(index | {"_class_name": ["my_pipeline", "P"]})) == ["remote-code"]
    assert rules(says(index | {"vae": ["my_vae", "VAE"]})) == ["untrusted-type"]
    assert says({"model_type": "llama", "auto_map": {}, "hidden_size": 4096}).findings == ()


def test_targets_of_hydra() -> None:
    assert rules(says({"model": {"_target_": "os.system", "_args_": ["true"]}})) == ["imported-name"]
    assert rules(says({"model": {"_target_": "somewhere.Model"}})) == ["untrusted-type"]


def node(loader: str, module: str, name: str, content: Any = None) -> FileReport:
    return says({"__class__": name, "__module__": module, "__loader__": loader, "content": content, "protocol": 3})


def test_nodes_of_skops() -> None:
    assert node("JsonNode", "builtins", "str", '"x"').findings == ()
    assert node("ListNode", "builtins", "list", []).findings == ()
    assert rules(node("FunctionNode", "os", "system")) == ["imported-name"]
    assert rules(node("OperatorFuncNode", "operator", "methodcaller", None)) == ["imported-name"]
    assert rules(node("ObjectNode", "somewhere", "Model")) == ["untrusted-type"]
    assert rules(node("NewNode", "builtins", "list")) == ["untrusted-type"]
    assert "untrusted-type" in rules(node("MethodNode", "builtins", "list", {"func": "append"}))
    state = {"content": {"bit_generator": {"content": json.dumps("set_state")}}}
    assert "numpy.random.set_state" in [
        f.name for f in node("RandomGeneratorNode", "numpy.random", "x", {"bit_generator": state}).findings
    ]


def test_json_that_readers_read_differently() -> None:
    assert rules(look(b'{"auto_map": {"AutoModel": "m.X"}, "auto_map": null}')) == ["malformed", "remote-code"]
    assert rules(look(b'{"a": 1')) == ["malformed"]
    assert rules(look(b"[" * 100_000 + b"]" * 100_000)) == ["limit"]
    assert look(b'{"a": 1}\n{"a": 2}\n').findings == ()
    assert rules(look(b'{"a": 1}\n{"auto_map": {"x": "y"}}\n')) == ["remote-code"]
    assert rules(look(b'\xef\xbb\xbf{"auto_map": {"x": "y"}}')) == ["remote-code"]
    assert look(b"[1] Smith et al., a reference").status is Status.SAFE


@pytest.mark.parametrize(
    "text",
    [
        'a: !!python/object/apply:os.system ["true"]',
        "a: !<tag:yaml.org,2002:python/object/apply:os.system> [x]",
        "a: !!pyth%6fn/object/apply:os.system [x]",
        "%TAG !x! tag:yaml.org,2002:python/\n---\na: !x!object/apply:os.system [x]",
        "%TAG !x! tag:yaml.org,2002:pyth\n---\na: !x!on/object/apply:os.system [x]",
        "%TAG !x! tag:yaml.org,2002:\n---\na: !x!python/object/apply:os.system [x]",
        '{"a": !!python/name:os.system }',
        "# " + "x" * (1 << 20) + "\na: !!python/name:os.system",
    ],
)
def test_yaml_that_calls_python(text: str) -> None:
    assert "embedded-code" in rules(look(text.encode()))


def test_yaml_and_prose_that_do_not() -> None:
    assert look(b"a: !!float 3\nb: !include x.yaml\nc: wow!! python rocks!\n").findings == ()
    assert look(b"tree\nversion=v4\nnum_class=1\n").status is Status.SAFE


def test_targets_of_hydra_in_yaml() -> None:
    assert rules(look(b"model:\n  _target_: os.system\n  _args_: [x]\n")) == ["imported-name"]
    assert rules(look(b'model: {"\\x5ftarget_": subprocess.Popen}\n')) == ["imported-name"]
    assert rules(look(b"model:\n  _target_: nemo.collections.asr.Model\n")) == ["untrusted-type"]


@pytest.mark.parametrize(
    "spelt", ['"WriteFile"', "'WriteFile'", '"Write" # c\n "File"', '"Write\\106ile"', '"Write\\x46ile"']
)
def test_graphs_written_as_text(spelt: str) -> None:
    graph = 'saved_model_schema_version: 1\nmeta_graphs {\n graph_def {\n node {\n name: "w"\n op: %s\n }\n }\n}\n'
    assert rules(look((graph % spelt).encode())) == ["graph-operation"]
    assert look((graph % '"MatMul"').encode()).findings == ()


def test_blanks_do_not_hide_a_document() -> None:
    assert rules(look(b" " * 100_000 + b'{ "auto_map": {"x": "y"}}')) == ["remote-code"]
    assert rules(look(b"[" + b"\n" * 100_000 + b'{"auto_map": {"x": "y"}}]')) == ["remote-code"]
    assert rules(look(b'[NaN, {"auto_map": {"x": "y"}}]')) == ["remote-code"]
    assert look(" ".join(["blank"] * 3).encode("utf-16")).status is Status.SAFE
    assert rules(look('{"auto_map": {"x": "y"}}'.encode("utf-16"))) == ["remote-code"]
    assert rules(look(b'{"a": "' + b"x" * (1 << 16) + b'\xff"}')) == ["malformed"]


def test_expressions_of_exported_programs() -> None:
    """`torch.export.load` gives them to SymPy, which evaluates Python."""
    assert says({"expr_str": "Symbol('s77', positive=True, integer=True)"}).findings == ()
    assert says({"expr_str": "Add(Mul(Integer(2), Symbol('s0', integer=True)), Integer(-1))"}).findings == ()
    assert says({"expr_str": "2*s0 + 1"}).findings == ()
    for evil in (
        "__import__('os').system('true')",
        "Symbol('x').__class__",
        "exec('1')",
        "Add('exec(1)')",
        "[x for x in y]",
    ):
        assert rules(says({"expr_str": evil})) == ["embedded-code"]


def test_targets_of_exported_programs() -> None:
    def node_of(target: str) -> list[str]:
        return rules(says({"nodes": [{"target": target, "inputs": []}]}))

    for target in ("torch.ops.aten.linear.default", "torch.sym_max", "_operator.getitem", "math.floor"):
        assert node_of(target) == []
    for target in ("torch.save", "torch.hub.load", "torch.ops.aten.from_file.default", "_operator.methodcaller"):
        assert node_of(target) == ["graph-operation"]
    assert node_of("torch.ops.mine.run.default") == ["custom-operation"]
    nested = [1, {"type": "defaultdict", "context": {"default_factory_module": "os", "default_factory_name": "system"}}]
    assert rules(says({"signature": {"in_spec": json.dumps(nested)}})) == ["imported-name"]


def test_an_exported_program_fires_when_it_is_loaded(tmp_path: Path) -> None:
    import torch

    class Plus(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x.shape[0]

    free = {0: torch.export.Dim("n", min=2, max=9)}
    torch.export.save(torch.export.export(Plus(), (torch.ones(2, 4),), dynamic_shapes=(free,)), tmp_path / "plain.pt2")
    marker = tmp_path / "marker"
    with zipfile.ZipFile(tmp_path / "plain.pt2") as plain, zipfile.ZipFile(tmp_path / "evil.pt2", "w") as evil:
        for name in plain.namelist():
            data = plain.read(name)
            if name.endswith("models/model.json"):
                assert look(data).findings == ()
                harmless = re.search(r"Symbol\('s\d+'[^\"]*\)", data.decode())
                assert harmless
                data = data.replace(
                    harmless.group().encode(), f"__import__('pathlib').Path('{marker}').touch()".encode()
                )
                assert set(rules(look(data))) == {"embedded-code"}
            evil.writestr(name, data)
    with contextlib.suppress(Exception):  # what the expression returns is no number of SymPy
        torch.export.load(tmp_path / "evil.pt2")
    assert marker.exists()


def test_loaders_of_mlflow() -> None:
    described = "flavors:\n  python_function:\n    env: conda.yaml\n    loader_module: %s\n    python_version: 3.11\n"
    assert look((described % "mlflow.sklearn").encode()).findings == ()
    assert rules(look((described % "my_loader").encode())) == ["remote-code"]
