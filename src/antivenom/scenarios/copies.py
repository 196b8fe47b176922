"""Calls of code that is not ours: it gets copies, and what it does to them is noticed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from antivenom.core.errors import AntivenomError, PluginError
from antivenom.core.protocols import AttackContext, DefenceContext
from antivenom.data import Dataset
from antivenom.data.forms import is_frame
from antivenom.models.wrappers import TorchModel

CSR = ("data", "indices", "indptr")


def called(plugin: object, *inputs: object, call: Callable[..., Any] | None = None, own: bool = True) -> Any:
    """What the plugin, or `call` in its name, returns for copies of the inputs.

    With `own=False` it gets the inputs themselves: for functions that a training loop calls thousands of times.

    Raises:
        PluginError: it raised, tried to exit, or wrote into an input.
    """
    name, function = type(plugin).__name__, call if call is not None else plugin
    given = [copied(value) for value in inputs] if own else inputs
    try:
        found = function(*given)  # type: ignore[operator]
    except AntivenomError:
        raise
    except (Exception, SystemExit) as error:
        said = str(error).strip().splitlines()
        remedy = "inputs are read-only: work on a copy" if "read-only" in str(error) else ""
        got = f"{type(error).__name__}: {said[0] if said else 'no message'}"
        raise PluginError(f"{name} to run", got, remedy) from error
    if own:
        for before, after in zip(inputs, given, strict=True):
            if not _equal(before, after):
                raise PluginError(
                    f"{name} to leave its inputs alone", "an input that it wrote into", "work on a copy: data.x.copy()"
                )
    return found


def copied(value: object) -> Any:
    """A copy that shares no memory with the value. What cannot be copied, such as a connection, is handed on as it is."""
    if isinstance(value, Dataset):
        groups = None if value.groups is None else _own(value.groups)
        return replace(value, x=_own(value.x), y=_own(value.y), groups=groups)
    if isinstance(value, AttackContext):
        return replace(
            value,
            threat=copy.copy(value.threat),
            wanted=copied(value.wanted),
            trigger=copied(value.trigger),
            targets=copied(value.targets),
            rows=copied(value.rows),
        )
    if isinstance(value, DefenceContext):
        return replace(value, trusted=copied(value.trusted))
    try:
        return copy.deepcopy(value)
    except Exception:  # a library may refuse in any way
        return value


def _own(array: Any) -> Any:
    """A read-only copy, which a Dataset keeps as it is."""
    fresh = array.copy()
    for part in [getattr(fresh, name) for name in CSR] if sp.issparse(fresh) else [fresh]:
        if isinstance(part, np.ndarray):
            part.flags.writeable = False
    return fresh


def _equal(before: Any, after: Any) -> bool:
    """Whether a value is as it was. Values that cannot be compared cheaply count as equal: the plugin had a copy."""
    if isinstance(before, Dataset):
        parts = ("x", "y", "groups", "classes", "name")
        return all(_equal(getattr(before, part), getattr(after, part)) for part in parts)
    if isinstance(before, AttackContext):
        return _equal(before.rows, after.rows) and _equal(before.targets, after.targets)
    if isinstance(before, DefenceContext):
        return _equal(before.trusted, after.trusted)
    if isinstance(before, TorchModel):
        tensors = [(before.vector, after.vector), *((b, after.buffers[name]) for name, b in before.buffers.items())]
        return all(torch.equal(one, other) for one, other in tensors)
    if isinstance(before, np.ndarray):
        return isinstance(after, np.ndarray) and np.array_equal(before, after)
    if sp.issparse(before):
        return bool(sp.issparse(after)) and all(_equal(getattr(before, part), getattr(after, part)) for part in CSR)
    if is_frame(before):
        return bool(is_frame(after)) and bool(before.equals(after))
    if isinstance(before, (str, tuple, type(None))):
        return bool(before == after)
    return True
