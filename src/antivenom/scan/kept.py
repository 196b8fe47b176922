"""Kept objects: data of a model that loading may create and store, but on which it runs no method (`Permission.kept`).

A class whose constructor and methods nobody has read is harmless as long as none of them runs. Unpickling an object of a
class without a `__setstate__` runs none: it is created empty and its dict is filled. What could still run methods of the
class, with attributes that the file chose, is checked here: calls that work on their arguments, hashes of keys, items
that are added, slots, and a second state.
"""

from __future__ import annotations

from collections.abc import Iterator

from antivenom.scan.allow import AllowList
from antivenom.scan.rules import EMBEDDED_CODE, KEPT_OBJECT, PATCHED_GLOBAL, SHADOWED_METHOD, Rule
from antivenom.scan.stubs import PLAIN, Blob, Global, Instance, Mapping, Sequence, is_called_by_load, is_inert

# Attributes in a state on which a `__setstate__` that was read works: no kept object may be in them.
_READ = (
    *("_sklearn_version", "_all_weights", "all_weights", "X_thresholds_", "y_thresholds_", "param_groups", "defaults"),
    *("compute", "_test_eval", "_test_evals", "__model", "_typ", "_flags", "_data"),
)
_FORMULAS = ("restore_model_spec", "restore_design_info")  # statsmodels evaluates the formula in the state as Python
_CONTAINERS = ("builtins", "collections", "copyreg")  # whose instances can hold kept objects
_PARTIAL = ("functools", "partial")
Violation = tuple[Rule, str, str]  # the rule, what happened, and the name concerned


class KeptObjects:
    """The kept objects of a stream, and the violations by what is done with them."""

    def __init__(self, allow: AllowList) -> None:
        self._allow = allow
        self._any = False  # whether there is a kept object
        self._loose = False  # whether a list that is inert by itself can hold one that is not

    def called(self, callee: Global, arguments: object, bare: bool) -> Iterator[Violation]:
        """Violations in a call, on whose arguments the callee can work."""
        permission = self._allow.permission(callee)
        if (callee.module, callee.name) == _PARTIAL:
            yield from self._partial(arguments)
        if not self._any or permission.keeps or arguments == ():
            return
        copies = callee.module in _CONTAINERS  # they copy a dict without a look at its values
        for each in arguments if isinstance(arguments, tuple) else (arguments,):
            if isinstance(each, Mapping) and isinstance(arguments, tuple):
                inert = copies or _holds_inert(each)
            else:
                inert = self._is_inert(each)
            if not inert:
                yield KEPT_OBJECT, f"passes objects to {callee}", str(callee)
                return

    def made(self, made: Instance, callee: Global) -> None:
        """A call has a result."""
        permission = self._allow.permission(callee)
        self._any |= permission.kept
        holds = permission.keeps or callee.module in _CONTAINERS
        made.inert = not permission.kept and (not holds or self._is_inert(made.arguments))

    def filled(self, target: Sequence | Instance, items: list[object]) -> Iterator[Violation]:
        """Violations by adding items, for which the target's class can have methods of its own."""
        if isinstance(target, Sequence):
            inert = all(map(is_inert, items))
            self._loose |= target.shared and not inert
            target.inert &= inert
            target.size += len(items)
            target.only = items[0] if target.size == len(items) == 1 else None
            for each in items:
                if isinstance(each, Sequence):
                    each.shared = True
            return
        if target.inert and not all(map(is_inert, items)):
            target.inert, self._loose = False, True
        if isinstance(target.maker, Global) and self._allow.permission(target.maker).kept:
            name, names = str(target.maker), target.items
            if not self._allow.permission(target.maker).fills:
                yield KEPT_OBJECT, f"adds items to {name}", name
            elif names is not None and (names.computed or any(map(is_called_by_load, names.items))):
                yield SHADOWED_METHOD, f"items of {name} under the name of a method", name

    def hashed(self, keys: list[object]) -> Iterator[Violation]:
        """Violations by keys whose class can have a hash of its own."""
        if self._any and not all(map(self._is_inert, keys)):
            yield KEPT_OBJECT, "uses an object as a key", "key"

    def built(self, target: Instance) -> Iterator[Violation]:
        """Violations by a state, on which a class can work."""
        if not isinstance(target.maker, Global):
            return
        permission, name, state = self._allow.permission(target.maker), str(target.maker), target.state
        if permission.kept:
            attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
            plain = isinstance(attributes, (Mapping, type(None))) and isinstance(slots, (Mapping, type(None)))
            if not plain or (slots is not None and not permission.slots):
                yield KEPT_OBJECT, f"sets a state of {name} that is no dict of attributes", name
            if target.rebuilt:
                yield KEPT_OBJECT, f"sets the state of {name} twice", name
        if permission.literal and state is not None:
            yield PATCHED_GLOBAL, f"changes the shared object that {name} returns", name
        if (target.maker.module, target.maker.name) == _PARTIAL:
            yield from self._partial(state)
        is_part = not permission.kept and target.maker.module.partition(".")[0] == "pandas"
        if self._any and is_part and (self._loose or not _is_deeply_inert(state)):
            yield KEPT_OBJECT, f"has {name} work on objects", name
        if isinstance(state, Mapping):
            yield from self._read(name, state)
        elif isinstance(state, tuple) and target.inert and not all(map(is_inert, state[4:])):
            target.inert, self._loose = False, True  # an array of objects

    def _read(self, name: str, state: Mapping) -> Iterator[Violation]:
        for key in _FORMULAS:
            if key in state.items:
                yield EMBEDDED_CODE, f"has {name} evaluate the formula {state.items.get('formula')!r} as Python", name
        for key in _READ if self._any else ():
            value = state.items.get(key)
            if not (_holds_inert(value) if isinstance(value, Mapping) else self._is_inert(value)):
                yield KEPT_OBJECT, f"has {name} work on the objects in {key}", name

    def _partial(self, arguments: object) -> Iterator[Violation]:
        """Violations by the callable of a partial, which brings its own arguments for a later call."""
        match arguments:
            case (Global() as held, *_) if self._allow.permission(held).kept:
                yield KEPT_OBJECT, f"a functools.partial of {held}", str(held)
            case (Global() as held, *_) if self._allow.broken_rule(held) is None:
                return
            case _:
                yield KEPT_OBJECT, "a functools.partial of a computed or unlisted object", ".".join(_PARTIAL)

    def _is_inert(self, value: object) -> bool:
        return is_inert(value) and not (self._loose and isinstance(value, (tuple, Sequence)) and not _is_plain(value))


def _holds_inert(mapping: Mapping) -> bool:
    return mapping.complete and all(map(is_inert, mapping.items.values()))


def _is_deeply_inert(value: object, depth: int = 6) -> bool:
    """As `is_inert`, but with a look into dicts, and into lists of one item."""
    if isinstance(value, Mapping):
        return depth > 0 and value.complete and all(_is_deeply_inert(each, depth - 1) for each in value.items.values())
    if isinstance(value, tuple):
        return depth > 0 and len(value) < 8 and all(_is_deeply_inert(each, depth - 1) for each in value)
    if isinstance(value, Sequence) and value.size == 1:
        return depth > 0 and _is_deeply_inert(value.only, depth - 1)
    return is_inert(value)


def _is_plain(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, (*PLAIN, Blob, Global)) for each in value)
