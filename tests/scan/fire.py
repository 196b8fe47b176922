"""Loads samples as their victims would, one process for many; writes which markers came to be. Run by the tests."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import sys
import time
import warnings
from pathlib import Path
from typing import Any


def _twice(path: Path) -> None:
    with path.open("rb") as file:
        pickle.load(file)  # noqa: S301
        pickle.load(file)  # noqa: S301


def _file(path: Path) -> Any:
    with path.open("rb", buffering=0) as file:
        return pickle.load(file)  # noqa: S301


def _torch(path: Path) -> Any:
    import torch

    torch.set_num_threads(1)
    return torch.load(path, weights_only=False)


def _numpy(path: Path) -> Any:
    import numpy as np

    found = np.load(path, allow_pickle=True)
    return [found[name] for name in found.files] if hasattr(found, "files") else found


def _by_name(module: str) -> Any:
    def load(path: Path) -> Any:
        import importlib

        loader = importlib.import_module(module)
        return loader.load(path) if module == "joblib" else loader.loads(path.read_bytes())

    return load


LOADERS = {
    "pickle": lambda path: pickle.loads(path.read_bytes()),  # noqa: S301
    "pickle.py": lambda path: pickle._Unpickler(io.BytesIO(path.read_bytes())).load(),
    "pickle-file": _file,
    "pickle-twice": _twice,
    "torch": _torch,
    "numpy": _numpy,
    **{name: _by_name(name) for name in ("joblib", "dill", "cloudpickle")},
}


def main(table: Path, out: Path) -> None:
    found: dict[str, list[Any]] = {}
    sys.stdin = io.StringIO()
    for name, (loader, path, marker) in json.loads(table.read_text()).items():
        error = ""
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                LOADERS[loader](Path(path))
        except BaseException as raised:  # a payload may even exit
            error = f"{type(raised).__name__}: {raised}"[:200]
        found[name] = [os.path.exists(marker), error]
    for name, (_, _, marker) in json.loads(table.read_text()).items():
        for _ in range(20):  # a command may still be starting
            if found[name][0] or not found[name][1].startswith("abort"):
                break
            time.sleep(0.05)
        found[name][0] = os.path.exists(marker)
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
