"""A manifest of a folder's files with their hashes, signed: what was reviewed is what is used.

Ed25519 keys in PEM, as `openssl genpkey -algorithm ed25519 -out K` and `openssl pkey -in K -pubout -out PUB` write them.
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
from pathlib import Path
from typing import Any

from antivenom.core.errors import FileError, Tampered

MANIFEST = "antivenom-manifest.json"
_PURPOSE = b"antivenom manifest 1\n"  # a signature made for anything else does not fit
_MAKE_KEY = "make one: openssl genpkey -algorithm ed25519 -out K; openssl pkey -in K -pubout -out PUB"
_LARGEST = 1 << 28  # bytes of a manifest, for millions of files


@dataclass(frozen=True, order=True)
class _Entry:
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Difference:
    """One way in which a folder is not what was signed.

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
    """Write the signed manifest into the folder; returns its path. A manifest that is there is replaced.

    Every regular file counts, with its path, size and SHA-256; empty folders, modes and times do not.

    Raises FileError for links and special files, whose content lies elsewhere, and for a key that is no Ed25519 key.
    """
    folder = _folder(folder)
    private = _key(key, private=True)
    entries, odd = _entries(folder)
    if odd:
        raise FileError("regular files", f"{odd[0]}, a link or special file", "put its content there").at(str(folder))
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
            os.replace(new, path)  # also where a link was planted
    except OSError as error:
        raise FileError(f"a place to write {path}", error.strerror or str(error)) from error
    return path


def verify(folder: str | Path, key: str | Path) -> int:
    """Check a folder against its manifest and the manifest against a public key; returns how many files there are.

    Raises Tampered if the signature does not fit, or with all `differences` if the folder is not what was signed;
    FileError if there is no manifest or key. Weakness: what is changed after the check is not seen.
    """
    folder = _folder(folder)
    public = _key(key, private=False)
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
        raise FileError("a folder", f"{folder}, which is none", "name the folder that holds the files")
    return folder


def _entries(folder: Path) -> tuple[list[_Entry], list[str]]:
    """The regular files below a folder, sorted, and the paths of everything else but folders."""
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
    """A file's entry; None if it is not regular."""
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
    """The bytes that are signed: the same for the same files, whatever the manifest's layout."""
    rows = [[entry.path, entry.size, entry.sha256] for entry in entries]
    return _PURPOSE + json.dumps(rows, separators=(",", ":"), ensure_ascii=True).encode()


def _manifest(path: Path) -> tuple[list[_Entry], bytes]:
    try:
        if path.is_symlink() or path.stat().st_size > _LARGEST:
            raise ValueError("a link or far too large")
        document = json.loads(path.read_bytes())
        if document["version"] != 1:
            raise ValueError(f"version {document['version']}")
        entries = [_Entry(str(row["path"]), int(row["size"]), str(row["sha256"])) for row in document["files"]]
        return entries, base64.b64decode(document["signature"], validate=True)
    except FileNotFoundError as error:
        raise FileError(f"a manifest {MANIFEST}", "none", "sign the folder first").at(str(path.parent)) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileError("a manifest that antivenom wrote", str(error)[:100], "sign the folder anew").at(
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


def _key(path: str | Path, private: bool) -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
    except ImportError as error:
        raise FileError("the package cryptography", "none", "pip install 'antivenom[sign]'") from error
    wanted: type = ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey
    kind = "a private" if private else "a public"
    read: Callable[[bytes], Any] = (lambda data: load_pem_private_key(data, None)) if private else load_pem_public_key
    try:
        key = read(Path(path).read_bytes())
    except OSError as error:
        raise FileError(f"{kind} key", error.strerror or str(error), _MAKE_KEY).at(str(path)) from error
    except Exception as error:  # no PEM, an encrypted key, a kind that this build does not know
        raise FileError(f"{kind} Ed25519 key in PEM", str(error).splitlines()[0][:100], _MAKE_KEY).at(
            str(path)
        ) from error
    if not isinstance(key, wanted):
        raise FileError(f"{kind} Ed25519 key", type(key).__name__, _MAKE_KEY).at(str(path))
    return key
