"""Values in memory, such as a user's data set, which a trial's specification in JSON names by their fingerprint."""

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
    """All values held. They are sent to every worker process, which calls `keep` on each."""
    return dict(_KEPT)
