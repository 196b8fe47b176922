"""What the pickle machine tells, and to whom."""

from __future__ import annotations

from typing import Protocol

from antivenom.scan.stubs import Global


class Watcher(Protocol):
    """Who is told what the stream would do, at the moment it would do it."""

    def imported(self, wanted: Global) -> None:
        """A global is looked up."""

    def called(self, callee: object, arguments: object, at: int, bare: bool) -> object:
        """Something is called, or made `bare` by its `__new__`; the return value stands for the result."""

    def patched(self, target: object, at: int) -> None:
        """An imported object itself is given items or state."""

    def extension(self, code: int, at: int) -> None:
        """A copyreg extension code is looked up."""

    def persistent(self, identity: object, at: int) -> object:
        """The loader is asked for an object by a persistent id; the return value stands for it."""

    def disputed(self, detail: str, at: int) -> None:
        """One unpickler refuses a value here, the other does not; the stream is followed."""

    def built(self, target: object, after: int) -> int:
        """BUILD is done; where the stream goes on, `after` unless the loader reads raw bytes here."""
        return after
