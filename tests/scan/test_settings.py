"""Settings that make a loader import, fetch or run something, in every notation that loaders read."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any

import pytest

from antivenom.scan import Status, scan_view
from antivenom.scan.view import View

SAFE, UNKNOWN, UNSAFE = Status.SAFE, Status.UNKNOWN, Status.UNSAFE


def status(name: str, data: str | bytes) -> Status:
    return scan_view(View(data.encode() if isinstance(data, str) else data), name).status


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"_attn_implementation_internal": "someone/kernels"}, UNSAFE),
        ({"text_config": {"attn_implementation": {"vision": "a/b:f"}}}, UNSAFE),
        ({"attn_implementation": "flash_attention_2"}, SAFE),
        ({"a": [{"b": {"trust_remote_code": True}}]}, UNSAFE),
        ({"trust_remote_code": False}, SAFE),
        ({"hidden_act": "a/activations"}, UNSAFE),
        ({"activation_fn": "os.system"}, UNSAFE),
        ({"hidden_act": "gelu_new"}, SAFE),
        ({"class_path": "subprocess.Popen", "init_args": {}}, UNSAFE),
        ({"class_path": "somewhere.Model"}, UNKNOWN),
        ({"target": "builtins.exec", "params": {}}, UNSAFE),
        ({"type": "mypackage.nodes.Reader", "init_parameters": {}}, UNKNOWN),
        ({"type": "BPE", "params": {}}, SAFE),
        ({"py/object": "os.system"}, UNSAFE),
        ({"x": {"py/reduce": [{"py/function": "a.b"}, {}]}}, UNSAFE),
        ({"x": {"py/repr": "os/os.system('x')"}}, UNSAFE),
        ({"py/tuple": [1, 2]}, SAFE),
        ({"custom_ops_library": "libown.so"}, UNSAFE),
        ({"anything": "ops/libown.so.1"}, UNSAFE),
        ({"anything": ["os.system"]}, UNSAFE),
        ({"anything": "__import__('os').system('true')"}, UNSAFE),
        ({"lc": 1, "type": "constructor", "id": ["os", "system"]}, UNSAFE),
        ({"custom_generate": "someone/generation"}, UNSAFE),
        ({"weights_only": False}, UNSAFE),
        ({"stages": {"train": {"cmd": "python train.py", "deps": ["x"]}}}, UNSAFE),
        ({"version": "1.0", "model_max_length": 512, "path": "os.path"}, SAFE),
        ({"text": "Call model.eval() (see os.path) before use."}, SAFE),
    ],
    ids=str,
)
def test_json_is_judged_by_what_loaders_do(value: Any, expected: Status) -> None:
    assert status("config.json", json.dumps(value)) is expected
    assert status("config.json", json.dumps(value).encode("utf-16")) is expected
    if expected is UNSAFE:
        assert status("config.json", _escaped(value)) is UNSAFE


def _escaped(value: Any) -> str:
    """JSON with every character of its texts escaped."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_escaped(key)}:{_escaped(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_escaped, value)) + "]"
    return '"' + "".join(f"\\u{ord(c):04x}" for c in value) + '"' if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.yaml", "a: &k _target_\nb:\n  *k : os.system\n", UNSAFE),
        ("a.yaml", "b:\n  _target_: >-\n    os.system\n", UNSAFE),
        ("a.yaml", "b:\n  ? _target_\n  : |\n    os.system\n", UNSAFE),
        ("a.yaml", 'b:\n  "\\x5ftarget_": "os\\x2esys\\\n    tem"\n', UNSAFE),
        ("a.yaml", "m: &m {params: {}}\nb:\n  <<: *m\n  type: os.system\n", UNSAFE),
        ("a.yaml", "f: os.system\nb:\n  _target_: ${f}\n", UNSAFE),
        ("a.yaml", "p: os\nq: system\nb: {_target_: '${p}.${q}'}\n", UNSAFE),
        ("a.yaml", "x: ${eval:'1'}\n", UNSAFE),
        ("a.yaml", "model: !new:os.system\n  command: touch marker\n", UNSAFE),
        ("a.yaml", "model: !name:somewhere.Net\n", UNKNOWN),
        ("a.yaml", "model: !!javax.script.ScriptEngineManager []\n", UNSAFE),
        ("a.yaml", "model: !ruby/object:Gem::Installer {}\n", UNSAFE),
        ("a.yaml", "model: !os.system {}\n", UNSAFE),
        ("a.yaml", "trust_remote_code: yes\n", UNSAFE),
        ("a.yaml", "a: [1\n", UNKNOWN),
        ("a.yaml", "a: 1\na: 2\n", UNKNOWN),
        ("a.yaml", "a: &a [*a, 1]\nb: {c: d}\n", SAFE),
        ("a.yaml", "learning_rate: 0.1\nlayers: [1, 2]\noptimizer: adam\n", SAFE),
        (
            "MLmodel",
            "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    model_code_path: a.py\n",
            UNSAFE,
        ),
        ("MLproject", "entry_points:\n  main:\n    command: python x.py\n", UNSAFE),
        ("README.md", "---\nlicense: mit\ntags: [x]\n---\n# A model: how to use it\n", SAFE),
        ("a.toml", '[model]\n"_target_" = "os.system"\n', UNSAFE),
        ("a.toml", "[model]\nsize = 3\n", SAFE),
        ("a.toml", "[model\n", UNKNOWN),
        ("a.cfg", "[handler_x]\nclass = logging.FileHandler\nargs = (__import__('os').system('x'),)\n", UNSAFE),
        ("a.cfg", '[model]\n_target_ = "os.system"\n', UNSAFE),
        ("a.cfg", "[net]\nbatch=64\n[conv]\nfilters=3\n[conv]\nfilters=6\n", SAFE),
        (
            "a.pbtxt",
            'model_operations { op_library_filename: "libx.so" }\nparameters: { op_library_filename: libx.so }\n',
            UNSAFE,
        ),
    ],
)
def test_text_is_parsed_as_its_loader_parses_it(name: str, text: str, expected: Status) -> None:
    assert status(name, text) is expected
    if name.endswith(".yaml"):
        assert status(name, text.encode("utf-16-le" if text[0] != "\ufeff" else "utf-16")) is expected


EXTERNAL = '<?xml version="1.0"?><!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/hostname">]><PMML h="1">&x;</PMML>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (EXTERNAL, UNSAFE),
        (EXTERNAL.replace('"?>', '" encoding="UTF-8"?>', 1), UNSAFE),
        ('<!DOCTYPE p [<!ENTITY % x SYSTEM "http://h/x.dtd"> %x;]><p/>', UNSAFE),
        ('<!DOCTYPE p SYSTEM "http://h/x.dtd"><p/>', UNSAFE),
        ('<!DOCTYPE p [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;">]><p>&c;</p>', UNSAFE),
        ('<p xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="/etc/hostname"/></p>', UNSAFE),
        ('<net><layer library="libown.so"/></net>', UNSAFE),
        ('<?xml version="1.0"?><PMML version="4.4"><Header copyright="x"/></PMML>', SAFE),
        ('<?xml version="1.0"?><PMML>', UNKNOWN),
    ],
)
def test_documents_that_reach_outside_themselves(text: str, expected: Status) -> None:
    assert status("m.pmml", text) is expected
    wide = text.replace('encoding="UTF-8"', 'encoding="UTF-16"').encode("utf-16")
    assert status("m.xml", wide) is expected


def test_aliases_of_aliases_cost_no_more_than_their_length() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 60))
    assert status("a.yaml", bomb) is SAFE


def test_long_continuations_in_ini_are_read_whole_in_linear_time() -> None:
    lines = "[a]\nk = 1\n" + " x\n" * 1_000_000
    assert status("a.cfg", lines) is SAFE


def test_repeated_keys_in_a_large_ini_section_reach_a_limit() -> None:
    keys = "".join(f"k{i}=1\n" for i in range(20_000))
    assert status("a.cfg", "[a]\n" + keys + keys) is UNKNOWN


def test_every_occurrence_of_a_repeated_ini_key_is_checked() -> None:
    assert status("a.cfg", "[a]\ntarget = builtins.exec\ntarget = x\n") is UNSAFE


@pytest.mark.parametrize(
    "text",
    [".".join("a" * 10_000) + " = 1\n", "".join(f"[{'.'.join('a' * 200)}.t{i}]\n" for i in range(1_000))],
    ids=["one-key", "tables"],
)
def test_dotted_keys_of_toml_that_would_take_long_reach_a_limit(text: str) -> None:
    assert status("a.toml", text) is UNKNOWN
    assert status("a.toml", "".join(f'k{i} = "1.2.3"\n' for i in range(20_000))) is SAFE


def test_a_pickle_in_json_is_looked_into() -> None:
    """Stable-Baselines3 loads what its archives hold under this key."""
    for data, expected in ((b"cos\nsystem\n(S'x'\ntR.", UNSAFE), (pickle.dumps([1]), SAFE)):
        document = {"policy": {":type:": "x", ":serialized:": base64.b64encode(data).decode()}}
        assert status("data.json", json.dumps(document)) is expected
