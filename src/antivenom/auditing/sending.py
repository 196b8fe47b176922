"""Sends values in memory, such as a user's module or rows, to the worker processes whose trials name them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from antivenom.auditing.identity import foreign
from antivenom.core.fingerprint import code_of, received
from antivenom.core.registry import keep, named_in

Spec = Mapping[str, Any]


def packed(specs: Iterable[Spec]) -> tuple[dict[str, bytes], list[Spec], list[Spec]]:
    """Pickle the values in memory that these trials name.

    cloudpickle also handles classes and functions that were defined in a shell, a notebook or a function, lambdas included.
    A value that holds an open file, a lock or a connection cannot be pickled.

    Returns:
        The pickled values by name (see `names_in`), the trials that need no others, and the trials with a value that cannot
        be pickled.
    """
    known: dict[str, bytes | None] = {}
    can: list[Spec] = []
    cannot: list[Spec] = []
    for spec in specs:
        names = []
        for described, value in named_in(spec):
            names.append(_name(described))
            if names[-1] not in known:
                known[names[-1]] = _pickled(described, value)
        (cannot if any(known[name] is None for name in names) else can).append(spec)
    return {name: value for name, value in known.items() if value is not None}, can, cannot


def names_in(spec: Spec) -> list[str]:
    """The names of the values in memory that a trial needs."""
    return [_name(described) for described, _ in named_in(spec)]


def _name(described: Mapping[str, Any]) -> str:
    return json.dumps(described, sort_keys=True)


def _pickled(described: Mapping[str, Any], value: object) -> bytes | None:
    import cloudpickle

    code = [(named, code_of(named)) for named in foreign({"value": value})]
    try:
        return bytes(cloudpickle.dumps((dict(described), value, code)))
    except Exception:  # a user's object may raise any exception when it is pickled
        return None


def unpack(values: Iterable[bytes]) -> None:
    """Hold, in this process, the values that `packed` pickled in another one."""
    for value in values:
        import cloudpickle

        # Where a module is missing, the trials that need the value raise the error.
        with contextlib.suppress(Exception):
            described, made, code = cloudpickle.loads(value)
            keep(described, made)
            for named, its_code in code:
                received(named, its_code)
