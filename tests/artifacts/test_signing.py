"""sign and verify: every change of a signed folder is seen and named, and only the key's owner can sign."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from antivenom import sign, verify
from antivenom.artifacts.signing import MANIFEST
from antivenom.core.errors import FileError, Tampered


def keys(folder: Path, make: Callable[[], ed25519.Ed25519PrivateKey] = ed25519.Ed25519PrivateKey.generate) -> Path:
    """A private key; its public half has `.pub` behind the name."""
    key = make()
    (folder / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pub").write_bytes(public)
    return folder / "key"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return keys(tmp_path)


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_suffix(".pub")


@pytest.fixture
def signed(tmp_path: Path, key: Path) -> Path:
    """A signed folder of three files."""
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"weights")
    (folder / "b.bin").write_bytes(b"biases")
    (folder / "deep" / "ü\n.json").write_text("{}")
    sign(folder, key)
    return folder


def test_an_untouched_folder_is_as_signed_and_can_be_signed_again(signed: Path, key: Path, public: Path) -> None:
    assert verify(signed, public) == 3
    before = (signed / MANIFEST).read_bytes()
    sign(signed, key)
    assert (signed / MANIFEST).read_bytes() == before
    digest = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert json.loads(before)["files"][0] == {"path": "a.bin", "size": 7, "sha256": digest}


CHANGES: dict[str, Callable[[Path], object]] = {
    "changed a.bin": lambda f: (f / "a.bin").write_bytes(b"Weights"),
    "added deep/c": lambda f: (f / "deep" / "c").write_bytes(b""),
    "removed b.bin": lambda f: (f / "b.bin").unlink(),
    "renamed b.bin -> deep/b": lambda f: (f / "b.bin").rename(f / "deep" / "b"),
    "link a.bin": lambda f: ((f / "a.bin").rename(f.parent / "a"), (f / "a.bin").symlink_to(f.parent / "a")),
    "link other": lambda f: (f / "other").symlink_to(f.parent, target_is_directory=True),
    "link fifo": lambda f: os.mkfifo(f / "fifo"),
    "changed b.bin": lambda f: (
        (f / "a.bin").rename(f / "t"),
        (f / "b.bin").rename(f / "a.bin"),
        (f / "t").rename(f / "b.bin"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_named(signed: Path, public: Path, change: str) -> None:
    CHANGES[change](signed)
    with pytest.raises(Tampered) as caught:
        verify(signed, public)
    assert change in [str(each) for each in caught.value.differences]
    assert len(caught.value.differences) == (2 if change == "changed b.bin" else 1)


@pytest.mark.parametrize("field", ["path", "size", "sha256"])
def test_a_rewritten_manifest_is_not_believed(signed: Path, public: Path, field: str) -> None:
    document = json.loads((signed / MANIFEST).read_text())
    document["files"][0][field] = {"path": "c.bin", "size": 8, "sha256": "0" * 64}[field]
    (signed / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(Tampered, match="another signature"):
        verify(signed, public)


def test_another_key_does_not_verify(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(Tampered, match="another signature"):
        verify(signed, keys(tmp_path / "other").with_suffix(".pub"))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 2}', '{"version": 1, "files": [1], "signature": ""}', "[" * 9999]
)
def test_a_broken_manifest_is_one_line(signed: Path, public: Path, text: str) -> None:
    (signed / MANIFEST).write_text(text)
    with pytest.raises(FileError, match="a manifest that antivenom wrote") as caught:
        verify(signed, public)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_used_is_said(signed: Path, key: Path, public: Path, tmp_path: Path) -> None:
    (tmp_path / "ec").mkdir()
    other = keys(tmp_path / "ec", lambda: ec.generate_private_key(ec.SECP256R1()))
    for wrong, message in ((public, "private"), (other, "Ed25519"), (tmp_path / "no", "openssl genpkey")):
        with pytest.raises(FileError, match=message):
            sign(signed, wrong)
    with pytest.raises(FileError, match="public"):
        verify(signed, key)
    with pytest.raises(FileError, match="a folder"):
        sign(signed / "a.bin", key)
    (signed / MANIFEST).unlink()
    with pytest.raises(FileError, match="sign the folder first"):
        verify(signed, public)
    (signed / "loop").symlink_to(signed)
    with pytest.raises(FileError, match="loop, a link"):
        sign(signed, key)


def test_a_planted_link_is_replaced_not_followed(signed: Path, key: Path, public: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (signed / MANIFEST).unlink()
    (signed / MANIFEST).symlink_to(tmp_path / "mine")
    with pytest.raises(FileError, match="a link"):
        verify(signed, public)
    sign(signed, key)
    assert (tmp_path / "mine").read_text() == "mine"
    assert verify(signed, public) == 3


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine")
def test_keys_of_openssl_work(signed: Path, tmp_path: Path) -> None:
    for command in ("genpkey -algorithm ed25519 -out K", "pkey -in K -pubout -out PUB"):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    sign(signed, tmp_path / "K")
    assert verify(signed, tmp_path / "PUB") == 3
