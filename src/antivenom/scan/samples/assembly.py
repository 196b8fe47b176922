"""Writes pickle streams opcode by opcode. Every payload creates the marker and does nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One bypass, as an inert file.

    Fields:
        name: its name, as family/variant.
        reference: the advisory, issue or paper that published it, or the section of the format that allows it.
        make: writes the file into a folder, with a payload that creates the marker and does nothing else.
        loader: the loader that executes it: pickle, pickle.py (CPython's Python unpickler), pickle-file (from an open
            file), joblib, numpy, torch, dill, cloudpickle, or "" for formats whose loader the tests do not run.
        fires: True if loading creates the marker, otherwise the reason why it does not.
        packages: the packages that `make` and the loader import.
    """

    name: str
    reference: str
    make: Callable[[Path, Path], Path]
    loader: str = "pickle"
    fires: bool | str = True
    packages: tuple[str, ...] = ()


def sample(
    name: str,
    build: Callable[[str], bytes],
    reference: str,
    suffix: str = ".pkl",
    loader: str = "pickle",
    fires: bool | str = True,
    packages: tuple[str, ...] = (),
) -> Sample:
    """A sample whose content is the return value of `build` for the path of the marker."""

    def make(folder: Path, marker: Path) -> Path:
        path = folder / f"{name.replace('/', '-')}{suffix}"
        path.write_bytes(build(str(marker)))
        return path

    return Sample(name, reference, make, loader, fires, packages)


class Op(bytes):
    """Opcodes that leave one value on the stack."""


def put(value: object) -> Op:
    """The opcodes that push a plain value, which can contain Ops."""
    match value:
        case Op():
            return value
        case None:
            return Op(b"N")
        case bool():
            return Op(b"\x88" if value else b"\x89")
        case int():
            return Op(b"J" + struct.pack("<i", value))
        case str():
            data = value.encode()
            return Op(b"X" + struct.pack("<I", len(data)) + data)
        case bytes():
            return Op(b"B" + struct.pack("<I", len(value)) + value)
        case tuple():
            return Op(b"(" + b"".join(map(put, value)) + b"t")
        case list():
            return Op(b"](" + b"".join(map(put, value)) + b"e")
        case dict():
            return Op(b"}(" + b"".join(put(key) + put(each) for key, each in value.items()) + b"u")
    raise TypeError(f"no opcodes for {type(value).__name__}")


def named(path: str) -> Op:
    """STACK_GLOBAL of "module:name.name"."""
    module, _, name = path.partition(":")
    return Op(put(module) + put(name) + b"\x93")


def line(path: str) -> Op:
    """GLOBAL of "module:name", as protocol 0 writes it."""
    module, _, name = path.partition(":")
    return Op(f"c{module}\n{name}\n".encode())


def call(callee: str | Op, *arguments: object) -> Op:
    """REDUCE of a callable."""
    return Op((named(callee) if isinstance(callee, str) else callee) + put(arguments) + b"R")


def pickled(value: object, protocol: int = 4) -> bytes:
    """A complete stream for a value."""
    return (b"\x80" + bytes((protocol,)) if protocol >= 2 else b"") + put(value) + b"."


def payload(marker: str) -> Op:
    """The call that creates the marker."""
    return call("os:mkdir", marker)


def old_payload(marker: str) -> Op:
    """The call that creates the marker, in opcodes of protocol 0."""
    return Op(b"cposix\nmkdir\n(V" + marker.encode() + b"\ntR")


def code(marker: str) -> str:
    """A Python expression that creates the marker."""
    return f"open({marker!r}, 'w').close()"


def shell(marker: str) -> str:
    """A shell command that creates the marker."""
    return f"touch {marker}"
