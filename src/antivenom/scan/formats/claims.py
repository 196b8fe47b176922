"""Raw numbers have no signature. A file of an unknown format is taken for such if a model beside it reads it as such.

It was compared with every known format first, so nothing that another loader would run is excused by this.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from antivenom.scan.allow import allow_list
from antivenom.scan.formats import checkpoints, onnx
from antivenom.scan.limits import LimitReached, Limits, Meter
from antivenom.scan.part import Part
from antivenom.scan.reader import Fault
from antivenom.scan.view import View

_SHARD = re.compile(r"(.+)\.data-\d{5}-of-\d{5}")
_MODELS = 64  # how many models of a folder are asked


def is_claimed(part: Part) -> bool:
    """Whether an ONNX model names the file as its external data, or a checkpoint's index stands beside its shard."""
    path = Path(part.where)
    if part.depth or not path.is_file():
        return False
    if shard := _SHARD.fullmatch(path.name):
        return _is(path.with_name(f"{shard[1]}.index"), checkpoints.matches)
    return any(
        os.path.normpath(path) in _claims(str(folder), folder.stat().st_mtime_ns) for folder in list(path.parents)[:2]
    )


@lru_cache(maxsize=64)
def _claims(folder: str, _changed: int) -> frozenset[str]:
    """The files that the ONNX models of a folder name."""
    found: set[str] = set()
    for model in sorted(Path(folder).glob("*.onnx"))[:_MODELS]:
        with open(model, "rb") as file:
            view = View.of_file(file.fileno())
            if onnx.matches(view):
                part = Part(view, str(model), Meter(Limits()), allow_list(), lambda part: iter(()))
                try:
                    found |= {os.path.normpath(Path(folder, place)) for place in onnx.external(part)}
                except (Fault, LimitReached):
                    continue
    return frozenset(found)


def _is(path: Path, matches: object) -> bool:
    if not path.is_file() or not callable(matches):
        return False
    with open(path, "rb") as file:
        return bool(matches(View.of_file(file.fileno())))
