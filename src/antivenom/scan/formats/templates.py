"""Chat templates, which are Jinja programs in a model's files. They are parsed, never rendered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from antivenom.scan.findings import Finding
from antivenom.scan.formats.template_names import DUNDER, Reading
from antivenom.scan.limits import LimitReached
from antivenom.scan.part import Part
from antivenom.scan.rules import MALFORMED, NO_PARSER, TEMPLATE

if TYPE_CHECKING:
    from jinja2 import Environment

# Searched between the delimiters of a template when there is no syntax tree.
_MARKS = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_RAW = re.compile(
    rf"{DUNDER.pattern}|\.\s*_[a-zA-Z_]|\[\s*['\"]_|\|\s*attr\b|\\x5f|\\u005f|\\137|(?:lipsum|cycler|joiner)\s*[.\[|]"
)


def check(part: Part, text: str, name: str, strict: bool = True) -> Iterator[Finding]:
    """Findings for Python internals that a template accesses. If not `strict`, the text need not be a template."""
    where = f"{name}: " if name else ""
    try:
        tree = _environment().parse(text)
    except ImportError:
        raw = _raw(text)
        rule, what = (TEMPLATE, raw) if raw else (NO_PARSER, "a template, and jinja2 is not installed")
        yield part.finding(rule, where + what, name=name)
    except RecursionError:
        raise LimitReached("nested expressions of a template", 1000) from None
    except Exception as error:  # jinja2 raises many types on text that is not a template
        if strict:  # otherwise the text is probably not a template
            raw = _raw(text)
            rule, what = (TEMPLATE, raw) if raw else (MALFORMED, f"a template that does not parse: {error}")
            yield part.finding(rule, where + what, name=name)
    else:
        limit = part.meter.limits.findings
        for count, fault in enumerate(dict.fromkeys(Reading(tree, part.meter).faults(strict))):
            if count >= limit:
                raise LimitReached("findings", limit)
            yield part.finding(TEMPLATE, where + fault, name=name)


@cache
def _environment() -> Environment:
    import jinja2
    from jinja2.ext import Extension

    class Generation(Extension):
        """The tag with which transformers marks the assistant's messages; its body is an ordinary template."""

        tags = {"generation"}  # noqa: RUF012 - jinja2 reads it from the class

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    return jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do", Generation]
    )


def _raw(text: str) -> str:
    for mark in _MARKS.finditer(text):
        if found := _RAW.search(mark.group()):
            return f"{found.group()} in a template that cannot be parsed"
    return ""
