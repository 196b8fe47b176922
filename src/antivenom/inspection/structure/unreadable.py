"""Formats whose structure cannot be judged: the reason, in one sentence."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from antivenom.core.errors import FileError
from antivenom.inspection.structure.trace import Trace
from antivenom.scan.formats import identify
from antivenom.scan.part import printable
from antivenom.scan.view import View

_LARGEST = 1 << 24  # bytes of a Keras configuration
_REASONS = {
    "hdf5": "the layers of a Keras model are names of Python classes, which only Keras can run; save its weights as safetensors",
    "savedmodel": "TensorFlow is needed to read its graph; export the model as ONNX",
    "tensorflow graph": "TensorFlow is needed to read its graph; export the model as ONNX",
    "tensorflow checkpoint": "TensorFlow is needed to read its tensors; export the model as ONNX",
    "tflite": "no check of this graph format exists; export the model as ONNX",
    "gguf": "its weights are quantised in blocks, whose statistics no check knows; inspect the model that was quantised",
}


def cannot_tell(path: str | Path) -> Trace | None:
    """The reason why the structure of a file cannot be judged; None for a file that the other checks can read.

    It looks at the content, which the scan has found to be safe, and not at the name.

    Raises:
        FileError: the file cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            kinds = {kind.name for kind in identify(View.of_file(file.fileno()))}
        if "zip" in kinds:
            return _archive(path)
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError) as error:
        raise FileError("a file that can be read", f"{type(error).__name__}: {error}").at(str(path)) from None
    reason = next((_REASONS[kind] for kind in sorted(kinds) if kind in _REASONS), None)
    return None if reason is None else _trace(reason)


def _archive(path: Path) -> Trace | None:
    """The reason for an archive with code (TorchScript) or with a configuration of layers (Keras)."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any("/code/" in f"/{name}" and name.endswith(".py") for name in names):
            return _trace(
                "TorchScript is a program, and what it does with an input is only known by running it; ask for the module's "
                "source and a state dictionary, or export it as ONNX"
            )
        if "config.json" not in names or not any(name.endswith(".h5") for name in names):
            return None
        layers = ""
        if archive.getinfo("config.json").file_size <= _LARGEST:
            kinds = sorted(_classes(archive.read("config.json")))
            layers = f" (here {', '.join(printable(kind, 40) for kind in kinds[:10])})" if kinds else ""
    return _trace(
        f"the layers of a Keras model{layers} are names of Python classes, which only Keras can run; export the model as ONNX"
    )


def _classes(data: bytes) -> set[str]:
    """The classes of the layers in a Keras configuration."""
    try:
        config = json.loads(data)
    except (ValueError, RecursionError):
        return set()
    found, pending = set(), [config]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            if isinstance(each.get("class_name"), str) and str(each.get("module", "")).startswith("keras.layers"):
                found.add(each["class_name"])
            pending += each.values()
        elif isinstance(each, list):
            pending += each
    return found


def _trace(reason: str) -> Trace:
    return Trace("cannot-tell", "", f"cannot tell: {reason}.", suspicious=False)
