"""Where text goes: a console for people, plain wherever nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")
COLUMNS = (BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())


def console(stream: TextIO) -> Console:
    """80 columns where the width is not a terminal's; colour only on a terminal, never with NO_COLOR."""
    width = None if stream.isatty() else 80
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


def watch(items: Iterable[Item], total: int, doing: str) -> Iterator[Item]:
    """Pass items through and show on stderr how many have come: a bar, or a line every few seconds."""
    if not sys.stderr.isatty():
        yield from _lines(items, total, doing)
        return
    with Progress(TextColumn(doing), *COLUMNS, console=console(sys.stderr), transient=True) as progress:
        task = progress.add_task(doing, total=total)
        for item in items:
            progress.advance(task)
            yield item


def _lines(items: Iterable[Item], total: int, doing: str) -> Iterator[Item]:
    started = said = time.monotonic()
    for done, item in enumerate(items, start=1):
        now = time.monotonic()
        if now - said >= 5:
            said = now
            print(f"{doing}: {done} of {total}, {now - started:.0f} s", file=sys.stderr)
        yield item
