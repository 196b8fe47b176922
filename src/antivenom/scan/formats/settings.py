"""Text of configurations, parsed as its loaders parse it: YAML, TOML and INI files, and the head of a model card."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import unquote

from antivenom.scan.findings import Finding
from antivenom.scan.formats import loaders, names, values, yaml_values
from antivenom.scan.limits import LimitReached
from antivenom.scan.part import Part
from antivenom.scan.rules import CONFIGURED_CODE, EMBEDDED_CODE, MALFORMED, UNTRUSTED_TYPE

_YAML = frozenset({".yaml", ".yml"})
_YAML_NAMES = frozenset({"MLmodel", "MLproject", "dvc.lock", ".clang-format"})
_INI = frozenset({".ini", ".cfg", ".conf"})
_LONGEST = 1 << 23  # a longer file of settings reaches a limit
_LONGEST_GUESS = 1 << 20  # other text is parsed only up to this length
_LIKE_YAML = re.compile(r"^[ \t]*(?:- )*[^\s#][^\n]{0,400}?:(?:[ \t\r\n]|$)|[!&*]\S|^%TAG", re.MULTILINE)
_SECTION = re.compile(r"^[ \t]*\[[^\]\n]{1,200}\][ \t]*\r?$", re.MULTILINE)
_STANDARD = frozenset(
    {
        *("str", "int", "float", "bool", "null", "seq", "map", "set", "omap", "pairs", "binary", "timestamp", "merge"),
        *(
            "value",
            "yaml",
            "float#",
            "int#",
        ),
    }
)
_PREFIX = "tag:yaml.org,2002:"
_WORD_TAGS = frozenset(  # local tags that join, copy or read values, in the loaders that know them
    {
        *("!include", "!ref", "!copy", "!tuple", "!list", "!PLACEHOLDER", "!env", "!ENV", "!secret", "!reference"),
        *(
            "!Ref",
            "!Sub",
            "!GetAtt",
            "!join",
            "!path",
        ),
    }
)
_NAMING = re.compile(r"!(\w+):(.+)", re.DOTALL)  # HyperPyYAML: !new:module.Class
_NAMED = re.compile(r"!([A-Za-z_][\w.]*\.[A-Za-z_]\w*)")


def check(part: Part) -> Iterator[Finding]:
    """The findings in a text that a loader of settings would read."""
    path = PurePosixPath(part.name.replace("\\", "/"))
    suffix = path.suffix.lower()
    is_yaml = suffix in _YAML or path.name in _YAML_NAMES
    named = is_yaml or suffix == ".toml" or suffix in _INI
    if len(part.view) > (_LONGEST if named else _LONGEST_GUESS):
        if named:
            raise LimitReached("bytes of settings", _LONGEST)
        return
    part.meter.spend("unpacked", len(part.view))
    text = part.view.read().decode("utf-8-sig", "replace")
    if suffix == ".toml":
        yield from _toml(part, text)
    elif suffix in _INI or (not is_yaml and _SECTION.search(text)):
        yield from _ini(part, text)
    if is_yaml or (suffix != ".toml" and _LIKE_YAML.search(text)):
        yield from _yaml(part, text, is_yaml)


def _toml(part: Part, text: str) -> Iterator[Finding]:
    # Python's parser takes time in proportion to the square of the number of dots in a key.
    part.meter.spend("opcodes", sum(line.count(".") ** 2 for line in text.splitlines()))
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        yield part.finding(MALFORMED, f"TOML that does not parse: {error}")
        return
    yield from values.check(part, [document])


def _ini(part: Part, text: str) -> Iterator[Finding]:
    """Sections of an INI file. Every occurrence of a section or key counts, whichever a reader would take."""
    section: dict[str, list[str]] = {}
    sections, last = [section], ""
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare[0] in "#;":
            continue
        if bare[0] == "[" and bare[-1] == "]":
            section, last = {}, ""
            sections.append(section)
        elif line[0] in " \t" and last:
            section[last].append(bare)
        else:
            key, _, value = (
                (part_.strip() for part_ in re.split(r"([=:])", line, maxsplit=1))
                if re.search("[=:]", line)
                else (bare, "", "")
            )
            if key in section:
                part.meter.spend("opcodes", len(section))
                section = dict(section)
                sections.append(section)
            last, section[key] = key, [value]
    part.meter.spend("opcodes", len(text))
    yield from values.check(part, [{key: _json("\n".join(lines)) for key, lines in each.items()} for each in sections])


def _json(value: str) -> object:
    """The value of a setting, which spaCy and others write as JSON."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _yaml(part: Part, text: str, named: bool) -> Iterator[Finding]:
    found = yaml_values.read(text, part.meter)
    for tag in found.tags:
        yield from _tag(part, unquote(tag), named or not found.error)
    if found.error and named:
        yield part.finding(MALFORMED, f"YAML that does not parse: {found.error}")
    if found.repeated and named:
        yield part.finding(MALFORMED, f"a duplicate key in YAML: {found.repeated[0]}")
    yield from values.check(part, found.values)


def _tag(part: Part, tag: str, is_yaml: bool) -> Iterator[Finding]:
    """The finding for a tag, with which a loader constructs something other than plain values."""
    if tag.startswith(_PREFIX):
        kind = tag.removeprefix(_PREFIX)
        if kind not in _STANDARD and is_yaml:
            yield part.finding(
                EMBEDDED_CODE, f"the YAML tag !!{kind} makes a loader construct this type", name=f"!!{kind}"
            )
        return
    if not is_yaml:
        return
    if match := _NAMING.fullmatch(tag):
        kind, target = match[1], match[2].strip()
        if kind == "include":
            yield part.finding(UNTRUSTED_TYPE, f"HyperPyYAML includes {target}", name=target)
        else:
            yield from loaders.imported(part, f"HyperPyYAML (!{kind}:)", target)
    elif match := _NAMED.fullmatch(tag):
        module, _, name = match[1].rpartition(".")
        if (rule := names.broken_rule(part, module, name)) is not None:
            yield part.finding(rule, f"the YAML tag {tag} names {match[1]}", name=match[1])
    elif re.match(r"!(?:ruby|java|javax|com|org|js|perl|php|py|python)\b", tag):
        yield part.finding(CONFIGURED_CODE, f"the YAML tag {tag} makes a loader construct this type", name=tag)
    elif tag not in _WORD_TAGS:
        yield part.finding(UNTRUSTED_TYPE, f"the YAML tag {tag}, whose loader decides what it constructs", name=tag)
