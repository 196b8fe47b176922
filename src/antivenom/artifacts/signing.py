"""A signed manifest of a folder's files and their hashes, to make sure that the files in use are the reviewed ones.

Keys are Ed25519 in PEM, as `openssl genpkey -algorithm ed25519 -out K` and `openssl pkey -in K -pubout -out PUB` write.
Reference: Josefsson and Liusvaara 2017, RFC 8032 (the signature).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from antivenom.core.errors import FileError, Tampered

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_K = TypeVar("_K")

MANIFEST = "antivenom-manifest.json"
_PURPOSE = b"antivenom manifest 1\n"  # signed with the entries, so that no signature of another document fits
_MAKE_KEY = "make one: openssl genpkey -algorithm ed25519 -out K; openssl pkey -in K -pubout -out PUB"
_LARGEST = 1 << 28  # bytes of a manifest, enough for millions of files


@dataclass(frozen=True, order=True)
class _Entry:
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Difference:
    """One difference between a folder and its signed manifest.

    Fields:
        kind: added, removed, changed, renamed, or link (a link or special file, which cannot be signed).
        path: relative to the folder.
        was: the signed path of a renamed file; empty otherwise.
    """

    kind: str
    path: str
    was: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.was} -> {self.path}" if self.was else f"{self.kind} {self.path}"


def sign(folder: str | Path, key: str | Path) -> Path:
    """Write a signed manifest into the folder, in place of an earlier one; returns its path.

    The manifest covers path, size and SHA-256 of every regular file. It does not cover empty folders, modes and times.

    >>> import subprocess, tempfile
    >>> keys, folder = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    >>> private, public = keys / "K", keys / "PUB"
    >>> _ = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    >>> _ = subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    >>> _ = (folder / "model.bin").write_bytes(b"weights")
    >>> sign(folder, private).name
    'antivenom-manifest.json'
    >>> verify(folder, public)
    1

    Raises FileError for links and special files, whose content lies elsewhere, and for a key that is not Ed25519.
    """
    folder = _folder(folder)
    private = _private_key(key)
    entries, odd = _entries(folder)
    if odd:
        raise FileError("regular files", f"{odd[0]}, a link or special file", "replace it by a regular file").at(
            str(folder)
        )
    document = {
        "version": 1,
        "files": [asdict(entry) for entry in entries],
        "signature": base64.b64encode(private.sign(_signed(entries))).decode(),
    }
    path = folder / MANIFEST
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".antivenom-") as beside:
            new = Path(beside) / MANIFEST
            new.write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")
            os.replace(new, path)  # replaces a planted link instead of writing through it
    except OSError as error:
        raise FileError(f"a place to write {path}", error.strerror or str(error)) from error
    return path


def verify(folder: str | Path, key: str | Path) -> int:
    """Check a manifest against a public key and its folder against the manifest; returns the number of files.

    Weakness: it does not see changes that are made after the check.

    Raises Tampered if the signature does not fit, or with all `differences` if the folder differs from the manifest.
    Raises FileError if the manifest or the key is missing.
    """
    folder = _folder(folder)
    public = _public_key(key)
    signed, signature = _manifest(folder / MANIFEST)
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(signature, _signed(signed))
    except InvalidSignature:
        raise Tampered("a manifest signed with this key", "another signature", "do not use the folder").at(
            str(folder)
        ) from None
    differences = _differences(signed, *_entries(folder))
    if differences:
        error = Tampered("the folder that was signed", _shown(differences), "do not use it").at(str(folder))
        error.differences = differences
        raise error
    return len(signed)


def _shown(differences: tuple[Difference, ...]) -> str:
    more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
    return f"{differences[0]}{more}"


def _folder(folder: str | Path) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError("a folder", f"{folder}, not a directory")
    return folder


def _entries(folder: Path) -> tuple[list[_Entry], list[str]]:
    """The regular files below a folder, and the paths of links and special files; both sorted."""
    entries, odd = [], []

    def stop(error: OSError) -> None:
        raise FileError("a folder that can be read", error.strerror or str(error)).at(str(error.filename))

    for root, folders, names in os.walk(folder, onerror=stop):
        for name in (*names, *(each for each in folders if os.path.islink(os.path.join(root, each)))):
            path = os.path.relpath(os.path.join(root, name), folder)
            if path == MANIFEST:
                continue
            entry = _entry(folder, path)
            if entry is None:
                odd.append(path)
            else:
                entries.append(entry)
    return sorted(entries), sorted(odd)


def _entry(folder: Path, path: str) -> _Entry | None:
    """The entry of a file, or None if the file is not regular."""
    whole = folder / path
    try:
        if not stat.S_ISREG(os.lstat(whole).st_mode):
            return None
        with os.fdopen(os.open(whole, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return _Entry(Path(path).as_posix(), file.tell(), digest)
    except OSError as error:
        raise FileError("a file that can be read", error.strerror or str(error)).at(str(whole)) from error


def _signed(entries: list[_Entry]) -> bytes:
    """The bytes to sign, which depend on the files alone and not on the layout of the manifest."""
    rows = [[entry.path, entry.size, entry.sha256] for entry in entries]
    return _PURPOSE + json.dumps(rows, separators=(",", ":"), ensure_ascii=True).encode()


def _manifest(path: Path) -> tuple[list[_Entry], bytes]:
    try:
        if path.is_symlink() or path.stat().st_size > _LARGEST:
            raise ValueError("a link, or a file that is too large")
        document = json.loads(path.read_bytes())
        if document["version"] != 1:
            raise ValueError(f"version {document['version']}")
        entries = [_Entry(str(row["path"]), int(row["size"]), str(row["sha256"])) for row in document["files"]]
        return entries, base64.b64decode(document["signature"], validate=True)
    except FileNotFoundError as error:
        raise FileError(f"the manifest {MANIFEST}", "a folder without it", "sign the folder first").at(
            str(path.parent)
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileError("a manifest that antivenom wrote", str(error)[:100], "sign the folder again").at(
            str(path)
        ) from error


def _differences(signed: list[_Entry], found: list[_Entry], odd: list[str]) -> tuple[Difference, ...]:
    before, now = ({entry.path: entry for entry in entries} for entries in (signed, found))
    gone = {path: entry for path, entry in before.items() if path not in now and path not in odd}
    result = [Difference("link", path) for path in odd]
    result += [Difference("changed", path) for path, entry in now.items() if path in before and before[path] != entry]
    for path, entry in now.items():
        if path not in before:
            content = (entry.size, entry.sha256)
            was = next((old for old, each in gone.items() if (each.size, each.sha256) == content), "")
            gone.pop(was, None)
            result.append(Difference("renamed" if was else "added", path, was))
    return tuple(sorted(result + [Difference("removed", path) for path in gone], key=lambda each: each.path))


def _private_key(path: str | Path) -> Ed25519PrivateKey:
    ed25519, serialization = _cryptography()
    wanted: type[Ed25519PrivateKey] = ed25519.Ed25519PrivateKey
    return _key(path, "a private", partial(serialization.load_pem_private_key, password=None), wanted)


def _public_key(path: str | Path) -> Ed25519PublicKey:
    ed25519, serialization = _cryptography()
    wanted: type[Ed25519PublicKey] = ed25519.Ed25519PublicKey
    return _key(path, "a public", serialization.load_pem_public_key, wanted)


def _cryptography() -> tuple[ModuleType, ModuleType]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise FileError(
            "the package cryptography", "an installation without it", "pip install 'antivenom[sign]'"
        ) from error
    return ed25519, serialization


def _key(path: str | Path, kind: str, read: Callable[[bytes], object], wanted: type[_K]) -> _K:
    try:
        key = read(Path(path).read_bytes())
    except OSError as error:
        raise FileError(f"{kind} key", error.strerror or str(error), _MAKE_KEY).at(str(path)) from error
    except Exception as error:  # not PEM, an encrypted key, or a type of key that this build does not support
        raise FileError(f"{kind} Ed25519 key in PEM", f"a file that is none ({type(error).__name__})", _MAKE_KEY).at(
            str(path)
        ) from error
    if not isinstance(key, wanted):
        raise FileError(f"{kind} Ed25519 key", type(key).__name__, _MAKE_KEY).at(str(path))
    return key
