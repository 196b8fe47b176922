"""Records without the places of the machine that made them: folders, and with them the user's name."""

from __future__ import annotations

import functools
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import antivenom

# Identifying fields are left as they are, since the record's key is their hash. A path in them is one that the user wrote.
_KEPT = ("key", "spec", "code", "data", "version", "cells")
_IN_TRACEBACK = re.compile(r'(?m)(^\s*File ")/[^"\n]*?((?:[^/"\n]+/)?[^/"\n]+")')


def without_places(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the folders of this machine replaced in its texts.

    The current folder becomes ".", the user's home folder "~", the folder of temporary files "tmp", and the folders of
    installed packages are left out. Files in tracebacks keep the last two parts of their path.

    >>> without_places({"error": f"no file {os.getcwd()}/rows.csv"})
    {'error': 'no file ./rows.csv'}
    """
    return {name: value if name in _KEPT else _cleaned(value) for name, value in record.items()}


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value) if "/" in value else value
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {name: _cleaned(item) for name, item in value.items()}
    return value


def _text(text: str) -> str:
    for folder, short in _folders(os.getcwd()):
        text = re.sub(rf"(?<![\w.-]){re.escape(folder)}(?![^/\s:;,'\")\]])", short, text)
    return _IN_TRACEBACK.sub(r"\1\2", text)


@functools.lru_cache(maxsize=4)
def _folders(here: str) -> tuple[tuple[str, str], ...]:
    """(folder, what stands for it), the longest first, so that a folder inside another one is found."""
    assert antivenom.__file__ is not None
    named = {
        str(Path.home()): "~",
        tempfile.gettempdir(): "tmp",
        sys.prefix: "python",
        sys.base_prefix: "python",
        str(Path(antivenom.__file__).parent): "antivenom",
        here: ".",
    }
    return tuple(
        sorted(((path, short) for path, short in named.items() if len(path) > 1), key=lambda one: -len(one[0]))
    )
