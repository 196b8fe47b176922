"""What the stack machine computes with: values that stand for objects and can do nothing."""

from __future__ import annotations

from dataclasses import dataclass

from antivenom.scan.view import View


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the unpickler would import.

    Fields:
        module: as `find_class` gets it, after the renaming of Python 2 names.
        name: the attribute, dotted from protocol 4 on.
        at: offset of the opcode that asked for it.
    """

    module: str
    name: str
    at: int = 0

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Instance:
    """What a call would have returned.

    Fields:
        maker: what was called.
        arguments: what it was called with.
        state: what BUILD gave it, None before.
        items: what was put into it as into a dict, None if nothing was.
        size: of an array's type, bytes per item; None if it is not understood.
        rebuilt: whether BUILD gave it more than one state, of which `state` is the last.
    """

    maker: object
    arguments: object = ()
    state: object = None
    items: Mapping | None = None
    size: int | None = None
    rebuilt: bool = False

    def put(self, key: object, value: object) -> None:
        self.items = self.items or Mapping()
        self.items.put(key, value)


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes or text too long to be copied: where they lie, and nothing else.

    Fields:
        view: the bytes as they stand in the file.
        is_text: whether they stand for text.
        grows: a bytearray, to which the stream can add what is not in `view`.
        codec: how text is written.
    """

    view: View
    is_text: bool = False
    grows: bool = False
    codec: str = "utf-8"


_KEPT = 64
_NOTHING: dict[str, object] = {}


ATTRIBUTES = ("_modules", "_parameters", "_buffers")  # dicts in which torch modules look up attributes, too
# Methods that opcodes, `dict` or the listed names' own __setstate__ look up on an object itself, not on its class.
_METHODS = frozenset(("append", "extend", "add", "keys", "items", "pop", "update", "astype", "_build_f"))


def is_called_by_load(name: str) -> bool:
    """Whether loading may call an attribute of this name."""
    return name in _METHODS or (name.startswith("__") and name.endswith("__"))


class Mapping:
    """A dict, of which the machine keeps the first entries with text keys, and all whose key a load looks up itself.

    Fields:
        items: what is kept.
        computed: whether a key was made by a call, so that it may be any text.
        complete: whether all of it is kept.
    """

    __slots__ = ("complete", "computed", "items")

    def __init__(self, computed: bool = False) -> None:
        self.items = _NOTHING  # one of its own only when needed: a file can hold millions of empty ones
        self.computed, self.complete = computed, True

    def put(self, key: object, value: object) -> None:
        if self.items is _NOTHING:
            self.items = {}
        if isinstance(key, str) and (
            len(self.items) < _KEPT or key in self.items or key in ATTRIBUTES or is_called_by_load(key)
        ):
            self.items[key] = value
            return
        self.complete = False
        self.computed = self.computed or isinstance(key, Instance)


class Opaque:
    """A list, set, number or buffer whose content changes nothing."""

    __slots__ = ()


OPAQUE = Opaque()
COMPUTED = "<computed>"  # the module or name of a Global that a call made up
