"""The catalogue of plugins and data sets that `antivenom list` and `antivenom show` print.

catalogue.json holds the outline of the registry and the list of data sets, so that these commands import no plugins. A test
fails when the file is out of date; `make catalogue` writes it again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import json
from collections.abc import Iterator, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from antivenom.auditing.grid import label
from antivenom.core.errors import PluginError, ScenarioError, did_you_mean
from antivenom.core.registry import ATTACKS, DEFENCES, ENTRY_POINTS, Entry, Kind, entries, fields_of, find, load_file
from antivenom.core.registry.outline import outlined, spelled, written
from antivenom.core.threat import Access

_KINDS: dict[str, tuple[Kind, ...]] = {
    "attacks": ATTACKS,
    "defences": DEFENCES,
    "models": (Kind.ARCHITECTURE, Kind.ESTIMATOR),
    "scenarios": (Kind.SCENARIO,),
    "goals": (Kind.GOAL,),
    "data": (),
    "all": tuple(Kind),
}


@functools.cache
def stored() -> dict[str, Any]:
    """The content of catalogue.json: "registry" (see `outline.written`), "data" and "needs" (see `recommend`)."""
    text = resources.files("antivenom.auditing").joinpath("catalogue.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def current() -> dict[str, Any]:
    """The content that catalogue.json should have, made of the loaded registry. This imports every plugin."""
    from antivenom.auditing.recommend import current_needs
    from antivenom.data import DATASETS

    data = [
        {"name": each.name, "about": each.about, "files": [[file.filename, file.url] for file in each.files]}
        for each in DATASETS.values()
    ]
    return {"registry": written(), "data": data, "needs": current_needs()}


@contextlib.contextmanager
def known(plugins: Sequence[Path] = ()) -> Iterator[bool]:
    """Inside the block the registry knows every plugin. The value is True if it holds the plugins, False for stand-ins.

    Stand-ins from the catalogue suffice unless there are plugin files or installed third parties with plugins. Then the
    plugins themselves are imported.
    """
    if plugins or metadata.entry_points(group=ENTRY_POINTS):
        for path in plugins:
            load_file(path)
        yield True
    else:
        with outlined(stored()["registry"], [data["name"] for data in stored()["data"]]):
            yield False


def rows(
    what: str = "all", access: str | None = None, goal: str | None = None, kind: str | None = None
) -> list[dict[str, Any]]:
    """One mapping for each plugin and data set that matches all of the given conditions.

    Args:
        what: "attacks", "defences", "models", "scenarios", "goals", "data" or "all".
        access: an access level.
        goal: the name of a goal.
        kind: a kind of plugin, or its last word: "detector" stands for both kinds of detector.

    Raises:
        ScenarioError: an unknown word; the message holds the most similar known one.
    """
    by_word = {word: [k for k in Kind if word in (k, k.split()[-1])] for k in Kind for word in (str(k), k.split()[-1])}
    goals = [entry.name for entry in entries(Kind.GOAL)]
    for value, known, shown, name in (
        (what, _KINDS, _KINDS, "the name of a list"),
        (access, list(Access), list(Access), "an access level"),
        (goal, goals, goals, "the name of a goal"),
        (kind, by_word, list(Kind), "a kind of plugin"),
    ):
        if value is not None and value not in {str(k) for k in known}:
            raise ScenarioError(name, repr(value), did_you_mean(value, map(str, shown)))
    kinds = [k for k in _KINDS[what] if kind is None or k in by_word[kind]]
    found = [_row(entry) for entry in entries(*kinds) if _matches(entry, access, goal)] if kinds else []
    if what in ("data", "all") and access is None and goal is None and kind is None:
        found += [{"kind": "data", "name": data["name"], "about": data["about"]} for data in stored()["data"]]
    return found


def _matches(entry: Entry, access: str | None, goal: str | None) -> bool:
    return (access is None or access in entry.access) and (goal is None or goal in entry.goals)


def _row(entry: Entry) -> dict[str, object]:
    return {
        "kind": str(entry.kind),
        "name": entry.name,
        "about": entry.about,
        "access": [str(level) for level in entry.access],
        "goals": [str(goal) for goal in entry.goals],
        "reference": entry.cite,
        "origin": entry.origin,
    }


def page(name: str) -> str:
    """The description of one plugin or data set, as text.

    Raises:
        PluginError: nothing of that name is known.
    """
    data = next((each for each in stored()["data"] if each["name"] == name), None)
    if data is not None:
        places = [f"  {file}: {url}" for file, url in data["files"]] or ["  no file: comes with scikit-learn"]
        return "\n".join([f"{name} (data)", "", data["about"], "", *places])
    known = {each.name for each in entries()}
    if name not in known:
        known |= {each["name"] for each in stored()["data"]}
        raise PluginError("the name of a plugin or a data set", repr(name), did_you_mean(name, known, "antivenom list"))
    entry = find(name)
    lines = [f"{entry.name} ({entry.kind}, from {entry.origin})", "", inspect.getdoc(entry.cls) or "", ""]
    lines += _fields(entry.cls)
    if entry.access:
        lines += ["", f"Access: {', '.join(entry.access)}"]
    if entry.goals:
        lines.append(f"Goals: {', '.join(entry.goals)}")
    if entry.traits is not None:
        lines += ["", f"Takes: {', '.join(entry.traits.arrows)}"]
        lines += [f"Level {level.name}: {level.about}" for level in entry.traits.levels]
    return "\n".join([*lines, f"Reference: {entry.cite}"] if entry.cite else lines)


def _fields(cls: type) -> list[str]:
    """One line for each field: name, type and default."""
    hints = fields_of(cls)
    found = []
    for field in dataclasses.fields(cls):
        default = "required" if field.default is dataclasses.MISSING else f"default {label(field.default)}"
        found.append(f"  {field.name}: {spelled(hints[field.name])}, {default}")
    return found


if __name__ == "__main__":
    content = json.dumps(current(), indent=1, ensure_ascii=False) + "\n"
    Path(__file__).with_name("catalogue.json").write_text(content, encoding="utf-8")
