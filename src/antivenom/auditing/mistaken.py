"""Files that are given in place of a scenario file, and the command that takes each."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from antivenom.core.errors import ScenarioError

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_TABLES = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz")
_MODELS = (
    ".pt",
    ".pth",
    ".bin",
    ".ckpt",
    ".safetensors",
    ".onnx",
    ".pkl",
    ".pickle",
    ".joblib",
    ".keras",
    ".h5",
    ".gguf",
)


def require_scenario_file(path: Path) -> None:
    """Refuse a data set, a model, code or a folder in place of a scenario file, and name the command that takes it.

    Raises:
        ScenarioError: the suffix, or the kind of file, is that of something else.
    """
    found = taken_by(path)
    if found is not None:
        raise ScenarioError("a scenario file", f"{path}, {found[0]}", found[1])


def taken_by(path: Path) -> tuple[str, str] | None:
    """What the path of a file or folder is, and the command that takes it; None if it may be a scenario file."""
    name, quoted = path.name.lower(), shlex.quote(str(path))
    if path.is_dir():
        if (path / "records.jsonl").exists():
            return "the folder of an audit", f"antivenom report {quoted}"
        return "a folder", f"for a folder of images: antivenom audit --images {quoted}"
    if name.endswith(_TABLES):
        return "a table", f"antivenom audit --data {quoted} --label COLUMN"
    if name.endswith(".npz"):
        return "a file of arrays", f"antivenom audit --npz {quoted}"
    if name.endswith(".jsonl"):
        if path.name == "records.jsonl":
            return "the records of an audit", f"antivenom report {shlex.quote(str(path.parent))}"
        return "a file of texts", f"antivenom audit --text {quoted}"
    if name.endswith(_MODELS):
        return "a model file", f"antivenom inspect {quoted}, or antivenom scan {quoted}"
    if name.endswith(".py"):
        return "Python code", f"antivenom audit --data TABLE --label COLUMN --estimator {path.stem}:NAME"
    if name.endswith(_IMAGES):
        return "an image", f"antivenom audit --images {shlex.quote(str(path.parent))}"
    return None


def kind_of(top: object) -> str:
    """What a file holds instead of a scenario."""
    if isinstance(top, Mapping):
        if "scenarios" in top:
            return "an empty list" if top["scenarios"] in ([], None) else f"scenarios: {str(top['scenarios'])[:40]!r}"
        return f"a mapping of {', '.join(map(str, top))[:80]}" if top else "an empty mapping"
    return "an empty file" if top is None else "a list" if isinstance(top, list) else "plain text"
