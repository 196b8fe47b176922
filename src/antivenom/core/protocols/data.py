"""The call signature of a source of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from antivenom.core.streams import Streams

if TYPE_CHECKING:
    from antivenom.data import Dataset, Split


class Source(Protocol):
    """Where rows come from: a named data set, a file, a folder, a function, or a value in memory.

    A source may also be `Fingerprinted` or `Unsplit`. If it is not `Fingerprinted`, `antivenom.data.fingerprint` hashes the rows
    that it returns.
    """

    def __call__(self, streams: Streams, /) -> Split:
        """Training and test rows. Streams with equal seeds give equal rows."""
        ...


@runtime_checkable
class Unsplit(Protocol):
    """A source whose rows have an order of their own, such as that of the lines of a file."""

    def unsplit(self) -> Dataset:
        """All rows in that order, before a split into training and test rows; rows of a separate test part are left out."""
        ...


@runtime_checkable
class Fingerprinted(Protocol):
    """A source that can identify its bytes without parsing them into rows. The fingerprint is part of a record's key."""

    def fingerprint(self) -> str:
        """The SHA-256 of the data's bytes, as "sha256:" and 64 hexadecimal digits."""
        ...
