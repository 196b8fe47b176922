"""What a pickle does with listed names, held against the permission on which they are listed."""

from __future__ import annotations

from collections.abc import Iterator

from antivenom.scan.allow import UNRESTRICTED, AllowList
from antivenom.scan.formats import dtypes
from antivenom.scan.rules import ARRAY_TYPE, CALLED_REFERENCE, COMPUTED_CALL, SHADOWED_METHOD, Rule
from antivenom.scan.stubs import ATTRIBUTES, Global, Instance, Mapping, is_called_by_load

_VALUES = (str, bytes, int, float, type(None))  # what nothing can call
_SCALARS = ("numpy._core.multiarray", "numpy.core.multiarray")
_TYPE = ("numpy", "dtype")
_BYTES = {("_codecs", "encode"), ("builtins", "bytes")}  # how old protocols spell bytes, which a type's state can hold
Violation = tuple[Rule, str, str]  # the rule, what happened, and the name concerned


def check_call(allow: AllowList, callee: Global, arguments: object, bare: bool) -> Iterator[Violation]:
    """What is wrong with calling a listed name, or making it `bare` by `__new__`, with these arguments."""
    permission, name = allow.permission(callee), str(callee)
    if not permission.call and not (bare and arguments == ()):
        yield CALLED_REFERENCE, f"calls {name}", name
    if not isinstance(arguments, tuple):
        if permission.calls is not None or permission.state is not None:
            yield COMPUTED_CALL, f"calls {name} with arguments that it has built", name
        return
    if permission.calls is not None and len(arguments) > permission.calls:
        called = arguments[permission.calls]
        listed = isinstance(called, Global) and allow.permission(called) == UNRESTRICTED
        if not listed and not isinstance(called, _VALUES):
            what = str(called) if isinstance(called, Global) else "an object that it has built"
            yield COMPUTED_CALL, f"has {name} call {what}", name
    if permission.state is not None and len(arguments) > permission.state:
        yield from check_state(arguments[permission.state], callee)
    if (
        callee.name == "scalar"
        and callee.module in _SCALARS
        and arguments
        and dtypes.of_stub(arguments[0]) in (None, dtypes.OBJECTS)
    ):
        yield ARRAY_TYPE, "a scalar of a type that holds objects or contradicts itself", name


class ArrayTypes:
    """The array types of a stream. Each is made and given its state at once, before anything can use it: a type that
    changes later changes the arrays that have it."""

    def __init__(self) -> None:
        self._open: list[Instance] = []

    def made(self, made: Instance, name: tuple[str, str]) -> Iterator[Violation]:
        """What is wrong with this call while types are open."""
        if name == _TYPE:
            self._open.append(made)
        elif self._open and name not in _BYTES:
            self._open.clear()
            yield ARRAY_TYPE, "an array type that is used before it has its state", ".".join(_TYPE)

    def built(self, made: Instance) -> Iterator[Violation]:
        """What is wrong with the state that a type was given."""
        match made.maker:
            case Global(module="numpy", name="dtype"):
                if not self._open or self._open.pop() is not made:
                    yield ARRAY_TYPE, "an array type that changes after it was made", ".".join(_TYPE)
                elif not dtypes.measure(made):
                    yield ARRAY_TYPE, "an array type that contradicts itself", ".".join(_TYPE)


def check_state(state: object, target: object) -> Iterator[Violation]:
    """Attributes that loading would call, and attributes whose names nobody can see."""
    for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
        if _may_be_dict(part):
            yield SHADOWED_METHOD, f"state for {target} that it has built", str(target)
        for names in _names(part):
            if names.computed:
                yield SHADOWED_METHOD, f"state for {target} under names that it has built", str(target)
            for name in filter(is_called_by_load, names.items):
                yield SHADOWED_METHOD, f"state for {target} that sets {name}", f"{target}.{name}"


def _names(state: object) -> Iterator[Mapping]:
    """The dicts that an object with this state finds its attributes in: torch modules look into three more."""
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
    """Whether a call made `state`, and made a dict of it, whose names nobody has seen. No listed name of numpy does."""
    if not isinstance(state, Instance):
        return False
    return not isinstance(state.maker, Global) or state.maker.module.partition(".")[0] != "numpy"
