"""Turn a file of tensors into safetensors, a format that can hold nothing else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from antivenom.artifacts.loading import safe_load
from antivenom.core.errors import FileError
from antivenom.scan import AllowList

_RESERVED = "__metadata__"


def convert(
    source: str | Path, out: str | Path, force: bool = False, *, only: str = "", allow: AllowList | None = None
) -> int:
    """Write the tensors of a file that `safe_load` accepts as safetensors; returns how many.

    Nested dicts become dotted names. Every tensor keeps type, shape and values; tensors that shared memory are written
    one by one. The file appears whole or not at all.

    Fields:
        source: the file to read.
        out: the file to write.
        force: overwrite an existing file.
        only: the dotted key of the part to convert, as `state_dict` in a checkpoint that holds more than tensors.
        allow: as in safe_load.

    Raises UnsafeFile, and FileError for what is no tensor, by its key, or cannot be written.
    """
    out = Path(out)
    if out.exists() and not force:
        raise FileError("a new file", f"{out}, which exists", "choose another name or overwrite it by force")
    tensors = read_tensors(source, only, allow)
    _write(tensors, out, force)
    return len(tensors)


def read_tensors(source: str | Path, only: str = "", allow: AllowList | None = None) -> dict[str, Any]:
    """Dotted name -> tensor, of a file that `safe_load` accepts. Fields and errors are those of `convert`."""
    return _flat(_part(safe_load(source, allow=allow), only), source)


def _part(value: Any, only: str) -> Any:
    for key in only.split(".") if only else ():
        if not isinstance(value, Mapping) or key not in value:
            there = ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
            raise FileError(f"the key {key!r} of {only!r}", there[:200], "choose a key that is there")
        value = value[key]
    return value


def _flat(state: Any, source: str | Path) -> dict[str, Any]:
    """Dotted name -> tensor that safetensors can write."""
    if not isinstance(state, Mapping):
        raise FileError("a dict of tensors", type(state).__name__, "save model.state_dict()").at(str(source))
    found: dict[str, Any] = {}
    for name, value in _leaves(state, ""):
        if name in found or name == _RESERVED:
            raise FileError("one tensor for each name", f"{name!r} twice or reserved", "rename the key").at(str(source))
        found[name] = _plain(value, name, source)
    if not found:
        raise FileError("at least one tensor", "none", "check what the file holds").at(str(source))
    return found


def _leaves(state: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in state.items():
        name = f"{prefix}{key}"
        if not isinstance(key, str):
            raise FileError("names that are text", f"{name!r}, a {type(key).__name__}", "convert a part alone")
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _plain(value: Any, name: str, source: str | Path) -> Any:
    """A tensor with memory of its own. Raises FileError, naming the key, for anything else."""
    import torch

    if not isinstance(value, torch.Tensor):
        raise FileError("tensors only", f"{name!r}, a {type(value).__name__}", "convert a part alone").at(str(source))
    if value.layout is not torch.strided or value.is_quantized or value.is_meta:
        raise FileError("dense tensors", f"{name!r}, {value.layout} {value.dtype}", "make it dense").at(str(source))
    value = value.detach().resolve_conj().resolve_neg()
    own = value.is_contiguous() and value.untyped_storage().nbytes() == value.nbytes
    return value if own else value.clone(memory_format=torch.contiguous_format)


def _write(tensors: dict[str, Any], out: Path, force: bool) -> None:
    """Write beside the place, then move there at once."""
    import safetensors.torch

    seen: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.untyped_storage().data_ptr() in seen:
            tensors[name] = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".antivenom-") as folder:
            whole = Path(folder) / out.name
            whole.touch()
            mode = whole.stat().st_mode  # the user's own; safetensors makes a private file
            safetensors.torch.save_file(tensors, whole, metadata={"format": "pt"})
            whole.chmod(mode)
            with whole.open("rb") as file:
                os.fsync(file.fileno())
            (os.replace if force else os.link)(whole, out)  # a link, unlike a move, never overwrites
    except KeyError as error:
        raise FileError("types that safetensors can write", str(error), "convert such tensors first") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise FileError(
            f"a place to write {out}", str(error), "choose another path, or overwrite it by force"
        ) from error
