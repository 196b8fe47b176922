"""Tensors and plain values in a file, from which a long federation goes on. Reading the file runs no code.

The file is a safetensors file: the tensors by number, and in its header a JSON text with the values around them.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.regular import write_whole
from antivenom.federated.guarded import plain_state

EVERY = 60.0  # seconds of work that a killed trial may lose, besides the round that it was playing


class Checkpoint:
    """The progress of one trial in one file.

    Args:
        file: where it is kept; None keeps nothing.
        device: where tensors are put that were not on the CPU.
        every: seconds between two writes, so that short trials write nothing.
    """

    def __init__(self, file: Path | None, device: str = "cpu", every: float | None = None) -> None:
        self.file, self.device = file, device
        self.every = EVERY if every is None else every
        self._last = time.monotonic()

    def read(self) -> Any:
        """What was last written, or None if there is nothing, or nothing that can be read."""
        if self.file is None or not self.file.is_file():
            return None
        try:
            with safe_open(self.file, framework="pt") as content:
                tree = json.loads(content.metadata()["tree"])
                return _unpacked(tree, lambda name, home: content.get_tensor(name).to(home or self.device))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError):
            return None

    @property
    def is_due(self) -> bool:
        """Whether the last write was long enough ago."""
        return self.file is not None and time.monotonic() - self._last >= self.every

    def write(self, progress: object) -> bool:
        """Write tensors and plain values. The file is replaced whole, so that it is never half written.

        Progress that holds anything else, such as the state of a plugin with objects in it, is not written: its trial starts
        again if it is killed.

        Returns:
            Whether the file was written.
        """
        self._last = time.monotonic()
        with contextlib.suppress(PluginError, SafetensorError, OSError):
            if self.file is None:
                return False
            plain_state("progress", progress)
            tensors = dict[str, Tensor]()
            text = json.dumps(_packed(progress, tensors))
            content = save(tensors, {"tree": text})
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.file, content, 0o600)
            return True
        return False


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The value in JSON: a list of its kind and its content. Tensors are put into `tensors`, and their names stay."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return ["tensor", name, "cpu" if value.device.type == "cpu" else ""]
    if isinstance(value, dict):
        return ["dict", [[_packed(part, tensors) for part in pair] for pair in value.items()]]
    if isinstance(value, (tuple, list)):
        return [type(value).__name__, [_packed(part, tensors) for part in value]]
    return ["value", value]


def _unpacked(tree: Any, tensor: Callable[[str, str], Tensor]) -> Any:
    """What `_packed` was given; `tensor` returns the tensor of a name, on the CPU if that is where it was."""
    kind, content, *home = tree
    if kind == "tensor":
        return tensor(content, *home)
    if kind == "dict":
        return {_unpacked(key, tensor): _unpacked(part, tensor) for key, part in content}
    if kind == "value":
        return content
    parts = (_unpacked(part, tensor) for part in content)
    return tuple(parts) if kind == "tuple" else list(parts)
