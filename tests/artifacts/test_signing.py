"""sign and verify: every change of a signed folder is seen and named, and only the key's owner can sign."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from antivenom import sign, verify
from antivenom.artifacts.signing import SIGNATURE, _encoded
from antivenom.core.errors import FileError, Tampered


def keys(folder: Path, make: Callable[[], Any] = lambda: ec.generate_private_key(ec.SECP256R1())) -> Path:
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
    before = statement(signed)
    sign(signed, key)
    assert verify(signed, public) == 3
    assert statement(signed) == before
    digest = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert before["predicate"]["resources"][0] == {"name": "a.bin", "algorithm": "sha256", "digest": digest}


@pytest.mark.parametrize("curve", [ec.SECP384R1, ec.SECP521R1], ids=["P-384", "P-521"])
def test_longer_keys_work(signed: Path, tmp_path: Path, curve: type[ec.EllipticCurve]) -> None:
    (tmp_path / "long").mkdir()
    key = keys(tmp_path / "long", lambda: ec.generate_private_key(curve()))
    sign(signed, key)
    assert verify(signed, key.with_suffix(".pub")) == 3


def statement(folder: Path) -> Any:
    envelope = json.loads((folder / SIGNATURE).read_text())["dsseEnvelope"]
    return json.loads(base64.b64decode(envelope["payload"]))


def rewrite(folder: Path, change: Callable[[Any], object], key: Path | None = None) -> None:
    """Changes the statement of a signature; with a key, signs it anew."""
    bundle, content = json.loads((folder / SIGNATURE).read_text()), statement(folder)
    change(content)
    payload = json.dumps(content).encode()
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    if key:
        private = load_pem_private_key(key.read_bytes(), None)
        made = private.sign(_encoded(payload), ec.ECDSA(SHA256()))
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(made).decode()
    (folder / SIGNATURE).write_text(json.dumps(bundle))


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


@pytest.mark.parametrize("field", ["name", "algorithm", "digest"])
def test_a_rewritten_statement_is_not_believed(signed: Path, public: Path, field: str) -> None:
    rewrite(signed, lambda content: content["predicate"]["resources"][0].update({field: "0" * 64}))
    with pytest.raises(Tampered, match="another signature"):
        verify(signed, public)


UNUSUAL: dict[str, Callable[[Any], object]] = {
    "predicate": lambda c: c.update(predicateType="https://slsa.dev/provenance/v1"),
    "shards": lambda c: c["predicate"]["serialization"].update(method="shards"),
    "algorithm": lambda c: c["predicate"]["resources"][0].update(algorithm="blake3"),
    "twice": lambda c: c["predicate"]["resources"].append(c["predicate"]["resources"][0]),
    "root": lambda c: c["subject"][0]["digest"].update(sha256="0" * 64),
    "no subject": lambda c: c.update(subject=[]),
}


@pytest.mark.parametrize("change", UNUSUAL)
def test_a_signed_statement_that_we_cannot_check_is_refused(signed: Path, key: Path, public: Path, change: str) -> None:
    rewrite(signed, UNUSUAL[change], key)
    with pytest.raises(FileError, match="a model signature 1"):
        verify(signed, public)


def test_what_a_signature_leaves_out_is_left_out(signed: Path, key: Path, public: Path) -> None:
    rewrite(signed, lambda content: content["predicate"]["serialization"].update(ignore_paths=[".git"]), key)
    (signed / ".git").mkdir()
    (signed / ".git" / "config").write_text("")
    assert verify(signed, public) == 3
    (signed / "deep" / ".git").write_text("")
    with pytest.raises(Tampered, match=r"added deep/\.git"):
        verify(signed, public)


def test_another_key_does_not_verify(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(Tampered, match="another signature"):
        verify(signed, keys(tmp_path / "other").with_suffix(".pub"))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"mediaType": 2}', '{"dsseEnvelope": {"signatures": [1], "payload": ""}}', "[" * 9999]
)
def test_a_broken_signature_is_one_line(signed: Path, public: Path, text: str) -> None:
    (signed / SIGNATURE).write_text(text)
    with pytest.raises(FileError, match="a model signature 1") as caught:
        verify(signed, public)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_used_is_said(signed: Path, key: Path, public: Path, tmp_path: Path) -> None:
    for name, make in (
        ("ed", ed25519.Ed25519PrivateKey.generate),
        ("k1", partial(ec.generate_private_key, ec.SECP256K1())),
    ):
        (tmp_path / name).mkdir()
        with pytest.raises(FileError, match="on P-256"):
            sign(signed, keys(tmp_path / name, make))
    for wrong, message in ((public, "private"), (tmp_path / "no", "openssl genpkey")):
        with pytest.raises(FileError, match=message):
            sign(signed, wrong)
    with pytest.raises(FileError, match="public"):
        verify(signed, key)
    with pytest.raises(FileError, match="a folder"):
        sign(signed / "a.bin", key)
    (signed / SIGNATURE).unlink()
    with pytest.raises(FileError, match="sign the folder first"):
        verify(signed, public)
    (signed / "loop").symlink_to(signed)
    with pytest.raises(FileError, match="loop, a link"):
        sign(signed, key)


def test_a_planted_link_is_replaced_not_followed(signed: Path, key: Path, public: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (signed / SIGNATURE).unlink()
    (signed / SIGNATURE).symlink_to(tmp_path / "mine")
    with pytest.raises(FileError, match="a link"):
        verify(signed, public)
    sign(signed, key)
    assert (tmp_path / "mine").read_text() == "mine"
    assert verify(signed, public) == 3


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine")
def test_keys_of_openssl_work(signed: Path, tmp_path: Path) -> None:
    for command in ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out K", "pkey -in K -pubout -out PUB"):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    sign(signed, tmp_path / "K")
    assert verify(signed, tmp_path / "PUB") == 3


@pytest.fixture
def by_openssf(tmp_path: Path) -> tuple[Path, Path]:
    """A folder that the command of OpenSSF's model-signing 1.1.1 signed, and the public key."""
    folder = tmp_path / "m"
    shutil.copytree(Path(__file__).with_name("openssf"), folder)
    return folder, (folder / "key.pub").rename(tmp_path / "key.pub")


def test_a_signature_of_openssf_is_verified(by_openssf: tuple[Path, Path]) -> None:
    folder, public = by_openssf
    assert verify(folder, public) == 2
    (folder / "d" / "b.bin").write_text("c\n")
    with pytest.raises(Tampered, match=r"changed d/b\.bin"):
        verify(folder, public)


def test_openssf_verifies_our_signature(signed: Path, public: Path) -> None:
    verifying = pytest.importorskip("model_signing.verifying")
    check = verifying.Config().use_elliptic_key_verifier(public_key=public)
    check.verify(signed, signed / SIGNATURE)
    (signed / "a.bin").write_bytes(b"Weights")
    with pytest.raises(ValueError, match=r"Hash mismatch for 'a\.bin'"):
        check.verify(signed, signed / SIGNATURE)
