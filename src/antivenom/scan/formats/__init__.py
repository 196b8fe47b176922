"""What a part is, told by its content and never by its name, and which check looks into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from antivenom.scan.findings import Finding
from antivenom.scan.formats import pickles, plain
from antivenom.scan.limits import LimitReached
from antivenom.scan.part import Part
from antivenom.scan.rules import SCAN_ERROR, UNKNOWN_FORMAT
from antivenom.scan.view import View


@dataclass(frozen=True)
class Format:
    """One kind of content.

    Fields:
        name: as reports show it.
        matches: whether bytes are of this kind; cheap, reads the beginning or the end only.
        check: yields the findings; raises LimitReached.
    """

    name: str
    matches: Callable[[View], bool]
    check: Callable[[Part], Iterator[Finding]]


def _unknown(part: Part) -> Iterator[Finding]:
    yield part.finding(UNKNOWN_FORMAT, f"content that begins with {part.view.read(0, 8).hex(' ')}")


# The first that matches decides; formats with a signature come before those that are told by trying.
FORMATS: tuple[Format, ...] = (
    Format("empty", lambda view: len(view) == 0, lambda part: iter(())),
    Format("pickle", pickles.is_binary, pickles.check),
    Format("pickle", pickles.is_old, pickles.check),
    Format("text", plain.is_text, plain.check),
    Format("unknown", lambda view: True, _unknown),
)


def identify(view: View) -> Format:
    """The format of a part."""
    return next(each for each in FORMATS if each.matches(view))


def look(part: Part) -> Iterator[Finding]:
    """The findings in a part and all that lies in it. A limit or a failure is a finding, too."""
    try:
        yield from identify(part.view).check(part)
    except LimitReached as limit:
        yield part.reached(limit)
    except (Exception, RecursionError) as error:  # a check that fails must never read as "safe"
        yield part.finding(SCAN_ERROR, f"{type(error).__name__}: {error}")
