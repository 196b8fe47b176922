"""Which globals a file may import: exact (module, name) pairs, in tiers, with the note of who reviewed them."""

from __future__ import annotations

import enum
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from antivenom.errors import ScanError
from antivenom.scan.rules import UNLISTED_GLOBAL, UNREVIEWED_GLOBAL, Rule
from antivenom.scan.stubs import Global


class Tier(enum.StrEnum):
    """How much a file may need."""

    TENSORS = "tensors"
    VETTED = "vetted"


# Packages that are on most machines and were searched for callables: what is not listed of them was not forgotten.
_SEARCHED = frozenset(sys.stdlib_module_names) | {
    *("numpy", "scipy", "sklearn", "joblib", "torch", "torchvision", "xgboost", "lightgbm", "catboost", "pandas"),
    *("tensorflow", "keras", "onnx", "transformers", "huggingface_hub", "safetensors", "dill", "cloudpickle", "skops"),
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
    *("requests", "urllib3", "aiohttp", "httpx", "yaml", "jinja2", "click", "typer", "pydantic", "antivenom", "cffi"),
}


@dataclass(frozen=True)
class AllowList:
    """Globals reviewed and found harmless for every argument.

    Fields:
        names: module -> names.
    """

    names: Mapping[str, frozenset[str]]

    def judge(self, wanted: Global) -> Rule | None:
        """The rule that `wanted` breaks; None if it is listed."""
        if wanted.name in self.names.get(wanted.module, ()):
            return None
        return UNLISTED_GLOBAL if wanted.module.partition(".")[0] in _SEARCHED else UNREVIEWED_GLOBAL

    def extended(self, files: Iterable[Path]) -> AllowList:
        """This list and those of a team's files. Raises ScanError if a file says no module, names or note."""
        merged = dict(self.names)
        for file in files:
            for module, names in _read(str(file), _content(file)).items():
                merged[module] = merged.get(module, frozenset()) | names
        return AllowList(merged)


@cache
def allow_list(tier: Tier = Tier.VETTED) -> AllowList:
    """The list that comes with antivenom."""
    folder = resources.files("antivenom.scan") / "lists"
    merged: dict[str, frozenset[str]] = {}
    for name in ("tensors",) if tier is Tier.TENSORS else ("tensors", "vetted"):
        for module, names in _read(name, (folder / f"{name}.toml").read_text("utf-8")).items():
            merged[module] = merged.get(module, frozenset()) | names
    return AllowList(merged)


def _content(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScanError("an allow list in TOML", str(error)).at(str(file)) from error


def _read(where: str, text: str) -> dict[str, frozenset[str]]:
    try:
        entries = tomllib.loads(text).get("allow", [])
    except tomllib.TOMLDecodeError as error:
        raise ScanError("an allow list in TOML", str(error)).at(where) from error
    found: dict[str, frozenset[str]] = {}
    for entry in entries:
        module, names, note = (entry.get(key) for key in ("module", "names", "note"))
        if not (isinstance(module, str) and isinstance(names, list) and names and isinstance(note, str) and note):
            raise ScanError(
                "entries of module, names and note", repr(entry)[:80], "[[allow]] needs all three; the note says why"
            ).at(where)
        found[module] = found.get(module, frozenset()) | frozenset(map(str, names))
    return found
