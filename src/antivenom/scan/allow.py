"""The globals that a file can import: exact (module, name) pairs in tiers, each with a note on its review."""

from __future__ import annotations

import enum
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from antivenom.core.errors import ScanError
from antivenom.scan.rules import UNLISTED_GLOBAL, UNREVIEWED_GLOBAL, Rule
from antivenom.scan.stubs import Global


class Tier(enum.StrEnum):
    """How many globals a list admits: those that tensors need, or also those that fitted models need."""

    TENSORS = "tensors"
    VETTED = "vetted"


# Packages that are common and were reviewed as a whole. A name of theirs that is not listed was left out on purpose.
_PACKAGES = frozenset(
    {
        *("numpy", "scipy", "sklearn", "joblib", "torch", "torchvision", "xgboost", "lightgbm", "catboost", "pandas"),
        *(
            "tensorflow",
            "keras",
            "onnx",
            "transformers",
            "huggingface_hub",
            "safetensors",
            "dill",
            "cloudpickle",
            "skops",
        ),
        *(
            "pip",
            "setuptools",
            "pkg_resources",
            "distutils",
            "wheel",
            "IPython",
            "ipykernel",
            "notebook",
            "pytest",
            "_pytest",
        ),
        *(
            "requests",
            "urllib3",
            "aiohttp",
            "httpx",
            "yaml",
            "jinja2",
            "click",
            "typer",
            "pydantic",
            "antivenom",
            "cffi",
        ),
    }
)


@cache
def standard_modules() -> frozenset[str]:
    """The top modules of the standard library of every supported Python, whichever runs the scan."""
    text = (resources.files("antivenom.scan") / "lists" / "standard.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


@dataclass(frozen=True)
class Permission:
    """The permitted uses of a listed name.

    Fields:
        call: whether a file can call it. A class without this permission can still be created empty by `__new__` and
            given its state; a function can still be referenced, like the metric or activation that a model keeps.
        calls: index of the argument that it calls in turn, which must then be a listed name that can be called.
        state: index of the argument whose entries it sets as attributes.
        items: whether dict items that are added to it become its attributes.
        direct: whether only the stream itself can call it, because the scan checks its arguments and state.
    """

    call: bool = True
    calls: int | None = None
    state: int | None = None
    items: bool = False
    direct: bool = False


UNRESTRICTED = Permission()


@dataclass(frozen=True)
class AllowList:
    """Globals reviewed and found harmless for every argument.

    Fields:
        names: module -> name -> permission.
    """

    names: Mapping[str, Mapping[str, Permission]]

    def broken_rule(self, wanted: Global) -> Rule | None:
        """The rule that `wanted` breaks; None if it is listed."""
        if wanted.name in self.names.get(wanted.module, ()):
            return None
        top = wanted.module.partition(".")[0]
        return UNLISTED_GLOBAL if top in _PACKAGES or top in standard_modules() else UNREVIEWED_GLOBAL

    def permission(self, wanted: Global) -> Permission:
        """The permitted uses of `wanted`. Unlisted globals were reported on import; their use is unrestricted here."""
        names = self.names.get(wanted.module)
        return UNRESTRICTED if names is None else names.get(wanted.name, UNRESTRICTED)

    def extended(self, files: Iterable[Path]) -> AllowList:
        """This list joined with a team's own files. Raises ScanError if an entry lacks module, names or note."""
        merged = dict(self.names)
        for file in files:
            _merge(merged, _read(str(file), _content(file)))
        return AllowList(merged)


_Names = dict[str, Mapping[str, Permission]]


@cache
def allow_list(tier: Tier = Tier.VETTED) -> AllowList:
    """The allow list that is part of antivenom."""
    folder = resources.files("antivenom.scan") / "lists"
    merged: _Names = {}
    for name in ("tensors",) if tier is Tier.TENSORS else ("tensors", "vetted"):
        _merge(merged, _read(name, (folder / f"{name}.toml").read_text("utf-8")))
    return AllowList(merged)


def _merge(into: _Names, more: Mapping[str, Mapping[str, Permission]]) -> None:
    for module, names in more.items():
        into[module] = {**into.get(module, {}), **names}


def _content(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScanError("an allow list in TOML", str(error)).at(str(file)) from error


def _read(where: str, text: str) -> Mapping[str, Mapping[str, Permission]]:
    try:
        entries = tomllib.loads(text).get("allow", [])
    except tomllib.TOMLDecodeError as error:
        raise ScanError("an allow list in TOML", str(error)).at(where) from error
    found: _Names = {}
    for entry in entries:
        options = {key: value for key, value in entry.items() if key not in ("module", "names", "note")}
        match entry:
            case {"module": str(module), "names": [_, *_] as names, "note": str(note)} if note and _is_permission(
                options
            ):
                _merge(found, {module: dict.fromkeys(map(str, names), Permission(**options))})
            case _:
                raise ScanError(
                    "entries with module, names and note, optionally with call, calls, state, items or direct",
                    repr(entry)[:80],
                ).at(where)
    return found


def _is_permission(found: Mapping[str, object]) -> bool:
    kinds = {"call": bool, "calls": int, "state": int, "items": bool, "direct": bool}
    return all(type(value) is kinds.get(key) for key, value in found.items())
