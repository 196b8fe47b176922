"""One root error. Every message is one line: what was expected, what was found, and how to mend it."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable
from typing import Self

_MOST_LISTED = 300  # characters of names to choose from
_MOST_BESIDE = 160  # and of those that a command lists too
_MOST_QUOTED = 500  # characters of what was found instead, which may be a value of any length
LINE = 1_000  # characters of an error or a note in a record


class AntivenomError(Exception):
    """An error that the user can mend.

    >>> print(AntivenomError("a rate from 0 to 1", "2", "0.1 is one row in ten").at("scenario.yaml:3"))
    scenario.yaml:3: expected a rate from 0 to 1, got 2: 0.1 is one row in ten

    Args:
        expected: what would have been right.
        got: what was found instead.
        remedy: what the user can do about it; empty if that is obvious from the other two.
    """

    def __init__(self, expected: str, got: str, remedy: str = "") -> None:
        super().__init__(expected, got, remedy)  # all three, so that the error survives pickling
        self.expected, self.got, self.remedy = expected, got, remedy
        self.where = self.field = ""

    def at(self, where: str) -> Self:
        """This error, with a place (a file, a line, a field) in front of its message; the first place given is kept."""
        self.where = self.where or where
        return self

    def of(self, field: str) -> Self:
        """This error, as one that is about a field of a scenario, so that a file's reader can name the field's line."""
        self.field = self.field or field
        return self

    def __str__(self) -> str:
        line = f"{self.where}: " if self.where else ""
        line += f"expected {self.expected}, got {_short(self.got)}" + (f": {self.remedy}" if self.remedy else "")
        return " ".join(
            part.strip() for part in line.splitlines()
        )  # a library's message quoted in it may have many lines


def _short(part: str) -> str:
    """The part of a message, cut if it quotes a value that is too long to read."""
    return part if len(part) <= _MOST_QUOTED else f"{part[:_MOST_QUOTED]}... ({len(part)} characters)"


class DataError(AntivenomError):
    """A data set cannot be used as it is."""


class DataNotFound(DataError):
    """A named data set is neither on this machine nor downloadable."""


class ModelError(AntivenomError):
    """A model does not fit the data, or cannot do what is asked of it."""


class ThreatError(AntivenomError):
    """An attack did, saw or asked for more than its threat model grants."""


class PluginError(AntivenomError):
    """A plugin cannot be found or built, raised an error, or returned something unusable."""


class NotApplicable(AntivenomError):
    """A combination of plugins, data and scenario that makes no sense; the message says why. An audit records it as such."""


class ScenarioError(AntivenomError):
    """A scenario, or a file that describes one, is invalid."""


class StoreError(AntivenomError):
    """Records cannot be written or read."""


class ScanError(AntivenomError):
    """A scan cannot be set up, because its path, allow list or baseline cannot be used."""


class UnsafeFile(AntivenomError):
    """A model file, or an import that it requests, is not known to be safe."""


class FileError(AntivenomError):
    """A model file, folder, key or manifest cannot be read, used or written."""


class Tampered(AntivenomError):
    """A folder differs from what was signed. `differences` lists how, if the manifest itself is genuine."""

    differences: tuple[object, ...] = ()


class TrialTimeout(AntivenomError):
    """A trial did not end within the scenario's time limit."""


def text_of(error: BaseException) -> str:
    """An error in one line of about LINE characters at most, even if its `str` raises: its type and its text.

    An error of antivenom needs no type, because its text is a whole sentence.

    >>> text_of(KeyError("age")), text_of(DataError("rows", "none"))
    ("KeyError: 'age'", 'expected rows, got none')
    """
    name = type(error).__name__
    try:
        text = " ".join(line.strip() for line in str(error).splitlines())
    except BaseException as second:  # the error's class is the user's, so that its text may raise anything
        return f"{name}: no message, because its str raises {type(second).__name__}"
    return shortened(text if isinstance(error, AntivenomError) else f"{name}: {text or 'no message'}", LINE)


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and its end if it has more than `most` characters."""
    if len(text) <= most:
        return text
    end = most // 10
    return f"{text[: most - end]} [...] {text[-end:]}"


def did_you_mean(name: str, known: Iterable[str], listed: str = "") -> str:
    """The remedy for an unknown name: the known names that resemble it, or else all of them, or where they are listed.

    >>> did_you_mean("krumm", ["Krum", "Median"]), did_you_mean("x", ["Krum", "Median"])
    ("did you mean 'Krum'?", 'choose from Krum, Median')

    Args:
        name: the unknown name.
        known: the names to choose from.
        listed: a command that lists them, for more names than fit in a line.
    """
    names = sorted(known)
    if found := similar(name, names):
        return found
    if len(", ".join(names)) <= (_MOST_BESIDE if listed else _MOST_LISTED):
        return f"choose from {', '.join(names) or 'nothing: none known'}"
    if listed:
        return f"`{listed}` lists all {len(names)}"
    lines = itertools.accumulate(names, "{}, {}".format)
    shown = list(itertools.takewhile(lambda line: len(line) <= _MOST_LISTED, lines)) or [names[0][:_MOST_LISTED]]
    return f"choose from {shown[-1]} and {len(names) - len(shown)} more"


def similar(name: str, known: Iterable[str]) -> str:
    """The remedy "did you mean ...?" for an unknown name, or "" if no known name resembles it.

    A name resembles another one if they differ in little more than a typing error, or if one is part of the other.
    """
    names = {_letters(known_name): known_name for known_name in known}
    typed = _letters(name)
    near = difflib.get_close_matches(typed, names, n=1, cutoff=0.65)
    near = [each for each in near if each[:1] == typed[:1] or difflib.get_close_matches(typed, [each], cutoff=0.8)]
    if not near and len(typed) >= 4:
        near = sorted(each for each in names if typed in each)
    quoted = [repr(names[each]) for each in near]
    if not 1 <= len(quoted) <= 3:
        return ""
    others = f"{', '.join(quoted[:-1])} or " if quoted[1:] else ""
    return f"did you mean {others}{quoted[-1]}?"


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def with_article(noun: str) -> str:
    """The noun after its indefinite article.

    >>> with_article("aggregator"), with_article("gate")
    ('an aggregator', 'a gate')
    """
    return f"{'an' if noun[:1].lower() in {*'aeiou'} else 'a'} {noun}"
