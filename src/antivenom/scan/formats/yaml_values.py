"""YAML read by a real parser into plain values: with aliases, merges, tags and escapes, but without constructing objects.

Events are read one by one and put together without recursion, so that neither deep nesting nor aliases of aliases cost
more than their length. Values that aliases share are shared here, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from antivenom.scan.limits import Meter

_WORDS: dict[str, object] = {
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}


@dataclass
class Documents:
    """What was read before the end, or before the first error.

    Fields:
        values: one plain value for each document that is complete: dicts, lists, text, true, false and null.
        tags: the tags that the text gives explicitly, in full.
        repeated: keys that occur twice in one mapping; loaders disagree on which counts.
        error: why reading stopped; empty at the end of the text.
    """

    values: list[object] = field(default_factory=list)
    tags: dict[str, None] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    error: str = ""


@dataclass
class _Open:
    """A mapping or sequence whose end has not been read."""

    value: dict[str, object] | list[object]
    key: str | None = None
    merged: list[object] = field(default_factory=list)


def read(text: str, meter: Meter) -> Documents:
    """The documents of a text. Raises LimitReached."""
    import yaml

    found, anchors, stack = Documents(), dict[str, object](), list[_Open]()
    try:
        for event in _events(text):
            meter.spend("opcodes", 1)
            if isinstance(event, yaml.DocumentStartEvent):
                anchors.clear()
            elif isinstance(event, yaml.AliasEvent):
                _put(found, stack, anchors.get(event.anchor or ""), meter)
            elif isinstance(event, yaml.ScalarEvent):
                _tagged(found, event)
                value = _WORDS.get(event.value, event.value) if event.implicit[0] else event.value
                _anchored(anchors, event, value)
                _put(found, stack, value, meter)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                _tagged(found, event)
                container: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
                _anchored(anchors, event, container)
                _put(found, stack, container, meter)
                stack.append(_Open(container))
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                _close(stack.pop(), meter)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        found.error = str(error).partition("\n")[0] or type(error).__name__
    return found


def _events(text: str) -> Iterator[Any]:
    import yaml

    return iter(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def _tagged(found: Documents, event: Any) -> None:
    if event.tag and event.tag != "!":
        found.tags[event.tag] = None


def _anchored(anchors: dict[str, object], event: Any, value: object) -> None:
    if event.anchor:
        anchors[event.anchor] = value


def _put(found: Documents, stack: list[_Open], value: object, meter: Meter) -> None:
    """Give a value to the innermost open container: as item, as key or as the value of its key."""
    if not stack:
        found.values.append(value)
        return
    top = stack[-1]
    if isinstance(top.value, list):
        top.value.append(value)
    elif top.key is None:
        if isinstance(value, (dict, list)):
            found.values.append(value)  # a key that is a container; what is in it is checked on its own
        top.key = value if isinstance(value, str) else str(value) if not isinstance(value, (dict, list)) else "?"
    else:
        key, top.key = top.key, None
        if key == "<<":
            top.merged += value if isinstance(value, list) else [value]
        else:
            if key in top.value:
                found.repeated.append(key)
                found.values.append({key: top.value[key]})
            top.value[key] = value


def _close(done: _Open, meter: Meter) -> None:
    if isinstance(done.value, dict):
        for merged in done.merged:
            if isinstance(merged, dict):
                meter.spend("opcodes", len(merged))
                for key, value in list(merged.items()):
                    done.value.setdefault(key, value)
