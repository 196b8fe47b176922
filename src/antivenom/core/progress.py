"""The file in which a long trial keeps its progress, so that the trial goes on from there after it was killed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

_file: ContextVar[Path | None] = ContextVar("progress", default=None)


@contextlib.contextmanager
def kept_in(file: Path | None) -> Iterator[None]:
    """Let the trial that runs inside the block keep its progress in this file; None keeps none."""
    token = _file.set(file)
    try:
        yield
    finally:
        _file.reset(token)


def progress_file() -> Path | None:
    """The file of the trial that is running, or None."""
    return _file.get()
