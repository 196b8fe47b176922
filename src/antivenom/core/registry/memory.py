"""Values in memory, such as a user's models and rows, which a trial's specification in JSON can only name."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping
from typing import Any

Described = Mapping[str, Any]
_KEPT: dict[str, Any] = {}
_WATCHED: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


def keep(described: Described, value: object, weakly: bool = False) -> None:
    """Remember the value that a mapping in a specification stands for.

    Args:
        described: the mapping. It holds `fingerprint`, which tells the value from others of its kind.
        weakly: only while somebody else holds the value, which may be large.
    """
    if weakly:
        _WATCHED.setdefault(_key(described), value)
    else:
        _KEPT[_key(described)] = value


def kept(described: Described) -> Any:
    """The value that the mapping stands for, or None if this process does not have it."""
    key = _key(described)
    return _KEPT.get(key, _WATCHED.get(key))


def named_in(spec: object) -> list[tuple[Described, Any]]:
    """Every mapping in a specification that stands for a value of this process, with the value."""
    if isinstance(spec, (list, tuple)):
        return [found for item in spec for found in named_in(item)]
    if not isinstance(spec, Mapping):
        return []
    value = kept(spec) if "fingerprint" in spec else None
    return [(spec, value)] if value is not None else named_in([*spec.values()])


def _key(described: Described) -> str:
    return json.dumps(described, sort_keys=True)
