"""Recognises files of raw numbers, which have no signature, by a model in the same folder that refers to them.

This happens only after all known formats have been tried, so it cannot excuse content that another loader would run.
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
_MODELS = 64  # number of models of a folder whose references are read


def is_claimed(part: Part) -> bool:
    """Whether an ONNX model refers to the file as external data, or it is a shard with a checkpoint index beside it."""
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
    """The files to which the ONNX models of a folder refer."""
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
