"""Reading a pickle stream as CPython's two unpicklers do, and noticing where they would part ways."""

from __future__ import annotations

from antivenom.scan.rules import MALFORMED, STRADDLING_FRAME, Rule
from antivenom.scan.view import View

WINDOW = 1 << 18


class Fault(Exception):
    """The stream ends here for every unpickler, or they disagree: a rule and a detail."""

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(rule, detail)
        self.rule, self.detail = rule, detail


def malformed(detail: str) -> Fault:
    return Fault(MALFORMED, detail)


class Reader:
    """A position in a view. The C unpickler reads through the end of a frame, the Python one stops there: an error here."""

    __slots__ = ("_data", "_first", "_next", "_view", "frame_end")

    def __init__(self, view: View, start: int = 0) -> None:
        self._view = view
        self._first = start  # offset in the view of the window's first byte
        self._next = 0  # index in the window
        self._data = view.read(start, WINDOW)
        self.frame_end = -1

    @property
    def at(self) -> int:
        """Offset of the next byte."""
        return self._first + self._next

    def opcode(self) -> int:
        """The next byte. Raises Fault at the end of the stream."""
        if self._next >= len(self._data):
            self._refill(1)
        code = self._data[self._next]
        self._next += 1
        return code

    def take(self, count: int) -> bytes:
        """The next `count` bytes, all of them or a Fault."""
        if self._next + count > len(self._data):
            self._refill(count)
        data = self._data[self._next : self._next + count]
        self._next += count
        if self._first + self._next > self.frame_end >= 0:
            self._crossed()
        return data

    def skip(self, count: int) -> View:
        """The window of the next `count` bytes, unread."""
        at = self.at
        if at + count > len(self._view):
            raise malformed(f"{count} bytes announced, {len(self._view) - at} left")
        self._next += count
        if at + count > self.frame_end >= 0:
            self._crossed()
        return self._view.within(at, count)

    def line(self) -> bytes:
        """The bytes up to a newline, without it."""
        end = self._data.find(b"\n", self._next)
        if end < 0:
            rest = self._view.read(self.at, WINDOW)
            end = rest.find(b"\n")
            if end < 0:
                raise malformed("a line without an end")
            self._first, self._next, self._data = self.at, 0, rest
        return self.take(end - self._next + 1)[:-1]

    def uint(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def frame(self, length: int) -> None:
        """Begin a frame of `length` bytes here."""
        if self.frame_end > self.at:
            raise Fault(STRADDLING_FRAME, "a frame begins inside another")
        if self.at + length > len(self._view):
            raise malformed(f"a frame of {length} bytes, {len(self._view) - self.at} left")
        self.frame_end = self.at + length

    def between_opcodes(self) -> None:
        """To be called before each opcode: leave a frame that has ended."""
        if 0 <= self.frame_end <= self._first + self._next:
            self.frame_end = -1

    def jump(self, offset: int) -> None:
        """Go on at `offset`, behind raw bytes that are no opcodes."""
        if self.frame_end > self.at:
            raise Fault(STRADDLING_FRAME, "raw bytes begin inside a frame")
        self.frame_end = -1
        self._first, self._next = offset, 0
        self._data = self._view.read(offset, WINDOW)

    def _crossed(self) -> None:
        raise Fault(STRADDLING_FRAME, "an opcode's argument crosses the end of its frame")

    def _refill(self, count: int) -> None:
        at = self.at
        if at + count > len(self._view):
            raise malformed("the stream ends before STOP")
        self._first, self._next = at, 0
        self._data = self._view.read(at, max(count, WINDOW))
