"""convert: an exact round trip, or a refusal that names the key and leaves nothing behind."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from antivenom import convert
from antivenom.core.errors import FileError, UnsafeFile


def written(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


def test_every_tensor_comes_back_exactly(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, generator=generator)
    state = {
        "weight": weight,
        "tied": weight,
        "row": weight[1],
        "turned": weight.t(),
        "expanded": torch.ones(1, 3).expand(5, 3),
        "half": torch.tensor([1.5, float("nan"), float("inf")], dtype=torch.bfloat16),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 2),
        "flags": torch.tensor([True, False]),
        "complex": torch.tensor([1 + 2j]).conj(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "inner": {"a": {"b": torch.arange(3, dtype=torch.int8)}},
    }
    assert convert(written(tmp_path / "in.pt", state), tmp_path / "out.safetensors") == len(state)
    found = safetensors.torch.load_file(tmp_path / "out.safetensors")
    state["inner.a.b"] = state.pop("inner")["a"]["b"]
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        torch.testing.assert_close(found[name], tensor.detach(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("state", "named"),
    [
        (
            {"model": {"w": torch.ones(1)}, "epoch": 3},
            "'epoch' of the type int: select a part of the file: `only` model",
        ),
        ({"list": [torch.ones(1)]}, "'list' of the type list"),
        ({"state": {0: torch.ones(1)}}, "'state.0', an int"),
        ({"a.b": torch.ones(1), "a": {"b": torch.ones(1)}}, "'a.b' twice"),
        ({"__metadata__": torch.ones(1)}, "__metadata__"),
        ({"sparse": torch.eye(2).to_sparse()}, "'sparse', torch.sparse_coo"),
        ({"double": torch.zeros(1, dtype=torch.complex128)}, "complex128"),
        ({}, "at least one tensor"),
        (torch.ones(1), "a dict of tensors, got Tensor"),
    ],
)
def test_what_is_no_tensor_is_named_and_nothing_is_written(tmp_path: Path, state: Any, named: str) -> None:
    written(tmp_path / "in.pt", state)
    with pytest.raises(FileError, match=named):
        convert(tmp_path / "in.pt", tmp_path / "out")
    assert os.listdir(tmp_path) == ["in.pt"]


def test_a_part_is_converted_alone(tmp_path: Path) -> None:
    source = written(tmp_path / "in.pt", {"best": {"model": {"w": torch.ones(2)}}, "epoch": 3})
    assert convert(source, tmp_path / "out", only="best.model") == 1
    assert list(safetensors.torch.load_file(tmp_path / "out")) == ["w"]
    with pytest.raises(FileError, match=r"the key 'none' of 'best\.none', got model"):
        convert(source, tmp_path / "other", only="best.none")


class Own:
    """A class of a training script, which nobody has reviewed."""


def test_a_part_is_converted_beside_objects_that_are_not_constructed(tmp_path: Path) -> None:
    state = {"model": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=0.1), "own": Own(), "class": Own}
    source = written(tmp_path / "in.pt", state)
    with pytest.raises(UnsafeFile):
        convert(source, tmp_path / "out")
    assert convert(source, tmp_path / "out", only="model") == 1
    with pytest.raises(FileError, match=r"a dict of tensors, got Omitted"):
        convert(source, tmp_path / "other", only="own")


def test_a_dangerous_name_beside_the_part_is_refused(tmp_path: Path, payload, marker: Path) -> None:
    source = written(tmp_path / "in.pt", {"model": {"w": torch.ones(2)}, "args": payload(os.mkdir, str(marker))})
    with pytest.raises(UnsafeFile):
        convert(source, tmp_path / "out", only="model")
    assert not marker.exists()


@pytest.mark.parametrize(
    "state",
    [{"w": torch.ones(1).expand(1 << 40)}, dict.fromkeys(map(str, range(64)), torch.ones(1 << 16))],
    ids=["strides of zero", "shared memory"],
)
def test_a_small_file_does_not_become_a_large_one(tmp_path: Path, state: Any) -> None:
    source = written(tmp_path / "in.pt", state)
    with pytest.raises(FileError, match="at most 4 times the size of the file") as caught:
        convert(source, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["in.pt"]
    if len(state) > 1:
        assert convert(source, tmp_path / "out", growth=64) == 64


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path, monkeypatch) -> None:
    source, out = written(tmp_path / "in.pt", {"w": torch.ones(2)}), tmp_path / "out"
    out.write_text("mine")
    with pytest.raises(FileError, match="exists"):
        convert(source, out)
    assert out.read_text() == "mine"
    monkeypatch.setattr(Path, "exists", lambda path: False)  # it appears while the tensors are read
    with pytest.raises(FileError, match="pass force to overwrite"):
        convert(source, out)
    assert out.read_text() == "mine"
    assert convert(source, out, force=True) == 1
    assert torch.equal(safetensors.torch.load_file(out)["w"], torch.ones(2))
    assert sorted(os.listdir(tmp_path)) == ["in.pt", "out"]


def test_the_file_has_the_users_own_mode(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    convert(written(tmp_path / "in.pt", {"w": torch.ones(2)}), tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_sample_is_not_converted(sample: tuple[Path, Any], marker: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsafeFile):
        convert(sample[0], tmp_path / "out")
    assert not marker.exists()
    assert not (tmp_path / "out").exists()
