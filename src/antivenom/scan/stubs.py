"""Inert stand-ins for objects, on which the stack machine computes."""

from __future__ import annotations

from dataclasses import dataclass

from antivenom.scan.view import View


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the unpickler would import.

    Fields:
        module: the module, after Python 2 names were mapped.
        name: the attribute; from protocol 4 on it can be dotted.
        at: offset of the opcode that imports it.
    """

    module: str
    name: str
    at: int = 0

    def __str__(self) -> str:
        """The dotted name. A colon shows where the module ends if the attribute is dotted itself."""
        return f"{self.module}{':' if '.' in self.name else '.'}{self.name}"


@dataclass(slots=True, eq=False)
class Instance:
    """Stands for the result of a call.

    Fields:
        maker: the callable.
        arguments: its arguments.
        state: the last state that BUILD set; None before.
        items: dict items that were added to it; None if there are none.
        size: bytes per item, if it is an array's dtype that could be read; None otherwise.
        rebuilt: whether BUILD set a state more than once.
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
    """Bytes or text that are too long to be copied; only their place in the file is kept.

    Fields:
        view: the bytes in the file.
        is_text: whether they represent text.
        grows: whether it is a bytearray, to which the stream can append bytes that are not in `view`.
        codec: encoding of the text.
    """

    view: View
    is_text: bool = False
    grows: bool = False
    codec: str = "utf-8"


_KEPT = 64
_NOTHING: dict[str, object] = {}


ATTRIBUTES = ("_modules", "_parameters", "_buffers")  # torch modules also look up attributes in these dicts
# Methods that opcodes, `dict` or a listed name's __setstate__ look up on the object instead of its class.
_METHODS = frozenset(("append", "extend", "add", "keys", "items", "pop", "update", "astype", "_build_f"))


PLAIN = (str, bytes, int, float, type(None))  # types whose values cannot be called


def is_harmless(name: str, value: object) -> bool:
    """Whether an attribute cannot act although loading may call its name: a plain value, such as a layer's `add`."""
    return name in _METHODS and isinstance(value, PLAIN)


def is_called_by_load(name: str) -> bool:
    """Whether loading can call an attribute of this name."""
    return name in _METHODS or (name.startswith("__") and name.endswith("__"))


class Mapping:
    """Stands for a dict. It keeps the first entries with text keys, and all entries whose keys matter for loading.

    Fields:
        items: the entries that are kept.
        computed: whether some key is the result of a call and can therefore be any text.
        complete: whether all entries are kept.
    """

    __slots__ = ("complete", "computed", "items")

    def __init__(self, computed: bool = False) -> None:
        self.items = _NOTHING  # shared until the first entry, because a file can contain millions of empty dicts
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
    """Stands for a list, set, number or buffer whose content does not matter."""

    __slots__ = ()


OPAQUE = Opaque()
COMPUTED = "<computed>"  # module or name of a Global, if it is the result of a call
