"""PyTorch's own files: safe as they are written, and tensors are never read."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from model_files import Runs, look, rules

from antivenom.scan import Status, scan, scan_view
from antivenom.scan.view import View


def saved(value: Any, zip_: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zip_)
    return file.getvalue()


def net() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))


@pytest.mark.parametrize("zip_", [True, False])
def test_checkpoints_are_safe(zip_: bool) -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    value = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "others": [torch.arange(3).to(kind) for kind in (torch.bfloat16, torch.int8, torch.bool, torch.complex64)],
        "shared": (weight := torch.zeros(6), weight[2:4]),
        "epoch": 3,
    }
    assert look(saved(value, zip_)).status is Status.SAFE


@pytest.mark.parametrize("zip_", [True, False])
def test_what_is_called_beside_the_tensors_is_found(zip_: bool) -> None:
    report = look(saved({"w": torch.ones(3), "x": Runs(os.system, "true")}, zip_))
    assert [finding.name for finding in report.findings] == ["posix.system"]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_safe() -> None:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(net()), file)
    assert look(file.getvalue()).status is Status.SAFE


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_that_writes_a_file_is_unsafe(tmp_path: Path) -> None:
    class Writes(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.ops.aten.save(x, "/nowhere/marker")
            return x

    path = tmp_path / "writes.pt"
    torch.jit.save(torch.jit.script(Writes()), path)
    report = scan(path)
    assert report.status is Status.UNSAFE
    assert rules(report.files[0]) == ["graph-operation"]


@pytest.mark.filterwarnings("ignore")  # torch.export's own
def test_exported_programs_are_safe(tmp_path: Path) -> None:
    path = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(net().eval(), (torch.ones(2, 4),)), path)
    assert scan(path).status is Status.SAFE


def test_tensors_are_skipped_by_offset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.pt"
    torch.save({"w": torch.zeros(3_000_000)}, path)  # 12 MB
    read = 0
    pread = os.pread

    def counting(descriptor: int, count: int, offset: int) -> bytes:
        nonlocal read
        read += count
        return pread(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", counting)
    assert scan(path).status is Status.SAFE
    assert 0 < read < 1_000_000


def test_an_older_file_must_end_with_its_tensors() -> None:
    assert rules(look(saved([torch.ones(3)], zip_=False) + b"\0")) == ["trailing-data"]
    evil = pickle.dumps(Runs(os.system, "true"), 2)
    assert "trailing-data" in rules(look(saved([torch.ones(3)], zip_=False) + evil))


@pytest.mark.filterwarnings("ignore:TypedStorage:UserWarning")
def test_each_of_the_five_streams_is_judged() -> None:
    data = saved({"w": torch.ones(3)}, zip_=False)
    ends = []
    file = io.BytesIO(data)

    class Reads(pickle.Unpickler):
        def persistent_load(self, identity: Any) -> Any:
            return torch.storage.TypedStorage(wrap_storage=torch.UntypedStorage(12), dtype=torch.float32)

    for _ in range(5):
        Reads(file).load()
        ends.append(file.tell())
    evil = pickle.dumps(Runs(os.system, "true"), 2)
    for begin, end in zip([*ends[:4]], [*ends[1:5]], strict=True):
        replaced = data[:begin] + evil + data[end:]
        assert "pickle-global" in rules(look(replaced))


def test_a_storage_that_is_not_there_cannot_be_told() -> None:
    with zipfile.ZipFile(io.BytesIO(saved({"w": torch.ones(3)}))) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if not name.endswith("data/0")}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    assert scan_view(View(file.getvalue()), "file").status is Status.UNKNOWN
