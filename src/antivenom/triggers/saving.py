"""Triggers in files: a folder with the fields in JSON and the arrays in safetensors. Nothing is ever unpickled."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from antivenom.core.errors import AntivenomError, FileError, PluginError
from antivenom.core.protocols import Trigger
from antivenom.core.registry import Kind, describe, entry_of, fill, find
from antivenom.core.registry.fields import split_fields

FIELDS, ARRAYS = "trigger.json", "arrays.safetensors"


def save_trigger(trigger: Trigger, folder: str | Path) -> Path:
    """Write a registered trigger into a folder, which is created if it does not exist. Returns the folder.

    Raises:
        FileError: a field that neither JSON nor safetensors can hold.
    """
    from safetensors.numpy import save_file

    name, folder = entry_of(trigger).name, Path(folder)
    values = {f.name: getattr(trigger, f.name) for f in dataclasses.fields(trigger)}  # type: ignore[arg-type]
    arrays = {key: np.ascontiguousarray(value) for key, value in values.items() if isinstance(value, np.ndarray)}
    try:
        plain = {key: value for key, value in split_fields(describe(trigger)).items() if key not in arrays}
        text = json.dumps({"trigger": name, "fields": plain, "arrays": sorted(arrays)}, indent=2, allow_nan=False)
    except (TypeError, ValueError, PluginError) as error:
        raise FileError(f"fields of {name} that JSON or safetensors can hold", str(error)) from error
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FIELDS).write_text(text + "\n")
    if arrays:
        save_file(arrays, str(folder / ARRAYS))
    return folder


def load_trigger(folder: str | Path) -> Trigger:
    """The trigger that `save_trigger` wrote.

    Raises:
        FileError: the files are missing, or their values do not make a valid trigger.
    """
    from safetensors.numpy import load_file

    folder = Path(folder)
    try:
        said = json.loads((folder / FIELDS).read_text())
        arrays = load_file(str(folder / ARRAYS)) if said["arrays"] else {}
        if sorted(arrays) != said["arrays"]:
            raise FileError(f"the arrays {said['arrays']} in {folder / ARRAYS}", f"{sorted(arrays)}")
        found: Trigger = fill(find(said["trigger"], Kind.TRIGGER).cls, {**said["fields"], **arrays})
        return found
    except FileError:
        raise
    except (OSError, KeyError, TypeError, ValueError, AntivenomError) as error:
        raise FileError(f"a trigger saved in {folder}", f"{type(error).__name__}: {error}") from error
