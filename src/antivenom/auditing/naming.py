"""Short names of attacks, defences, data and models. The full label, with every field that differs from its default, is folded."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from antivenom.core.registry import ATTACKS, DEFENCES, entries

MOST = 60  # characters of a short name
_SHARE = "poisoned_rate"  # the field that holds the share of rows, by convention


@dataclass(frozen=True)
class Parts:
    """A label taken apart, such as "Scaled(SignFlip, factor=3)".

    Fields:
        name: the plugin's name, "Scaled".
        inner: labels of values in its fields, such as "SignFlip".
        fields: other fields with their values as text, such as factor: 3.
    """

    name: str
    inner: tuple[str, ...]
    fields: Mapping[str, str]


def parts_of(label: str) -> Parts:
    """The parts of a label. Text of any other form is a name without fields.

    >>> parts_of("LineSearch(ALIE(z=1), Krum, centre=benign)")
    Parts(name='LineSearch', inner=('ALIE(z=1)', 'Krum'), fields={'centre': 'benign'})
    """
    name, opened, rest = label.partition("(")
    if not opened or not rest.endswith(")") or not name.isidentifier():
        return Parts(label, (), {})
    items = _split(rest[:-1])
    fields = dict(item.split("=", 1) for item in items if _is_field(item))
    return Parts(name, tuple(item for item in items if not _is_field(item)), fields)


def _is_field(item: str) -> bool:
    return "=" in item and item.split("=", 1)[0].isidentifier()


def _split(text: str) -> list[str]:
    """The text split at commas outside of brackets."""
    items, depth, begun = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            items.append(text[begun:i].strip())
            begun = i + 1
    return [item for item in (*items, text[begun:].strip()) if item]


def short(label: str, absent: str = "none") -> str:
    """A short name: the plugin's, that of the attack or defence inside it, and the share of rows.

    >>> short("LabelFlipping(poisoned_rate=0.1, choice=lowest-loss)")
    'LabelFlipping, 10% of rows'

    Args:
        label: the full label; see `grid.label`.
        absent: what to write for "none".
    """
    return absent if label == "none" else _cut(_named(parts_of(label)))


def _named(parts: Parts, more: Iterable[str] = ()) -> str:
    inner = [part.name for part in map(parts_of, parts.inner) if part.name in _plugins()]
    text = f"{parts.name} with {' and '.join(inner)}" if inner else parts.name
    return ", ".join([text, *_share(parts), *(f"{name} {parts.fields[name]}" for name in more)])


def _share(parts: Parts) -> list[str]:
    try:
        return [f"{100 * float(parts.fields[_SHARE]):.3g}% of rows"]
    except (KeyError, ValueError):
        return []


def _cut(text: str) -> str:
    return text if len(text) <= MOST else text[: MOST - 1] + "…"


def shorts(labels: Iterable[str]) -> dict[str, str]:
    """Short names of labels that stand beside each other. Equal ones get the fields in which they differ."""
    alike: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels):
        alike.setdefault(short(label), []).append(label)
    found: dict[str, str] = {}
    for name, group in alike.items():
        if len(group) == 1:
            found[group[0]] = name
            continue
        each = {label: parts_of(label) for label in group}
        names = dict.fromkeys(field for parts in each.values() for field in parts.fields if field != _SHARE)
        differing = [n for n in names if len({parts.fields.get(n) for parts in each.values()}) > 1]
        for number, (label, parts) in enumerate(each.items(), start=1):
            own = _cut(_named(parts, [field for field in differing if field in parts.fields]))
            found[label] = own if own not in found.values() else f"{own} ({number})"
    return found


def details(label: str) -> str:
    """The fields of a label as text; empty if it has none."""
    parts = parts_of(label)
    return "" if parts.name == label else label[len(parts.name) + 1 : -1]


@functools.lru_cache(maxsize=1)
def _plugins() -> frozenset[str]:
    """The names of all attacks and defences."""
    return frozenset(entry.name for entry in entries(*ATTACKS, *DEFENCES))


def about(label: str) -> str:
    """What an attack or defence does, in the words of its description; empty if it is not known here."""
    name = parts_of(label).name
    return next((entry.about for entry in entries(*ATTACKS, *DEFENCES) if entry.name == name), "")


def of_value(value: object) -> str:
    """A value of a scenario's field, such as its data or model, as a short name; "not stated" if there is none.

    >>> of_value({"name": "TableFile", "path": "data/loans.csv", "label": "default"})
    'loans.csv'
    >>> of_value({"name": "Sklearn", "estimator": "sklearn.svm.SVC"})
    'SVC'
    >>> of_value({"architecture": "my_package.net:Net", "fingerprint": "7d1c"})
    'my_package.net:Net'
    """
    if isinstance(value, Mapping):
        for key in ("path", "data", "architecture", "estimator", "training", "black_box", "function"):
            if isinstance(value.get(key), str) and value[key]:
                text = str(value[key]).rstrip("/")
                whole = key == "path" or ":" in text
                return _cut(text.rsplit("/", 1)[-1] if whole else text.rsplit(".", 1)[-1])
        return _cut(str(value.get("name", "not stated")))
    return _cut(str(value)) if isinstance(value, str) and value else "not stated"
