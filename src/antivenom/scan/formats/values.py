"""Values of a configuration, whatever their notation. Every object is checked for the keys that loaders read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.formats import exported, huggingface, keras, loaders, skops
from antivenom.scan.limits import LimitReached
from antivenom.scan.part import Part


def check(part: Part, documents: Iterable[object], texts: bool = True) -> Iterator[Finding]:
    """The findings in every object of some documents, each once, without recursion.

    With `texts`, values that are text are read as well, under whatever key they stand.
    """
    waiting, seen, said = list(documents), set[int](), set[tuple[str, str, str]]()
    keep = []  # keeps the objects alive whose identities are in `seen`
    root = waiting[0] if len(waiting) == 1 and isinstance(waiting[0], dict) else None
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list)):
            if id(value) in seen:
                continue
            seen.add(id(value))
            keep.append(value)
        part.meter.spend("opcodes", len(value) if isinstance(value, (dict, list)) else 1)
        for finding in _of(part, value, root, texts):
            key = (finding.rule, finding.name, finding.what if not finding.name else "")
            if key not in said:
                said.add(key)
                if len(said) > part.meter.limits.findings:
                    raise LimitReached("findings", part.meter.limits.findings)
                yield finding
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting.extend(each for each in inner if isinstance(each, (dict, list)))


def _of(part: Part, value: object, root: dict[str, object] | None, texts: bool) -> Iterator[Finding]:
    if isinstance(value, dict):
        for dialect in (keras, skops, huggingface, exported):
            yield from dialect.check_object(part, value)
        yield from loaders.check_object(part, value, root)
        if texts:
            for key, each in value.items():
                if isinstance(each, str):
                    yield from loaders.check_text(part, key, each)
    elif isinstance(value, list) and texts:
        for each in value:
            if isinstance(each, str):
                yield from loaders.check_text(part, "", each)
    elif isinstance(value, str):
        yield from loaders.check_text(part, "", value)
