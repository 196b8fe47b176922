"""convert, screen, sign, verify and detonate on the command line: what they print, and the exit code that means it."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from antivenom.cli import run


@pytest.mark.parametrize("sample", ["torch"], indirect=True)
def test_convert(tmp_path: Path, sample: tuple[Path, Any], marker: Path, capsys) -> None:
    source, out = tmp_path / "a.pt", tmp_path / "a.safetensors"
    torch.save({"model": {"w": torch.ones(2)}, "epoch": 1}, source)
    assert run(["convert", str(source), str(out)]) == 2
    assert "'epoch' of the type int" in capsys.readouterr().err
    assert run(["convert", str(source), str(out), "--only", "model"]) == 0
    assert "1 tensors" in capsys.readouterr().out
    assert run(["convert", str(source), str(out), "--only", "model"]) == 2
    assert run(["convert", str(source), str(out), "--only", "model", "--force"]) == 0
    assert run(["convert", str(sample[0]), str(tmp_path / "b")]) == 1
    assert "pickle-global" in capsys.readouterr().err
    assert run(["convert", str(source)]) == 4
    assert not marker.exists()


@pytest.mark.parametrize("sample", ["torch"], indirect=True)
def test_screen(tmp_path: Path, sample: tuple[Path, Any], marker: Path, capsys) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {"weight": torch.randn(32, 64, generator=generator), "bias": torch.randn(32, generator=generator)}
    torch.save(state, tmp_path / "a.pt")
    changed = state | {"bias": state["bias"].clone().fill_(float("nan"))}
    torch.save(changed, tmp_path / "b.pt")
    assert run(["screen", str(tmp_path / "b.pt"), "--reference", str(tmp_path / "a.pt")]) == 1
    out = capsys.readouterr().out
    assert "non-finite" in out
    assert "bias" in out
    assert run(["screen", str(tmp_path / "none.pt")]) == 2
    assert run(["screen", str(sample[0])]) == 1
    assert not marker.exists()


def test_sign_and_verify(tmp_path: Path, capsys) -> None:
    key, public, folder = tmp_path / "key", tmp_path / "pub", tmp_path / "model"
    private = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    folder.mkdir()
    (folder / "w").write_text("1")
    assert run(["verify", str(folder), "--key", str(public)]) == 2
    assert run(["sign", str(folder), "--key", str(key)]) == 0
    assert run(["verify", str(folder), "--key", str(public)]) == 0
    assert "1 files as signed" in capsys.readouterr().out
    (folder / "w").write_text("2")
    (folder / "\x1b[2J").write_text("")
    assert run(["verify", str(folder), "--key", str(public)]) == 1
    caught = capsys.readouterr()
    assert caught.out.splitlines() == ["added ?[2J", "changed w"]
    assert "do not use it" in caught.err
    assert run(["sign", str(folder)]) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="walls of Linux")
def test_detonate(tmp_path: Path, payload, marker: Path, capsys) -> None:
    path = tmp_path / "model"
    path.write_bytes(pickle.dumps(payload(open, f"{marker}\x1b", "w")))
    assert run(["detonate", str(path), "--unconfined"]) == 1
    out = capsys.readouterr().out
    assert f"REFUSED  open               {marker}? w" in out
    assert out.endswith("1 attempts; exit 1\n")
    assert run(["detonate", str(path), "--unconfined", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["exit_code"] == 1
    path.write_bytes(pickle.dumps([1, 2]))
    assert run(["detonate", str(path), "--unconfined"]) == 0
    path.write_bytes(b"\x80\x04broken")
    assert run(["detonate", str(path), "--unconfined"]) == 3
    assert run(["detonate", str(tmp_path / "none")]) == 2
    assert not marker.exists()
