"""The contract of a plugin, run on small real data: `check_plugin` in a plugin author's own tests.

    from antivenom.testing import check_plugin
    def test_contract(): check_plugin(MyAttack)

What every kind must keep: a frozen value that survives a record and a pickle, a docstring that says idea, weakness and
fields, the call shape of `antivenom.core.protocols`, the access level it asked for, inputs left as they were, the same result
from the same streams, and no use of global randomness.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import pickle
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import AntivenomError, DataError, ModelError, NotApplicable, PluginError
from antivenom.core.registry import ATTACKS, DEFENCES, Entry, build, describe, find
from antivenom.testing.calls import CALLS, Check


def check_plugin(plugin: Any) -> None:
    """Run the contract of a plugin's kind; returns if it is kept.

    `plugin` is a registered class, an instance, or a name; a class is built with its defaults.

    Raises:
        PluginError: the first rule that is broken, in one line.
    """
    entry = find(plugin if isinstance(plugin, str) else (plugin if isinstance(plugin, type) else type(plugin)).__name__)
    try:
        instance = entry.cls() if isinstance(plugin, (str, type)) else plugin
    except TypeError as error:
        raise PluginError(
            f"{entry.name} with defaults", str(error), "give fields defaults, or pass an instance"
        ) from error
    _is_a_value(instance, entry)
    _is_documented(entry)
    ran, refused = 0, None
    for call in CALLS[entry.kind](instance, entry):
        try:
            _is_repeatable(call, entry)
            ran += 1
        except (
            NotApplicable,
            DataError,
            ModelError,
        ) as error:  # it may not serve images, or tables, or this access level
            refused = error
    if not ran:
        raise PluginError(f"{entry.name} to run on digits or on breast-cancer", str(refused), "accept one of them")


def _is_a_value(plugin: Any, entry: Entry) -> None:
    """A record and a pickle must bring it back, and it must have a hash."""
    broken = None
    try:
        if build(json.loads(json.dumps(describe(plugin))), entry.kind) != plugin:
            broken = "one that its own record does not bring back"
        elif pickle.loads(pickle.dumps(plugin)) != plugin:  # noqa: S301 - our own bytes
            broken = "one that a pickle does not bring back"
        hash(plugin)
    except Exception as error:
        broken = str(error).splitlines()[0]
    if broken:
        remedy = "define it at the top of a module, with numbers, words and tuples as fields"
        raise PluginError(f"{entry.name} to be a frozen value", broken, remedy)


def _is_documented(entry: Entry) -> None:
    text = inspect.getdoc(entry.cls) or ""
    wanted = ["a first line"] if not text.split("\n")[0].strip() or text.startswith(f"{entry.name}(") else []
    if entry.kind in (*ATTACKS, *DEFENCES) and "weakness" not in text.lower():
        wanted.append("the word Weakness and what it is")
    for field in dataclasses.fields(entry.cls):
        if f"{field.name}:" not in text and f"{field.name}," not in text:
            wanted.append(f"the field {field.name} below Fields:")
    if not entry.cite:
        wanted.append("cite=, its source")
    if wanted:
        raise PluginError(f"{entry.name} to be documented", f"no {wanted[0]}", "write it in the class's docstring")


def _is_repeatable(call: Check, entry: Entry) -> None:
    """Call twice: no warning, the same result, global randomness where it was."""
    numpy_before, torch_before = np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            first, second = call(), call()
    except AntivenomError:
        raise
    except Exception as error:
        remedy = "inputs are read-only: work on a copy" if "read-only" in str(error) else "mend it"
        raise PluginError(f"{entry.name} to run", f"{type(error).__name__}: {error}", remedy) from error
    if not _same(first, second):
        raise PluginError(
            f"{entry.name} to repeat itself", "two results from equal streams", "draw from the streams only"
        )
    numpy_after = np.random.get_state(legacy=False)  # noqa: NPY002
    moved = pickle.dumps(numpy_before) != pickle.dumps(numpy_after)
    if moved or not torch.equal(torch_before, torch.get_rng_state()):
        raise PluginError(f"{entry.name} to leave global randomness alone", "it moved", "draw from the streams only")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, Tensor):
        return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())  # a sender of NaN repeats itself
    return bool(np.array_equal(a, b))
