"""The events that the pickle machine reports."""

from __future__ import annotations

from typing import Protocol

from antivenom.scan.stubs import Global


class Watcher(Protocol):
    """Receives each action of a stream at the point where an unpickler would perform it."""

    def imported(self, wanted: Global) -> None:
        """A global is imported."""

    def called(self, callee: object, arguments: object, at: int, bare: bool) -> object:
        """An object is called, or `bare` created by `__new__`. Returns a stand-in for the result."""

    def patched(self, target: object, at: int) -> None:
        """Items or state are set on an imported object itself."""

    def extension(self, code: int, at: int) -> None:
        """A copyreg extension code is resolved."""

    def persistent(self, identity: object, at: int) -> object:
        """The loader's persistent_load is called. Returns a stand-in for the object."""

    def disputed(self, detail: str, at: int) -> None:
        """One unpickler refuses a value that the other accepts. The machine continues."""

    def built(self, target: object, after: int) -> int:
        """BUILD has set a state. Returns the offset of the next opcode: `after`, or more if raw bytes follow here."""
        return after
