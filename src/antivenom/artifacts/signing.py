"""Sign the files of a folder, and check that the files in use are the signed ones, in the format of OpenSSF model signing.

Keys are ECDSA in PEM, on the curves P-256, P-384 and P-521.
Reference: OpenSSF Model Signing specification 1.0: a Sigstore bundle with a DSSE envelope around an in-toto statement.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from antivenom.core.errors import FileError, Tampered

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey

_K = TypeVar("_K", "EllipticCurvePrivateKey", "EllipticCurvePublicKey")

SIGNATURE = "model.sig"
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}  # by curve, as the format wants it
_MAKE_KEY = "make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out K; openssl pkey -in K -pubout -out PUB"
_LARGEST = 1 << 28  # bytes of a signature, enough for millions of files


@dataclass(frozen=True)
class Difference:
    """One difference between a folder and its signature.

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
    """Write the signature `model.sig` into the folder, in place of an earlier one; returns its path.

    It covers path and SHA-256 of every other regular file. It does not cover empty folders, modes and times. The
    package model-signing of OpenSSF reads it.

    >>> import subprocess, tempfile
    >>> keys, folder = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    >>> private, public = keys / "K", keys / "PUB"
    >>> make = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private]
    >>> _ = subprocess.run(make, check=True)
    >>> _ = subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    >>> _ = (folder / "model.bin").write_bytes(b"weights")
    >>> sign(folder, private).name
    'model.sig'
    >>> verify(folder, public)
    1

    Raises FileError for links and special files, whose content lies elsewhere, and for a key of another kind.
    """
    folder = _folder(folder)
    private = _private_key(key)
    digests, odd = _digests(folder, [SIGNATURE])
    if odd:
        raise FileError("regular files", f"{odd[0]}, a link or special file", "replace it by a regular file").at(
            str(folder)
        )
    payload = json.dumps(_statement(folder.resolve().name, digests), indent=1).encode()
    public = private.public_key()
    signature = private.sign(_encoded(payload), _algorithm(public))
    bundle = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": _hint(public)}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    path = folder / SIGNATURE
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".antivenom-") as beside:
            new = Path(beside) / SIGNATURE
            new.write_text(json.dumps(bundle) + "\n", encoding="ascii")
            os.replace(new, path)  # replaces a planted link instead of writing through it
    except OSError as error:
        raise FileError(f"a place to write {path}", error.strerror or str(error)) from error
    return path


def verify(folder: str | Path, key: str | Path) -> int:
    """Check a folder's `model.sig` against a public key, and the folder against it; returns the number of files.

    Weakness: it does not see changes that are made after the check, nor files that the signature itself leaves out, as
    OpenSSF's package does for those of git.

    Raises Tampered if the signature does not fit, or with all `differences` if the folder is not as signed.
    Raises FileError if the signature or the key is missing, or the signature is one without a key or over parts of files.
    """
    folder = _folder(folder)
    public = _public_key(key)
    path = folder / SIGNATURE
    payload, signature = _envelope(path)
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(signature, _encoded(payload), _algorithm(public))
    except InvalidSignature:
        raise Tampered("a signature by this key", "another signature", "do not use the folder").at(
            str(folder)
        ) from None
    signed, ignored = _resources(payload, path)
    differences = _differences(signed, *_digests(folder, [SIGNATURE, *ignored]))
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


def _digests(folder: Path, ignored: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """SHA-256 by path of the regular files below a folder, and the paths of links and special files; both sorted.

    Ignored paths, and all that lies below them, are left out.
    """
    digests, odd = {}, []
    skipped = {PurePosixPath(each) for each in ignored}

    def stop(error: OSError) -> None:
        raise FileError("a folder that can be read", error.strerror or str(error)).at(str(error.filename))

    for root, folders, names in os.walk(folder, onerror=stop):
        for name in (*names, *(each for each in folders if os.path.islink(os.path.join(root, each)))):
            path = Path(root, name).relative_to(folder)
            if skipped.intersection((PurePosixPath(path), *PurePosixPath(path).parents)):
                continue
            digest = _digest(folder / path)
            if digest is None:
                odd.append(path.as_posix())
            else:
                digests[path.as_posix()] = digest
    return dict(sorted(digests.items())), sorted(odd)


def _digest(path: Path) -> str | None:
    """The SHA-256 of a file, or None if the file is not regular."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError("a file that can be read", error.strerror or str(error)).at(str(path)) from error


def _statement(name: str, digests: dict[str, str]) -> dict[str, object]:
    """The in-toto statement about the files of a folder."""
    return {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": _root(digests.values())}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE],
            },
            "resources": [{"name": path, "algorithm": "sha256", "digest": digest} for path, digest in digests.items()],
        },
    }


def _root(digests: Iterable[str]) -> str:
    """The digest of a whole model: SHA-256 over the digests of its files in the order of the statement."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


def _encoded(payload: bytes) -> bytes:
    """The bytes to sign, DSSE's pre-authentication encoding, which binds the payload to its type."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)


def _envelope(path: Path) -> tuple[bytes, bytes]:
    """Payload and signature of a bundle, not verified yet."""
    try:
        if path.is_symlink() or path.stat().st_size > _LARGEST:
            raise ValueError("a link, or a file that is too large")
        bundle = json.loads(path.read_bytes())
        envelope = bundle["dsseEnvelope"]
        if bundle["mediaType"] != _BUNDLE or envelope["payloadType"] != _PAYLOAD:
            raise ValueError(f"{bundle['mediaType']} with {envelope['payloadType']}")
        if "publicKey" not in bundle["verificationMaterial"]:
            raise ValueError("a signature that was not made with a key")
        (signature,) = envelope["signatures"]
        return base64.b64decode(envelope["payload"]), base64.b64decode(signature["sig"])
    except FileNotFoundError as error:
        raise FileError(f"the signature {SIGNATURE}", "a folder without it", "sign the folder first").at(
            str(path.parent)
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(path, error) from error


def _resources(payload: bytes, path: Path) -> tuple[dict[str, str], list[str]]:
    """The signed digests by path, and the paths that the signature leaves out."""
    try:
        statement = json.loads(payload)
        if (statement["_type"], statement["predicateType"]) != (_STATEMENT, _PREDICATE):
            raise ValueError(f"a statement of the type {statement['predicateType']}")
        (subject,), predicate = statement["subject"], statement["predicate"]
        how, resources = predicate["serialization"], predicate["resources"]
        if how["method"] != "files" or {each["algorithm"] for each in resources} - {"sha256"}:
            raise ValueError(f"digests by {how['hash_type']} of {how['method']} instead of SHA-256 of files")
        digests = {str(each["name"]): str(each["digest"]) for each in resources}
        if len(digests) < len(resources):
            raise ValueError("a file twice")
        if _root(digests.values()) != subject["digest"]["sha256"]:
            raise ValueError("a digest of the whole that does not fit the files")
        return digests, [str(each) for each in how.get("ignore_paths", [])]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> FileError:
    return FileError(
        "a model signature 1.0 with a key over whole files", str(error)[:100] or "none", "sign the folder again"
    ).at(str(path))


def _differences(signed: dict[str, str], now: dict[str, str], odd: list[str]) -> tuple[Difference, ...]:
    gone = {path: digest for path, digest in signed.items() if path not in now and path not in odd}
    result = [Difference("link", path) for path in odd]
    for path, digest in now.items():
        if path not in signed:
            was = next((old for old, each in gone.items() if each == digest), "")
            gone.pop(was, None)
            result.append(Difference("renamed" if was else "added", path, was))
        elif digest != signed[path]:
            result.append(Difference("changed", path))
    return tuple(sorted(result + [Difference("removed", path) for path in gone], key=lambda each: each.path))


def _algorithm(public: EllipticCurvePublicKey) -> ECDSA:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    return ECDSA(getattr(hashes, _HASHES[public.curve.name])())


def _hint(public: EllipticCurvePublicKey) -> str:
    """The digest by which a bundle names its key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _private_key(path: str | Path) -> EllipticCurvePrivateKey:
    ec, serialization = _cryptography()
    wanted: type[EllipticCurvePrivateKey] = ec.EllipticCurvePrivateKey
    return _key(path, "a private", partial(serialization.load_pem_private_key, password=None), wanted)


def _public_key(path: str | Path) -> EllipticCurvePublicKey:
    ec, serialization = _cryptography()
    wanted: type[EllipticCurvePublicKey] = ec.EllipticCurvePublicKey
    return _key(path, "a public", serialization.load_pem_public_key, wanted)


def _cryptography() -> tuple[ModuleType, ModuleType]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise FileError(
            "the package cryptography", "an installation without it", "pip install 'antivenom[sign]'"
        ) from error
    return ec, serialization


def _key(path: str | Path, kind: str, read: Callable[[bytes], object], wanted: type[_K]) -> _K:
    try:
        key = read(Path(path).read_bytes())
    except OSError as error:
        raise FileError(f"{kind} key", error.strerror or str(error), _MAKE_KEY).at(str(path)) from error
    except Exception as error:  # not PEM, an encrypted key, or a type of key that this build does not support
        raise FileError(f"{kind} EC key in PEM", f"a file that is none ({type(error).__name__})", _MAKE_KEY).at(
            str(path)
        ) from error
    if not isinstance(key, wanted) or key.curve.name not in _HASHES:
        raise FileError(f"{kind} EC key on P-256, P-384 or P-521", type(key).__name__, _MAKE_KEY).at(str(path))
    return key
