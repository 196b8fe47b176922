"""The identity of a trial: everything that its result depends on, and nothing else. Its hash is the record's key."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import antivenom
from antivenom.core.errors import AntivenomError
from antivenom.core.fingerprint import address, code_of, digest
from antivenom.core.registry import Kind, registered

# Packages that compute no number of a trial; an edit of their sources leaves every result valid.
_WITHOUT_NUMBERS = ("artifacts", "auditing", "cli", "pipelines", "scan", "search")


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Identity:
    """Everything that a trial's result depends on.

    Device, number of processes and folder are not part of it; results are equal on all of them up to rounding.

    Fields:
        spec: the trial in plain JSON: scenario, attack and defence with all their fields, and the seed.
        code: address of each class or function that is not antivenom's -> its code, as `fingerprint.code_of` identifies it.
        data: path of each field that holds a source -> fingerprint of the data's bytes.
        version: antivenom's version and a hash of its sources.
    """

    spec: Mapping[str, Any]
    code: Mapping[str, str]
    data: Mapping[str, str]
    version: str

    @property
    def parts(self) -> dict[str, object]:
        """All fields except the specification, as a record holds them."""
        return {"code": dict(self.code), "data": dict(self.data), "version": self.version}

    @property
    def key(self) -> str:
        """The record's key: the first 16 hexadecimal digits of the SHA-256 of all fields."""
        text = _CANONICAL.encode([dict(self.spec), self.parts])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def identity_of(
    spec: Mapping[str, object], parts: Mapping[str, object], known: dict[int, str] | None = None
) -> Identity:
    """The identity of a trial.

    Args:
        spec: the trial's specification.
        parts: its scenario, attack and defence.
        known: fingerprints of data by the `id` of their source. It is filled here and can be passed on, so that several
            trials read their data once.
    """
    return Identity(spec, code_in(parts), data_in(parts, {} if known is None else known), version())


def is_genuine(record: Mapping[str, Any]) -> bool:
    """Whether a record's key is the hash of the record's other identifying fields; False for edited or forged records."""
    try:
        return bool(Identity(record["spec"], record["code"], record["data"], record["version"]).key == record["key"])
    except (KeyError, TypeError, ValueError):
        return False


def code_in(parts: Mapping[str, object]) -> dict[str, str]:
    """Address -> code (see `fingerprint.code_of`) of every class and function in the parts that is not antivenom's."""
    found: dict[str, str] = {}
    for named in foreign(parts):
        found.setdefault(address(named), code_of(named))
    return found


def foreign(parts: Mapping[str, object]) -> Iterator[Any]:
    """Every class and function in the parts that belongs neither to antivenom nor to Python's builtins."""
    for _, value in _values(parts):
        named = value if inspect.isroutine(value) or isinstance(value, type) else type(value)
        if named.__module__.partition(".")[0] not in ("antivenom", "builtins"):
            yield named


def data_in(parts: Mapping[str, object], known: dict[int, str]) -> dict[str, str]:
    """Path of a field -> fingerprint of the source in it. `known` is read and filled, by the `id` of a source."""
    found = {}
    for path, value in _values(parts):
        entry = registered(type(value))
        if entry is not None and entry.kind is Kind.SOURCE and isinstance(value, entry.cls):
            if id(value) not in known:
                known[id(value)] = _fingerprint(value)
            found[path] = known[id(value)]
    return found


def _fingerprint(source: Any) -> str:
    """The fingerprint of the data's bytes, or the error if the data cannot be read; trials on it fail with that error."""
    from antivenom.data import fingerprint

    try:
        return fingerprint(source)
    except AntivenomError as error:
        return str(error)


def _values(parts: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    """(path, value) of every dataclass, class and function in the parts, at any depth."""
    for name, value in parts.items():
        if value is None or isinstance(value, (str, int, float)):
            continue
        path = f"{above}{name}"
        if isinstance(value, (tuple, list)):
            yield from _values({str(i): item for i, item in enumerate(value)}, f"{path}.")
        elif isinstance(value, Mapping):
            yield from _values({str(key): item for key, item in value.items()}, f"{path}.")
        elif isinstance(value, type) or inspect.isroutine(value):
            yield path, value
        elif dataclasses.is_dataclass(value):
            yield path, value
            yield from _values(
                {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, f"{path}."
            )


@functools.cache
def version() -> str:
    """Antivenom's version and a hash of its sources, such as "0.1.0 3f2a...".

    The hash is needed because the version is the same in all commits between two releases, while an edited formula must
    not keep its old results. Packages that compute no number are left out of it.
    """
    assert antivenom.__file__ is not None
    root = Path(antivenom.__file__).parent
    files = (file for file in sorted(root.rglob("*.py")) if file.relative_to(root).parts[0] not in _WITHOUT_NUMBERS)
    return f"{metadata.version('antivenom')} {digest(*(file.read_bytes() for file in files))}"
