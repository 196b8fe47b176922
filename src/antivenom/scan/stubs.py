"""What the stack machine computes with: values that stand for objects and can do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        state: what BUILD gave it, None before; opaque once it was given twice.
        touched: whether it was given items or a state, which could stand for its methods.
    """

    maker: Any
    arguments: Any = ()
    state: Any = None
    touched: bool = False


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
_NOTHING: dict[str, Any] = {}


class Mapping:
    """A dict, of which the machine keeps the first entries with text keys.

    Fields:
        items: those entries.
        complete: whether there are no others.
        special: a key by which it would give an object another method, if it became its state; empty if none.
    """

    __slots__ = ("complete", "items", "special")

    def __init__(self) -> None:
        self.items = _NOTHING  # one of its own only when needed: a file can hold millions of empty ones
        self.complete, self.special = True, ""

    def put(self, key: Any, value: Any) -> None:
        if self.items is _NOTHING:
            self.items = {}
        if isinstance(key, str) and (len(self.items) < _KEPT or key in self.items):
            self.items[key] = value
        else:
            self.complete = False
        if isinstance(key, str) and key.startswith("__"):
            self.special = key
        elif isinstance(key, (Instance, Opaque)):
            self.special = COMPUTED


class Opaque:
    """A list, set, number or buffer whose content changes nothing."""

    __slots__ = ()


OPAQUE = Opaque()
COMPUTED = "<computed>"  # the module or name of a Global that a call made up
