"""PyTorch files: zip archives and older streams, whose pickles refer to tensors by persistent ids."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from antivenom.scan.findings import Finding
from antivenom.scan.formats import torchscript
from antivenom.scan.formats.pickles import Collector, findings_of, run
from antivenom.scan.part import Part
from antivenom.scan.rules import PERSISTENT_ID, TRAILING_STREAM
from antivenom.scan.stubs import OPAQUE, Global
from antivenom.scan.view import View

if TYPE_CHECKING:
    from antivenom.scan.formats.zips import Archive

_LIST = 1 << 26  # a longer list of weights in an exported program is not read
MAGIC = 0x1950A86A20F9469CFC6C  # value of the first of the five streams of an older file
_ITEM = {  # bytes per item of a storage
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
    "ComplexDoubleStorage": 16,
    "ComplexFloatStorage": 8,
    "QUInt8Storage": 1,
    "QInt8Storage": 1,
    "QInt32Storage": 4,
    "QUInt4x2Storage": 1,
    "QUInt2x4Storage": 1,
    "UntypedStorage": 1,
}


@dataclass(frozen=True)
class Storage:
    """The memory of a tensor, as described by a persistent id: its key and its size in bytes."""

    key: str
    size: int


class StorageCollector(Collector):
    """A collector that understands the persistent ids of PyTorch."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.storages: dict[str, Storage] = {}

    def persistent(self, identity: object, at: int) -> object:
        match identity:
            case ("storage", Global(name=kind), str(key), _, int(count), *_) if kind in _ITEM and count >= 0:
                self.storages[key] = Storage(key, count * _ITEM[kind])
            case ("module", Global() as kind, *_):
                return kind  # torch only compares its source text with the installed one and warns about a difference
            case _:
                self.add(PERSISTENT_ID, "a persistent id that is not a storage", at)
        return OPAQUE


class CompiledCollector(StorageCollector):
    """A collector for TorchScript, whose unpickler knows `__torch__` types of the archive and a few constructors."""

    def imported(self, wanted: Global) -> None:
        if wanted.module == "torch.jit._pickle" or wanted.module.split(".")[0] == "__torch__":
            self.imports += 1
            return
        super().imported(wanted)


def check_archive(part: Part, archive: Archive) -> Generator[Finding, None, set[str]]:
    """The findings in the pickles of a PyTorch archive; returns the names of the entries that it has covered.

    It covers nothing in an archive without such pickles. Tensors are skipped, never read.
    """
    from antivenom.scan.formats.zips import content

    members = {member.name: member for member in archive.members}
    compiled = any(name.split("/")[1:2] == ["code"] for name in members)
    done: set[str] = set()
    for name, member in members.items():
        folder, _, base = name.rpartition("/")
        if base.endswith(("_weights_config.json", "_constants_config.json")) and not member.flags & 1:
            raw = (f"{folder}/{each}" for each in _raw(content(part, member)))
            done |= {place for place in raw if place in members and members[place].method == 0}
        if compiled and "/code/" in name and base.endswith(".py") and not member.flags & 1:
            yield from torchscript.check(part.child(content(part, member), name))
            done.add(name)
        kind = {"data.pkl": "data", "constants.pkl": "constants", "traced_inputs.pkl": "traced_inputs"}.get(base)
        if (kind is None and not (compiled and base.endswith(".debug_pkl"))) or member.flags & 1:
            continue
        inner = part.child(content(part, member), name)
        collector = CompiledCollector(inner) if compiled else StorageCollector(inner)
        end, _ = run(collector)
        done.add(name)
        if 0 <= end < len(inner.view):
            collector.add(TRAILING_STREAM, f"{len(inner.view) - end} bytes after STOP", end)
        yield from findings_of(collector)
        for storage in collector.storages.values():
            place = f"{folder}/{kind}/{storage.key}"
            if place not in members:
                yield inner.finding(PERSISTENT_ID, f"a storage without its entry: {place}")
            elif members[place].method == 0 and members[place].size >= storage.size:
                done.add(place)
    return done


def _raw(view: View) -> Iterator[str]:
    """Entries of a `torch.export` archive that its list of weights declares as raw numbers; its loader copies them."""
    try:
        listed = json.loads(view.read(0, _LIST))["config"].values()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    for entry in listed:
        match entry:
            case {"path_name": str(name), "use_pickle": False}:
                yield name


def check_stream(part: Part) -> Iterator[Finding]:
    """The findings in the older format: five pickles, then raw storages up to the last byte."""
    collector, at = StorageCollector(part), 0
    for _ in range(5):
        at, _ = run(collector, at)
        if at < 0:
            break
    if at >= 0:
        end = at + sum(8 + storage.size for storage in collector.storages.values())
        if end != len(part.view):
            collector.add(TRAILING_STREAM, f"{len(part.view) - at} bytes of tensors where {end - at} are declared", at)
    yield from findings_of(collector)


def check_tar(part: Part) -> Iterator[Finding]:
    """The findings in a member of the oldest format: any number of consecutive pickles."""
    collector, at = StorageCollector(part), 0
    while 0 <= at < len(part.view):
        at, _ = run(collector, at)
    yield from findings_of(collector)
