"""Text: notes, labels, merges, YAML, templates. Text runs nothing itself, but some loaders call names in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from antivenom.scan.findings import Finding
from antivenom.scan.formats import names, settings, templates, tensorflow
from antivenom.scan.limits import LimitReached
from antivenom.scan.part import Part
from antivenom.scan.rules import CUSTOM_OPERATION, EMBEDDED_CODE, REMOTE_CODE, UNSAFE_OPERATION

_WINDOW, _OVERLAP = 1 << 20, 1 << 12
_LONGEST_TEMPLATE = 1 << 23
_TAG = re.compile(r"!(?:[!<][^\s>]{0,300}|[^\s!]{0,60}![^\s]{0,300})")
_HANDLE = re.compile(r"^%TAG[ \t]+\S+[ \t]+(\S+)", re.MULTILINE)
_PREFIX = re.compile(r"tag:yaml\.org,2002:.")  # with such a prefix, a short tag can stand for a Python tag
_TARGET = re.compile(r"_target_['\"]?\s*:\s*['\"]?([\w.]+)")  # Hydra calls this target
_LOADER = re.compile(r"loader_module['\"]?\s*:\s*['\"]?([\w.]+)")  # MLflow imports this module
# The operation of a node in the text form of a graph: one or more quoted strings with comments between them.
_SPACE = r"(?:\s|#[^\n]*\n)*"
_OPERATION = re.compile(rf"\bop{_SPACE}:{_SPACE}((?:\"(?:[^\"\\\n]|\\.)*\"{_SPACE}|'(?:[^'\\\n]|\\.)*'{_SPACE})+)")
_NODE = re.compile(r"\b(?:node|node_def|meta_graphs)\s*:?\s*[{<]")
_PIECE = re.compile(r"\"((?:[^\"\\\n]|\\.)*)\"|'((?:[^'\\\n]|\\.)*)'")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3}))")


def check(part: Part) -> Iterator[Finding]:
    """Findings in YAML that calls Python, in graphs in text form, and in templates that access Python internals."""
    marked, seen = False, set[tuple[str, str]]()
    for finding in settings.check(part):
        seen.add((finding.rule, finding.name))
        yield finding
    for at in range(0, max(1, len(part.view)), _WINDOW):
        part.meter.tick()
        window = part.view.read(at, _WINDOW + _OVERLAP).decode("utf-8", "replace")
        marked |= "{{" in window or "{%" in window
        for finding in _window(part, window, at):
            if (finding.rule, finding.name) not in seen:
                seen.add((finding.rule, finding.name))
                yield finding
            if len(seen) > part.meter.limits.findings:
                raise LimitReached("findings", part.meter.limits.findings)
    if marked:
        if len(part.view) > _LONGEST_TEMPLATE:
            raise LimitReached("bytes of a template", _LONGEST_TEMPLATE)
        yield from templates.check(part, part.view.read().decode("utf-8", "replace"), "", strict=False)


def _window(part: Part, text: str, at: int) -> Iterator[Finding]:
    if "!" in text or "%TAG" in text:
        for tag in _python_tags(text):
            yield part.finding(EMBEDDED_CODE, f"the YAML tag {tag} makes a loader call Python", at, tag)
    if "target_" in text:
        for target in _TARGET.findall(_unescaped(text)):
            module, _, name = target.rpartition(".")
            if (rule := names.broken_rule(part, module, name)) is not None:
                yield part.finding(rule, f"asks the loader to call {target}", at, target)
    for module in _LOADER.findall(text):
        if not module.startswith("mlflow."):
            yield part.finding(REMOTE_CODE, f"the loader is {module}", at, module)
    for match in _OPERATION.finditer(text) if _NODE.search(text) else ():
        operation = "".join(_unescaped(one or other) for one, other in _PIECE.findall(match.group(1)))
        computing, reaching = tensorflow.operations()
        if operation not in computing:
            rule = UNSAFE_OPERATION if operation in reaching else CUSTOM_OPERATION
            yield part.finding(rule, f"the operation {operation}", at + match.start(), operation)


def _python_tags(text: str) -> list[str]:
    """The distinct tags with which PyYAML constructs Python objects, in all their notations."""
    found = [tag for tag in map(unquote, _TAG.findall(text)) if "python/" in tag]
    return list(
        dict.fromkeys([*found, *(handle for handle in map(unquote, _HANDLE.findall(text)) if _PREFIX.match(handle))])
    )


def _unescaped(text: str) -> str:
    """The text with its numeric escapes replaced by characters; octal ones are protobuf's."""

    def character(match: re.Match[str]) -> str:
        hexadecimal = match[1] or match[2] or match[3]
        number = int(hexadecimal, 16) if hexadecimal else int(match[4], 8)
        return chr(number) if number < 0x110000 else "?"

    return _ESCAPE.sub(character, text) if "\\" in text else text
