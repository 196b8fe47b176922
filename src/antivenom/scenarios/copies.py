"""Calls of plugins: a plugin gets copies of its inputs, and writing into them is detected."""

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


def call_plugin(plugin: object, *inputs: object, call: Callable[..., Any] | None = None, own: bool = True) -> Any:
    """Call a plugin with copies of the inputs.

    Args:
        plugin: the plugin, whose class name appears in errors.
        inputs: positional arguments.
        call: the function to call instead of the plugin, such as one of its methods.
        own: give copies and compare them afterwards. False is for functions that a training loop calls thousands of times.

    Returns:
        The plugin's return value, unchecked.

    Raises:
        PluginError: the plugin raised, called `sys.exit`, or wrote into an input. Antivenom's own errors pass unchanged.
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
    """A copy that shares no memory with the value; a value that cannot be copied, such as a connection, itself."""
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
    except Exception:  # copying an arbitrary object may raise any exception
        return value


def _own(array: Any) -> Any:
    """A read-only copy of an array, CSR matrix or DataFrame. A Dataset keeps read-only arrays without copying them again."""
    fresh = array.copy()
    for part in [getattr(fresh, name) for name in CSR] if sp.issparse(fresh) else [fresh]:
        if isinstance(part, np.ndarray):
            part.flags.writeable = False
    return fresh


def _equal(before: Any, after: Any) -> bool:
    """Whether a value is unchanged. Values that are expensive to compare count as equal; the plugin only had a copy."""
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
