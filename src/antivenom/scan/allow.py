"""The globals that a file can import: exact (module, name) pairs in tiers, each with a note on its review."""

from __future__ import annotations

import enum
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from antivenom.core.errors import ScanError
from antivenom.scan.danger import danger
from antivenom.scan.rules import DANGEROUS_GLOBAL, UNREVIEWED_GLOBAL, Rule
from antivenom.scan.stubs import Global


class Tier(enum.StrEnum):
    """How many globals a list admits: those that tensors need, or also those that fitted models need."""

    TENSORS = "tensors"
    VETTED = "vetted"


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
        return DANGEROUS_GLOBAL if danger(wanted.module, wanted.name) else UNREVIEWED_GLOBAL

    def permission(self, wanted: Global) -> Permission:
        """The permitted uses of `wanted`. Unlisted globals were reported on import; their use is unrestricted here."""
        names = self.names.get(wanted.module)
        return UNRESTRICTED if names is None else names.get(wanted.name, UNRESTRICTED)

    def extended(self, files: Iterable[Path]) -> AllowList:
        """This list joined with a team's own files.

        Raises ScanError if an entry lacks module, names or note, if it stands for more than one name, and if a name is
        known to be dangerous.
        """
        merged = dict(self.names)
        for file in files:
            own = _read(str(file), _content(file))
            for module, names in own.items():
                for name in names:
                    _require_harmless(module, name, str(file))
            _merge(merged, own)
        return AllowList(merged)


_Names = dict[str, Mapping[str, Permission]]
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def add_names(path: Path, names: Iterable[str], note: str, call: bool = False) -> None:
    """Append names to a team's allow list, which `AllowList.extended` reads; the file is made if it is not there.

    Fields:
        path: the list, in TOML.
        names: dotted names; a colon can show where the module ends, as in `package.module:Outer.inner`.
        note: who reviewed them, and what was found.
        call: whether files can also call them, instead of creating empty objects and giving them their state.

    Raises ScanError for anything but one dotted name, and for a name that is known to be dangerous.
    """
    pairs = [_pair(each) for each in names]
    if not note.strip():
        raise ScanError("a note on the review", "an empty one")
    for module, name in pairs:
        _require_harmless(module, name, str(path))
    entries = "".join(
        f"\n[[allow]]\nmodule = {json.dumps(module)}\nnames = [{json.dumps(name)}]\n"
        + ("" if call else "call = false\n")
        + f"note = {json.dumps(note)}\n"
        for module, name in pairs
    )
    try:
        text = path.read_text("utf-8") if path.exists() else "# Names that files may import: antivenom scan --allow\n"
        _read(str(path), text + entries)
        path.write_text(text + entries, "utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScanError("an allow list in TOML that can be written", str(error)).at(str(path)) from error


def _pair(dotted: str) -> tuple[str, str]:
    module, colon, name = dotted.partition(":")
    if not colon:
        module, _, name = dotted.rpartition(".")
    if not (_DOTTED.fullmatch(module) and _DOTTED.fullmatch(name)):
        raise ScanError("one dotted name, such as package.module.Class", dotted, "list each name on its own")
    return module, name


def _require_harmless(module: str, name: str, where: str) -> None:
    if why := danger(module, name):
        raise ScanError(
            "a name that cannot run code by itself", f"{module}.{name}: {why}", "do not load files that need it"
        ).at(where)


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
            case {"module": str(module), "names": [_, *_] as names, "note": str(note)} if (
                note and _is_permission(options) and all(_DOTTED.fullmatch(str(name)) for name in (module, *names))
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
