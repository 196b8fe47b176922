"""One root error; every message is one line that says what was expected, what came, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self


class AntivenomError(Exception):
    """Something the user can mend. `str(error)` is one line: expected, got, remedy."""

    def __init__(self, expected: str, got: str, remedy: str = "") -> None:
        super().__init__(expected, got, remedy)  # all three, so that the error survives pickling
        self.expected, self.got, self.remedy = expected, got, remedy
        self.where = ""

    def at(self, where: str) -> Self:
        """This error with a place in front: a file, a line, a field."""
        self.where = self.where or where
        return self

    def __str__(self) -> str:
        line = f"{self.where}: " if self.where else ""
        line += f"expected {self.expected}, got {self.got}" + (f": {self.remedy}" if self.remedy else "")
        return " ".join(part.strip() for part in line.splitlines())  # a library's message may have many lines


class DataError(AntivenomError):
    """A data set that cannot be used as it is."""


class DataNotFound(DataError):
    """A named data set that is neither here nor reachable."""


class ModelError(AntivenomError):
    """A model that does not fit the data or the question."""


class ThreatError(AntivenomError):
    """An attack that did, saw or asked for more than its threat model grants."""


class PluginError(AntivenomError):
    """A plugin that cannot be found or built, or that returned something unusable."""


class NotApplicable(AntivenomError):
    """A combination that cannot exist here; the message names the rule that says so."""


class ScenarioError(AntivenomError):
    """A scenario file that does not say what to run."""


class StoreError(AntivenomError):
    """Records that cannot be written or read."""


class ScanError(AntivenomError):
    """A scan that cannot be set up: a path, an allow list or a baseline that cannot be used."""


class UnsafeFile(AntivenomError):
    """A model file, or an import that it asks for, which is not known to be safe."""


class FileError(AntivenomError):
    """A model file, folder, key or manifest that cannot be read, used or written."""


class Tampered(AntivenomError):
    """A folder that is not what was signed. `differences` says how, if its manifest is genuine."""

    differences: tuple[object, ...] = ()


class TrialTimeout(AntivenomError):
    """A trial that did not end within the scenario's time limit."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The remedy for a wrong name: the nearest right one, else all of them."""
    names = sorted(known)
    lowered = {n.lower(): n for n in names}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"did you mean {lowered[near[0]]!r}?" if near else f"choose from {', '.join(names) or 'nothing: none known'}"
