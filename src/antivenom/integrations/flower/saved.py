"""The state of a defended server in a folder: written whole or not at all, and read without running code from it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import Strategy

from antivenom.core.errors import StoreError

_NAME = "defended.pt"


def save(folder: Path, state: Mapping[str, object]) -> None:
    """Replace the state in the folder, so that a reader or a crash never meets half of it.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".defended-")
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save(dict(state), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, folder / _NAME)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise StoreError("a state that can be written", str(error)).at(str(folder)) from error


def load(folder: Path) -> dict[str, Any] | None:
    """The saved state, or None if there is none.

    Raises:
        StoreError: it cannot be read.
    """
    path = folder / _NAME
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:
        text = str(error).partition("\n")[0]
        raise StoreError("the state of a defended server", text, "delete it to start afresh").at(str(path)) from error
    return state


def packed(value: Any) -> Any:
    """Arrays and records as tensors and plain values; None for anything else, which is not saved."""
    if isinstance(value, ArrayRecord):
        arrays = [
            (name, a.dtype, tuple(a.shape), a.stype, torch.frombuffer(bytearray(a.data), dtype=torch.uint8))
            for name, a in value.items()
        ]
        return {"kind": "record", "arrays": arrays}
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return {"kind": "array", "array": torch.from_numpy(value.copy())}
    if isinstance(value, list) and value and all(isinstance(each, np.ndarray) for each in value):
        return {"kind": "list", "arrays": [packed(each) for each in value]}
    if isinstance(value, dict) and value and all(isinstance(each, np.ndarray) for each in value.values()):
        return {"kind": "dict", "arrays": {str(name): packed(each) for name, each in value.items()}}
    return None


def unpacked(value: Any) -> Any:
    """What `packed` was given."""
    kind = value["kind"]
    if kind == "record":
        return ArrayRecord(
            {
                name: Array(dtype=dtype, shape=tuple(shape), stype=stype, data=data.numpy().tobytes())
                for name, dtype, shape, stype, data in value["arrays"]
            }
        )
    if kind == "array":
        return value["array"].numpy()
    if kind == "list":
        return [unpacked(each) for each in value["arrays"]]
    return {name: unpacked(each) for name, each in value["arrays"].items()}


def nested(strategy: Strategy) -> list[Strategy]:
    """The strategy and those that it wraps, outermost first."""
    found = [strategy]
    while isinstance(inner := getattr(found[-1], "strategy", None), Strategy):
        found.append(inner)
    return found


def memory_of(strategy: Strategy) -> list[dict[str, object]]:
    """The arrays that a strategy and those that it wraps keep between rounds, such as momentum."""
    found = [{name: packed(value) for name, value in vars(each).items()} for each in nested(strategy)]
    return [{name: value for name, value in each.items() if value is not None} for each in found]


def remember(strategy: Strategy, memory: list[dict[str, object]]) -> None:
    """Give the strategies back what `memory_of` found in them."""
    for each, kept in zip(nested(strategy), memory, strict=False):
        vars(each).update({name: unpacked(value) for name, value in kept.items()})
