"""Convert a file of tensors to safetensors, a format that cannot hold code."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from antivenom.artifacts.loading import load_without_objects, safe_load
from antivenom.core.errors import FileError, with_article
from antivenom.scan import AllowList

if TYPE_CHECKING:
    from torch import Tensor

GROWTH = 4.0  # tied weights double a file, and views of fused weights add a little
_SMALL = 1 << 20  # bytes of a source that are counted at least
_RESERVED = "__metadata__"


def convert(
    source: str | Path,
    out: str | Path,
    force: bool = False,
    *,
    only: str = "",
    allow: AllowList | None = None,
    growth: float = GROWTH,
) -> int:
    """Write the tensors of a file that `safe_load` accepts as safetensors; returns the number of tensors.

    Nested dicts become dotted names. Every tensor keeps its type, shape and values. Tensors that share memory are
    written as separate copies, within a limit, because a small file can describe terabytes of them. The file is written
    elsewhere first, so that it is never seen half written.

    >>> import tempfile, torch
    >>> folder = Path(tempfile.mkdtemp())
    >>> torch.save(torch.nn.Linear(3, 2).state_dict(), folder / "model.pt")
    >>> convert(folder / "model.pt", folder / "model.safetensors")
    2
    >>> sorted(read_tensors(folder / "model.safetensors"))
    ['bias', 'weight']

    Fields:
        source: the file to read.
        out: the file to write.
        force: overwrite an existing file.
        only: the dotted key of the part to convert, such as `state_dict` in a checkpoint that holds more than tensors.
            What the other parts of a torch file hold is then not constructed, and names there need no review.
        allow: as in safe_load.
        growth: most bytes of tensors for each byte of the source; a source below 1 MiB counts as 1 MiB.

    Raises UnsafeFile as `safe_load` does, and FileError for a value that is not a tensor (the error names its key),
    for more tensors than `growth` permits, or for a file that cannot be written.
    """
    check_new(out, force)
    tensors = read_tensors(source, only, allow, growth)
    write_tensors(tensors, out, force)
    return len(tensors)


def check_new(out: str | Path, force: bool = False) -> None:
    """Raises FileError for a file that exists, unless it may be overwritten."""
    if Path(out).exists() and not force:
        raise FileError("a new file", f"{out}, which exists", "choose another name, or pass force to overwrite it")


def read_tensors(
    source: str | Path, only: str = "", allow: AllowList | None = None, growth: float = GROWTH
) -> dict[str, Tensor]:
    """The tensors of a file that `safe_load` accepts, by dotted name. Fields and errors are those of `convert`."""
    content = load_without_objects(source, allow=allow) if only else safe_load(source, allow=allow)
    return _flat(_part(content, only), source, growth)


def _part(value: object, only: str) -> object:
    for key in only.split(".") if only else ():
        if not isinstance(value, Mapping) or key not in value:
            there = ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
            raise FileError(f"the key {key!r} of {only!r}", there[:200], "choose one of these keys")
        value = value[key]
    return value


def _flat(state: object, source: str | Path, growth: float) -> dict[str, Tensor]:
    """Flattens nested dicts to dotted names and checks that safetensors can write each tensor."""
    if not isinstance(state, Mapping):
        raise FileError("a dict of tensors", type(state).__name__, "save model.state_dict()").at(str(source))
    found: dict[str, Tensor] = {}
    remedy = _advice(state)
    left = growth * max(os.path.getsize(source), _SMALL)
    for name, value in _leaves(state, ""):
        if name in found or name == _RESERVED:
            raise FileError("one tensor for each name", f"{name!r} twice or reserved", "rename the key").at(str(source))
        tensor = _dense(value, name, source, remedy)
        left -= math.prod(tensor.shape) * tensor.element_size()
        if left < 0:
            raise FileError(
                f"at most {growth:g} times the size of the file",
                f"more, at {name!r} of the shape {list(tensor.shape)}",
                "raise the growth if you expect a model of this size",
            ).at(str(source))
        found[name] = _alone(tensor)
    if not found:
        raise FileError("at least one tensor", "an empty dict").at(str(source))
    return found


def _leaves(state: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in state.items():
        name = f"{prefix}{key}"
        if not isinstance(key, str):
            raise FileError(
                "text keys", f"{name!r}, {with_article(type(key).__name__)}", "select a part of the file with `only`"
            )
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _advice(state: Mapping[str, object]) -> str:
    """How to select the weights of a checkpoint that holds more than tensors."""
    import torch

    def holds_tensors(value: object) -> bool:
        return isinstance(value, Mapping) and any(isinstance(each, torch.Tensor) for each in value.values())

    parts = [key for key, value in state.items() if isinstance(key, str) and holds_tensors(value)]
    return f"select a part of the file: `only` {' or '.join(parts[:3])}" if parts else "save model.state_dict()"


def _dense(value: object, name: str, source: str | Path, remedy: str) -> Tensor:
    """The value itself. Raises FileError, which names the key, unless it is a tensor that safetensors can write."""
    import torch

    if not isinstance(value, torch.Tensor):
        raise FileError("tensors only", f"{name!r} of the type {type(value).__name__}", remedy).at(str(source))
    if value.layout is not torch.strided or value.is_quantized or value.is_meta:
        raise FileError(
            "dense tensors", f"{name!r}, {value.layout} {value.dtype}", "call to_dense() or dequantize()"
        ).at(str(source))
    return value


def _alone(value: Tensor) -> Tensor:
    """The tensor, copied if it shares memory."""
    import torch

    value = value.detach().resolve_conj().resolve_neg()
    own = value.is_contiguous() and value.untyped_storage().nbytes() == value.nbytes
    return value if own else value.clone(memory_format=torch.contiguous_format)


def write_tensors(tensors: dict[str, Tensor], out: str | Path, force: bool = False) -> None:
    """Write safetensors: a temporary file in the same folder, which is then moved to its place in one step.

    Raises FileError for a file that exists, unless `force` is set, and for one that cannot be written.
    """
    import safetensors.torch

    out, tensors = Path(out), dict(tensors)
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.untyped_storage().data_ptr() in seen:
            tensors[name] = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".antivenom-") as folder:
            whole = Path(folder) / out.name
            whole.touch()
            mode = whole.stat().st_mode  # follows the user's umask; safetensors would make the file private
            safetensors.torch.save_file(tensors, whole, metadata={"format": "pt"})
            whole.chmod(mode)
            with whole.open("rb") as file:
                os.fsync(file.fileno())
            (os.replace if force else os.link)(whole, out)  # a link, unlike a move, never overwrites
    except KeyError as error:
        raise FileError("types that safetensors can write", str(error), "change the tensor's dtype") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise FileError(
            f"a place to write {out}", str(error), "choose another path, or pass force to overwrite"
        ) from error
