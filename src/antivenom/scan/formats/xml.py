"""XML, such as PMML and OpenVINO models. Its declarations can make a reader open files or grow without bound.

The document is read with expat, which follows no external reference here. Reading stops at the first dangerous declaration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.parsers import expat

from antivenom.scan.findings import Finding
from antivenom.scan.formats import plain, texts
from antivenom.scan.limits import LimitReached
from antivenom.scan.part import Part
from antivenom.scan.rules import CONFIGURED_CODE, EXTERNAL_ENTITY, MALFORMED, Rule
from antivenom.scan.view import View

_BEGIN = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml\b|<!DOCTYPE\b|<!--|<[A-Za-z_][\w.:-]*[\s/>])")
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!DOCTYPE\s+html\b|html\b)", re.IGNORECASE | re.DOTALL)
_DECLARED = re.compile(rb"<\?xml[^>]*?\bencoding\s*=\s*[\"']([^\"']*)")
_ENCODINGS = re.compile(r"utf-?8|utf-?16|(?:us-)?ascii|iso-8859-\d+|latin-?1|windows-125\d", re.IGNORECASE)
_CHUNK = 1 << 16
_LONGEST = 1 << 28
_KNOWN = re.compile(r"https?://(?:www\.)?(?:w3\.org|dmg\.org)/.*")  # document types that readers know by heart
_INCLUDE = "http://www.w3.org/2001/XInclude"


class _Stop(Exception):
    """A declaration that ends the reading: a rule and what was found."""


def matches(view: View) -> bool:
    """Whether the content begins like an XML document, and not like a page of HTML or Markdown."""
    head = view.read(0, 1024)
    return _BEGIN.match(head) is not None and not _HTML.match(head)


def check(part: Part) -> Iterator[Finding]:
    """Findings for entities, external document types, inclusions and native libraries; text that is not XML is text."""
    if len(part.view) > _LONGEST:
        raise LimitReached("bytes of XML", _LONGEST)
    yield from plain.check(part)
    encoding = _DECLARED.search(part.view.read(0, 256))
    if encoding and not _ENCODINGS.fullmatch(encoding[1].decode("latin-1")):
        yield part.finding(
            MALFORMED, f"XML in the encoding {encoding[1].decode('latin-1')}, which hides its declarations"
        )
    parser = _parser("utf-8" if texts.is_text(part.view) else None)
    declared = part.view.read(0, 64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<?xml")
    try:
        for at in range(0, len(part.view), _CHUNK):
            part.meter.spend("opcodes", 64)
            parser.Parse(part.view.read(at, _CHUNK), False)
        parser.Parse(b"", True)
    except _Stop as stop:
        rule, what = stop.args
        yield part.finding(rule, what, name=what)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if declared or part.name.lower().endswith((".xml", ".pmml")):
            yield part.finding(MALFORMED, f"XML that does not parse: {error}")


def _parser(encoding: str | None) -> expat.XMLParserType:
    parser = expat.ParserCreate(encoding, namespace_separator=" ")
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.StartDoctypeDeclHandler = _doctype
    parser.EntityDeclHandler = _entity
    parser.StartElementHandler = _element
    return parser


def _stop(rule: Rule, what: str) -> None:
    raise _Stop(rule, what)


def _doctype(name: str, system: str | None, public: str | None, internal: object) -> None:
    if system and not _KNOWN.fullmatch(system):
        _stop(EXTERNAL_ENTITY, f"the document type {name} is read from {system}")


def _entity(
    name: str, parameter: object, value: str | None, base: object, system: str | None, public: object, notation: object
) -> None:
    if system is not None:
        _stop(EXTERNAL_ENTITY, f"the entity {name} reads {system}")
    if parameter or (value is not None and ("&" in value or "%" in value or len(value) > 1000)):
        _stop(EXTERNAL_ENTITY, f"the entity {name} expands to other entities or to a long text")


def _element(name: str, attributes: dict[str, str]) -> None:
    space, _, local = name.rpartition(" ")
    if space == _INCLUDE and local == "include":
        _stop(EXTERNAL_ENTITY, f"an inclusion of {attributes.get('href')}")
    for key, value in attributes.items():
        if re.fullmatch(r"\S*\w\.(?:so(?:\.\d+)*|dll|dylib)", value):
            _stop(CONFIGURED_CODE, f"{key} names the native library {value}")
