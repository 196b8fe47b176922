"""Inert samples: what they would run only makes a marker file."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch


class Payload:
    """Unpickled, it calls `function` with `arguments`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def _pickle(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def _old_torch(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def _compressed(value: Any, path: Path) -> None:
    joblib.dump([value, np.zeros(3)], path, compress=3)


def _array(value: Any, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([value], dtype=object))


def _opened(load: Callable[..., Any], **options: Any) -> Callable[[Path], Any]:
    def from_path(path: Path) -> Any:
        with path.open("rb") as file:
            return load()(file, **options)

    return from_path


# name: (how it is written, how its users load it)
KINDS: dict[str, tuple[Callable[[Any, Path], Any], Callable[[Path], Any]]] = {
    "torch": (torch.save, lambda path: torch.load(path, weights_only=False)),
    "old torch": (_old_torch, lambda path: torch.load(path, weights_only=False)),
    "pickle": (_pickle, _opened(lambda: pickle.load)),
    "pickle, bytes": (_pickle, lambda path: pickle.loads(path.read_bytes())),
    "pickle in Python": (_pickle, lambda path: pickle._loads(path.read_bytes())),
    "joblib": (joblib.dump, lambda path: joblib.load(path)),
    "joblib, compressed": (_compressed, lambda path: joblib.load(path)),
    "numpy": (_array, _opened(lambda: np.load, allow_pickle=True)),
}


@pytest.fixture
def payload() -> type[Payload]:
    """Makes values that call something when they are unpickled."""
    return Payload


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What a payload would make."""
    return tmp_path / "fired"


@pytest.fixture(params=KINDS)
def sample(request, tmp_path: Path, marker: Path) -> tuple[Path, Callable[[Path], Any]]:
    """A file of every kind whose payload makes the marker, and its loader."""
    write, load = KINDS[request.param]
    path = tmp_path / "model"
    write(Payload(os.mkdir, str(marker)), path)
    return path, load
