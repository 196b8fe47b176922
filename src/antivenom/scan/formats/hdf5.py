"""HDF5, as Keras and PyTables write it: links and raw data in other files, and the texts and pickles in attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from antivenom.scan.findings import Finding
from antivenom.scan.part import Part
from antivenom.scan.reader import malformed
from antivenom.scan.rules import CUSTOM_OPERATION, EMBEDDED_CODE, MALFORMED, NO_PARSER, PATH_TRAVERSAL
from antivenom.scan.view import View

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LONGEST = 1 << 26  # bytes of an attribute
_BUILT_IN = {*range(1, 7), 32000}  # deflate to scale-offset, and h5py's own LZF; others are loaded from a library
_PLACES = (0, *(512 << shift for shift in range(12)))  # where the format lets a file begin


def matches(view: View) -> bool:
    """Whether the signature stands where readers look for it."""
    return any(view.read(at, 8) == _SIGNATURE for at in _PLACES if at < len(view))


def check(part: Part) -> Iterator[Finding]:
    """The findings of every object that the file's own links lead to; numbers are not read."""
    try:
        import h5py
    except ImportError:
        yield part.finding(NO_PARSER, "HDF5, and h5py is not installed")
        return
    if part.view.read(0, 8) != _SIGNATURE:
        yield part.finding(MALFORMED, "bytes before the HDF5 signature", 0)
    elif (end := _end(part.view)) != len(part.view):
        yield part.finding(MALFORMED, f"{len(part.view) - end} bytes after the end of the HDF5 file", end)
    try:
        with part.view.open() as stream, h5py.File(stream, "r") as file:
            yield from _walk(part, file)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise malformed(f"HDF5 that cannot be read: {error}") from None


def _end(view: View) -> int:
    """The end of the file as its superblock has it."""
    version, width = view.read(8, 1)[0], view.read(9 if view.read(8, 1)[0] > 1 else 13, 1)[0]
    at = {0: 24 + 2 * width, 1: 28 + 2 * width}.get(version, 12 + 2 * width)
    return int.from_bytes(view.read(at, width), "little")


def _walk(part: Part, file: Any) -> Iterator[Finding]:
    import h5py

    waiting, seen = [file["/"]], set()
    while waiting:
        here = waiting.pop()
        info = h5py.h5o.get_info(here.id)
        if info.addr in seen:
            continue
        seen.add(info.addr)
        part.meter.spend("members", 1)
        yield from _attributes(part, here)
        if isinstance(here, h5py.Dataset):
            yield from _dataset(part, here)
        elif isinstance(here, h5py.Group):
            for name in here:
                link = here.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    yield part.finding(
                        PATH_TRAVERSAL, f"{here.name}/{name} lies in {link.filename}", name=link.filename
                    )
                elif isinstance(link, h5py.HardLink):
                    waiting.append(here[name])


def _dataset(part: Part, dataset: Any) -> Iterator[Finding]:
    """Where its numbers lie, and what is needed to read them."""
    files = [name for name, _, _ in dataset.external or ()]
    if dataset.is_virtual:
        files += [source.file_name for source in dataset.virtual_sources() if source.file_name != "."]
    for name in dict.fromkeys(files):
        yield part.finding(PATH_TRAVERSAL, f"{dataset.name} lies in {name}", name=str(name))
    plan = dataset.id.get_create_plist()
    for number in {plan.get_filter(index)[0] for index in range(plan.get_nfilters())} - _BUILT_IN:
        yield part.finding(CUSTOM_OPERATION, f"{dataset.name} needs the HDF5 filter {number}", name=str(number))


def _attributes(part: Part, owner: Any) -> Iterator[Finding]:
    """Texts and bytes are looked into as if they were files: configurations and pickles among them."""
    import h5py

    for name in owner.attrs:
        attribute = h5py.h5a.open(owner.id, name.encode())
        if attribute.get_type().get_class() not in (h5py.h5t.STRING, h5py.h5t.OPAQUE, h5py.h5t.VLEN):
            continue
        if attribute.get_storage_size() > _LONGEST:
            raise malformed(f"the attribute {name} is too long to be read")
        value = owner.attrs[name]
        if name == "PSEUDOATOM" and b"object" in _bytes(value):
            yield part.finding(EMBEDDED_CODE, f"{owner.name} holds pickled objects", name=owner.name)
        for each in value.flat if hasattr(value, "flat") else (value,):
            if len(content := _bytes(each)) > 1:
                yield from part.inside(View(content), f"{owner.name}@{name}")


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return value if isinstance(value, bytes) else bytes(value) if hasattr(value, "tobytes") else b""
