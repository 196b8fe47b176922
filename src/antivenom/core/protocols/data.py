"""The call shape of where rows come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from antivenom.core.streams import Streams

if TYPE_CHECKING:
    from antivenom.data import Split


class Source(Protocol):
    """Where rows come from: a named set, a file, a folder, a function, or a value in memory.

    A source may also have `fingerprint()`, as Fingerprinted says; `antivenom.data.fingerprint` hashes the rows of one
    that has none.
    """

    def __call__(self, streams: Streams, /) -> Split:
        """The rows in two parts. Streams with equal seeds give equal parts."""
        ...


@runtime_checkable
class Fingerprinted(Protocol):
    """A source that can say which bytes it reads without making rows of them."""

    def fingerprint(self) -> str:
        """The sha256 of the data's bytes, as "sha256:" and 64 hexadecimal digits."""
        ...
