"""Reads a pickle stream as CPython's two unpicklers do, and detects where they would behave differently."""

from __future__ import annotations

import sys

from antivenom.scan.limits import LimitReached
from antivenom.scan.rules import MALFORMED, STRADDLING_FRAME, Rule
from antivenom.scan.view import View

WINDOW = 1 << 18
LONGEST_LINE = 1 << 24


class Fault(Exception):
    """Ends the reading of a stream, because it is broken or because unpicklers disagree: a rule and a detail."""

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(rule, detail)
        self.rule, self.detail = rule, detail


def malformed(detail: str) -> Fault:
    return Fault(MALFORMED, detail)


class Reader:
    """A position in a view. An argument that crosses the end of a frame is a Fault.

    The C unpickler reads across the end of a frame, the Python one stops there.

    Fields:
        data, next, edge: the bytes in memory, the index of the next byte, and the index where they or the frame end, so
            that one comparison checks both. The machine's loop reads these fields directly, for speed.
        first: offset in the view of the first byte of `data`.
        frame_end: offset in the view where the frame ends; -1 outside of frames.
    """

    __slots__ = ("_view", "data", "edge", "first", "frame_end", "next")

    def __init__(self, view: View, start: int = 0) -> None:
        self._view = view
        self.frame_end = -1
        self._move(start)

    @property
    def at(self) -> int:
        """Offset of the next byte."""
        return self.first + self.next

    def opcode(self) -> int:
        """The next opcode. It leaves a frame that has ended. Raises Fault at the end of the stream."""
        if self.next >= self.edge:
            if 0 <= self.frame_end <= self.at:
                self.frame_end = -1
            self._ensure(1)
        code = self.data[self.next]
        self.next += 1
        return code

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises Fault if there are fewer."""
        if self.next + count > self.edge:
            self._ensure(count)
        data = self.data[self.next : self.next + count]
        self.next += count
        return data

    def byte(self) -> int:
        if self.next >= self.edge:
            self._ensure(1)
        value = self.data[self.next]
        self.next += 1
        return value

    def uint(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def skip(self, count: int) -> View:
        """Skips the next `count` bytes without reading them; returns a view of them."""
        at = self.at
        self._check(count)
        self.next += count
        if self.next > len(self.data):
            self._move(self.at)
        return self._view.window(at, count)

    def line(self) -> bytes:
        """The bytes up to a newline, without it.

        At the end of the file, the Python unpickler accepts a line without a newline and drops its last byte.
        """
        end = self.data.find(b"\n", self.next)
        if end >= 0:
            return self.take(end - self.next + 1)[:-1]
        at, length = self.at, len(self.data) - self.next
        while end < 0:
            if length > LONGEST_LINE:
                raise LimitReached("bytes in a line", LONGEST_LINE)
            more = self._view.read(at + length, WINDOW)
            if not more:
                if self.frame_end >= 0:
                    self._check(length + 1)
                return self.take(length)[:-1]
            end = more.find(b"\n")
            length += len(more) if end < 0 else end + 1
        return self.take(length)[:-1]

    def frame(self, length: int) -> None:
        """Begin a frame of `length` bytes. The Python unpickler accepts a frame that is longer than the file."""
        if self.frame_end > self.at:
            raise Fault(STRADDLING_FRAME, "a frame begins inside another")
        if length > sys.maxsize:
            raise malformed(f"a frame of {length} bytes")
        self.frame_end = self.at + length
        self.edge = min(len(self.data), self.frame_end - self.first)

    def jump(self, offset: int) -> None:
        """Continue at `offset`, behind raw bytes that are not opcodes."""
        if self.frame_end > self.at:
            raise Fault(STRADDLING_FRAME, "raw bytes begin inside a frame")
        self.frame_end = -1
        self._move(offset)

    def _check(self, count: int) -> None:
        at = self.at
        if at + count > self.frame_end >= 0:
            raise Fault(STRADDLING_FRAME, "an opcode's argument crosses the end of its frame")
        if at + count > len(self._view):
            raise malformed(f"{count} bytes announced, {len(self._view) - at} left")

    def _ensure(self, count: int) -> None:
        self._check(count)
        if self.next + count > len(self.data):
            self._move(self.at, count)
        else:
            self.edge = len(self.data)

    def _move(self, offset: int, count: int = 1) -> None:
        self.first, self.next = offset, 0
        self.data = self._view.read(offset, max(count, WINDOW))
        self.edge = len(self.data) if self.frame_end < 0 else min(len(self.data), self.frame_end - offset)
