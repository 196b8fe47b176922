"""The contract of plugins, checked on small real data: authors of plugins call `check_plugin` in their own tests.

    from antivenom.testing import check_plugin
    def test_contract(): check_plugin(MyAttack)

Plugins of all kinds must satisfy the following. A plugin is a frozen value that can be restored from a record and from a
pickle. Its docstring describes idea, weakness and fields. It has the signature given in `antivenom.core.protocols`, keeps to
its access level, leaves its inputs unchanged, returns equal results for equal streams, and uses no global randomness.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import pickle
import warnings

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import AntivenomError, DataError, ModelError, NotApplicable, PluginError
from antivenom.core.registry import ATTACKS, DEFENCES, Entry, Kind, build, describe, entry_of, find
from antivenom.testing.calls import CALLS
from antivenom.testing.samples import Check


def check_plugin(plugin: object) -> None:
    """Check the contract for the kind of this plugin.

    >>> from antivenom.attacks import LabelFlipping
    >>> check_plugin(LabelFlipping(0.2))

    Args:
        plugin: a registered class, an instance, or a name; a class is created with its defaults.

    Raises:
        PluginError: the plugin violates the contract; the error names the first violation.
    """
    entry = find(plugin) if isinstance(plugin, str) else entry_of(plugin)
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
        except (NotApplicable, DataError, ModelError) as error:  # a plugin can refuse images, tables or an access level
            refused = error
    if not ran:
        samples = "digits or on breast-cancer" + (" or on token rows" if entry.kind is Kind.GATE else "")
        raise PluginError(f"{entry.name} to run on {samples}", str(refused), "accept one of them")


def _is_a_value(plugin: object, entry: Entry) -> None:
    """Checks that a record and a pickle restore an equal plugin, and that it is hashable."""
    broken = None
    try:
        if build(json.loads(json.dumps(describe(plugin))), entry.kind) != plugin:
            broken = "a plugin that differs after restoring it from its record"
        elif pickle.loads(pickle.dumps(plugin)) != plugin:  # noqa: S301 - our own bytes
            broken = "a plugin that differs after pickling"
        hash(plugin)
    except Exception as error:
        broken = error.got if isinstance(error, AntivenomError) else str(error).splitlines()[0]
    if broken:
        remedy = "define it at module level, with numbers, strings and tuples as fields"
        raise PluginError(f"{entry.name} to be a frozen value", broken, remedy)


def _is_documented(entry: Entry) -> None:
    text = inspect.getdoc(entry.cls) or ""
    wanted = ["a first line"] if not text.split("\n")[0].strip() or text.startswith(f"{entry.name}(") else []
    if entry.kind in (*ATTACKS, *DEFENCES) and "weakness" not in text.lower():
        wanted.append("a sentence that begins with Weakness:")
    for field in dataclasses.fields(entry.cls):
        if f"{field.name}:" not in text and f"{field.name}," not in text:
            wanted.append(f"the field {field.name} below Fields:")
    if not entry.cite:
        wanted.append("cite=, its source")
    if wanted:
        raise PluginError(f"{entry.name} to be documented", f"no {wanted[0]}", "add it to the docstring of the class")


def _is_repeatable(call: Check, entry: Entry) -> None:
    """Checks by two calls that results are equal, that there is no warning, and that global randomness is unchanged."""
    numpy_before, torch_before = np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            first, second = call(), call()
    except AntivenomError:
        raise
    except Exception as error:
        remedy = "work on a copy, because inputs are read-only" if "read-only" in str(error) else ""
        raise PluginError(f"{entry.name} to run", f"{type(error).__name__}: {error}", remedy) from error
    if not _same(first, second):
        raise PluginError(
            f"equal results of {entry.name} from equal streams",
            "two results",
            "draw random numbers from the streams only",
        )
    numpy_after = np.random.get_state(legacy=False)  # noqa: NPY002
    moved = pickle.dumps(numpy_before) != pickle.dumps(numpy_after)
    if moved or not torch.equal(torch_before, torch.get_rng_state()):
        raise PluginError(
            f"no global randomness in {entry.name}",
            "a changed global generator",
            "draw random numbers from the streams only",
        )


def _same(a: object, b: object) -> bool:
    if isinstance(a, (tuple, list)):
        return isinstance(b, (tuple, list)) and len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())  # NaN counts as equal to NaN
    return bool(np.array_equal(np.asarray(a), np.asarray(b)))
