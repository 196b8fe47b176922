"""Consoles and progress displays: styled on a terminal, plain text in a pipe or a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from antivenom.core.unread import unread

Item = TypeVar("Item")
COLUMNS = (BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())


class _Console(Console):
    """A console whose reader may leave. Rich would end the command with code 1, which means a breach."""

    def on_broken_pipe(self) -> None:
        unread(self.file)


def console(stream: TextIO) -> Console:
    """A rich console on the stream.

    Off a terminal it is 80 columns wide and has no colour, so that logs and tests see the same text everywhere. On a
    terminal, rich takes the width from it and honours NO_COLOR.
    """
    width = None if stream.isatty() else 80
    return _Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


def watch(items: Iterable[Item], total: int, doing: str) -> Iterator[Item]:
    """Yield the items unchanged and report progress on stderr: a bar on a terminal, else a line every five seconds.

    Args:
        items: whatever is iterated over.
        total: how many items to expect.
        doing: what is being done, the label of the bar or line.
    """
    if not sys.stderr.isatty():
        yield from _with_lines(items, total, doing)
        return
    with Progress(TextColumn(doing), *COLUMNS, console=console(sys.stderr), transient=True) as progress:
        task = progress.add_task(doing, total=total)
        for item in items:
            progress.advance(task)
            yield item


def _with_lines(items: Iterable[Item], total: int, doing: str) -> Iterator[Item]:
    started = last_line = time.monotonic()
    for done, item in enumerate(items, start=1):
        now = time.monotonic()
        if now - last_line >= 5:
            last_line = now
            print(f"{doing}: {done} of {total}, {now - started:.0f} s", file=sys.stderr)
        yield item
