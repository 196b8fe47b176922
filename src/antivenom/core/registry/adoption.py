"""A user's own values as plugins: an object in memory, or `module:name`, takes the place of a registered plugin.

Each kind that allows this names one function, its adopter, which knows what may be adopted and how it is described.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from antivenom.core.registry.entry import Kind, load_builtin

Adopter = Callable[[Any], Any]
A = TypeVar("A", bound=Adopter)
_ADOPTERS: dict[Kind, Adopter] = {}
_KEPT: dict[str, Any] = {}


@runtime_checkable
class Described(Protocol):
    """A value that is not rebuilt from its fields, and so says itself what a specification holds of it."""

    def described(self) -> Mapping[str, Any]:
        """Plain JSON without the key `name`, from which the adopter of its kind makes an equal value."""
        ...


def adopts(*kinds: Kind) -> Callable[[A], A]:
    """Register the function that makes a plugin of these kinds from a user's value, or from what `described` returned."""

    def decorate(function: A) -> A:
        _ADOPTERS.update(dict.fromkeys(kinds, function))
        return function

    return decorate


def adopter(kinds: Iterable[Kind]) -> Adopter | None:
    """The function that makes plugins of one of these kinds from a user's values, or None."""
    load_builtin()
    return next((_ADOPTERS[kind] for kind in kinds if kind in _ADOPTERS), None)


def keep(fingerprint: str, value: Any) -> None:
    """Hold a value in this process, so that a specification can name it by its fingerprint."""
    _KEPT[fingerprint] = value


def kept(fingerprint: str) -> Any:
    """The value with that fingerprint, or None if it is not in this process."""
    return _KEPT.get(fingerprint)


def all_kept() -> dict[str, Any]:
    """Every value held, to be sent to a worker process, which calls `keep` on each."""
    return dict(_KEPT)
