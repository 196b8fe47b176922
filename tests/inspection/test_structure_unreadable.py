"""Formats whose structure cannot be judged say so."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from antivenom.core.errors import FileError
from antivenom.inspection.structure import cannot_tell


def archive(**members: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, text in members.items():
            file.writestr(name, text)
    return data.getvalue()


KERAS = {
    "class_name": "Sequential",
    "module": "keras",
    "config": {"layers": [{"class_name": "Dense", "module": "keras.layers", "config": {}}]},
}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (archive(**{"model/code/__torch__.py": "x", "model/constants.pkl": ""}), "TorchScript is a program"),
        (archive(**{"config.json": json.dumps(KERAS), "model.weights.h5": ""}), "a Keras model (here Dense) are names"),
        (archive(**{"config.json": "[", "model.weights.h5": ""}), "a Keras model are names"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "the layers of a Keras model"),
    ],
    ids=["torchscript", "keras", "keras without layers", "hdf5"],
)
def test_the_reason_is_given(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "model").write_bytes(data)
    trace = cannot_tell(tmp_path / "model")
    assert trace is not None
    assert trace.what.startswith("cannot tell: ")
    assert reason in trace.what
    assert not trace.suspicious


def test_tensors_and_graphs_are_left_to_the_other_checks(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "model.pt")
    assert cannot_tell(tmp_path / "model.pt") is None


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected a file that can be read, got FileNotFoundError"):
        cannot_tell(tmp_path / "nowhere")
