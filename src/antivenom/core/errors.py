"""One root error. Every message is one line: what was expected, what was found, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self

_MOST_QUOTED = 500  # characters of what was found instead, which may be a value of any length


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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the most similar known name, or all known names if none is similar."""
    names = sorted(known)
    lowered = {n.lower(): n for n in names}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"did you mean {lowered[near[0]]!r}?" if near else f"choose from {', '.join(names) or 'nothing: none known'}"
