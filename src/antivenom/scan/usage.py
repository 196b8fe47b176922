"""Checks the use that a pickle makes of listed names against their permissions."""

from __future__ import annotations

from collections.abc import Iterator

from antivenom.scan.allow import UNRESTRICTED, AllowList
from antivenom.scan.formats import dtypes
from antivenom.scan.rules import ARRAY_TYPE, CALLED_REFERENCE, COMPUTED_CALL, SHADOWED_METHOD, Rule
from antivenom.scan.stubs import ATTRIBUTES, PLAIN, Global, Instance, Mapping, is_called_by_load, is_harmless

_SCALARS = ("numpy._core.multiarray", "numpy.core.multiarray")
_TYPE = ("numpy", "dtype")
_BYTES = {("_codecs", "encode"), ("builtins", "bytes")}  # old protocols write bytes, as in a dtype's state, as calls
Violation = tuple[Rule, str, str]  # the rule, what happened, and the name concerned


def check_call(allow: AllowList, callee: Global, arguments: object, bare: bool) -> Iterator[Violation]:
    """Violations in calling a listed name; `bare` means that `__new__` creates an instance of it without `__init__`."""
    permission, name = allow.permission(callee), str(callee)
    if not permission.call and not (bare and arguments == ()):
        yield CALLED_REFERENCE, f"calls {name}", name
    if not isinstance(arguments, tuple):
        if permission.calls is not None or permission.state is not None:
            yield COMPUTED_CALL, f"calls {name} with computed arguments", name
        return
    if permission.calls is not None and len(arguments) > permission.calls:
        called = arguments[permission.calls]
        listed = isinstance(called, Global) and allow.permission(called) == UNRESTRICTED
        if not listed and not isinstance(called, PLAIN):
            what = str(called) if isinstance(called, Global) else "a computed object"
            yield COMPUTED_CALL, f"has {name} call {what}", name
    if permission.state is not None and len(arguments) > permission.state:
        yield from check_state(arguments[permission.state], callee)
    if (
        callee.name == "scalar"
        and callee.module in _SCALARS
        and arguments
        and dtypes.of_stub(arguments[0]) in (None, dtypes.OBJECTS)
    ):
        yield ARRAY_TYPE, "a scalar whose dtype holds objects or is inconsistent", name


class ArrayTypes:
    """The dtypes of a stream. Each must get its state right after its creation.

    If a dtype changes after its first use, the arrays that refer to it change as well.
    """

    def __init__(self) -> None:
        self._open: list[Instance] = []

    def made(self, made: Instance, name: tuple[str, str]) -> Iterator[Violation]:
        """Violations by a call that happens while a dtype has no state yet."""
        if name == _TYPE:
            self._open.append(made)
        elif self._open and name not in _BYTES:
            self._open.clear()
            yield ARRAY_TYPE, "a dtype that is used before it has its state", ".".join(_TYPE)

    def built(self, made: Instance) -> Iterator[Violation]:
        """Violations in the state that a dtype has received."""
        match made.maker:
            case Global(module="numpy", name="dtype"):
                if not self._open or self._open.pop() is not made:
                    yield ARRAY_TYPE, "a dtype that changes after its creation", ".".join(_TYPE)
                elif not dtypes.measure(made):
                    yield ARRAY_TYPE, "an inconsistent dtype", ".".join(_TYPE)


def check_state(state: object, target: object) -> Iterator[Violation]:
    """Violations by attributes that loading would call, and by attributes whose names are computed."""
    for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
        if _may_be_dict(part):
            yield SHADOWED_METHOD, f"computed state for {target}", str(target)
        for names in _names(part):
            if names.computed:
                yield SHADOWED_METHOD, f"state for {target} under computed names", str(target)
            for name, value in names.items.items():
                if is_called_by_load(name) and not is_harmless(name, value):
                    yield SHADOWED_METHOD, f"state for {target} that sets {name}", f"{target}.{name}"


def _names(state: object) -> Iterator[Mapping]:
    """The dicts in which an object with this state looks up attributes. Torch modules have three additional ones."""
    if isinstance(state, Mapping):
        yield state
        for key in ATTRIBUTES:
            match state.items.get(key):
                case Mapping() as inner:
                    yield inner
                case Instance(arguments=(), items=Mapping() as inner):
                    yield inner
                case Instance(arguments=(_, *_)):
                    yield Mapping(computed=True)


def _may_be_dict(state: object) -> bool:
    """Whether `state` is the result of a call that can return a dict of unknown names. No listed name of numpy can."""
    if not isinstance(state, Instance):
        return False
    return not isinstance(state.maker, Global) or state.maker.module.partition(".")[0] != "numpy"
