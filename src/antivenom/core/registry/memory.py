"""Values in memory that a specification in JSON names by their fingerprint."""

from __future__ import annotations

from typing import Any

_KEPT: dict[str, Any] = {}


def keep(fingerprint: str, value: object) -> None:
    """Hold a value in this process, so that a specification can name it by its fingerprint."""
    _KEPT[fingerprint] = value


def kept(fingerprint: str) -> Any:
    """The value with that fingerprint, or None if this process does not hold it."""
    return _KEPT.get(fingerprint)


def all_kept() -> dict[str, Any]:
    """Every value held, to be sent to a worker process, which calls `keep` on each."""
    return dict(_KEPT)
