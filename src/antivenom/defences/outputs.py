"""Writes the results of `antivenom sanitize`: new files only, with cells that no spreadsheet runs as formulas."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from antivenom.core.errors import ScenarioError, StoreError
from antivenom.data import Dataset
from antivenom.defences.suspects import Suspects

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # the beginnings of cells that a spreadsheet runs
_NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*([eE][+-]?[0-9]+)?")


def as_text(cell: str) -> str:
    """The cell with an apostrophe in front if a spreadsheet would run it as a formula. Numbers such as -5 stay as they are.

    >>> as_text("=1+1"), as_text("-5"), as_text("-1,5"), as_text("@SUM(A1)"), as_text("a=b")
    ("'=1+1", '-5', '-1,5', "'@SUM(A1)", 'a=b')
    """
    return f"'{cell}" if is_run(cell) else cell


def is_run(cell: str) -> bool:
    """Whether a spreadsheet would take the cell for a formula."""
    return cell.startswith(_FORMULAS) and _NUMBER.fullmatch(cell) is None


def write_new(texts: dict[str, str], out: Path, inputs: tuple[Path, ...], force: bool) -> list[Path]:
    """Write these files, named by their keys, into the folder.

    Raises:
        ScenarioError: a file is an input, or it exists and `force` is not set.
        StoreError: the folder cannot be written.
    """
    targets = {out / name: text for name, text in texts.items()}
    for target in targets:
        if any(target.exists() and target.samefile(path) for path in inputs):
            raise ScenarioError("another folder than the input's", f"{target}, an input", "choose another --out")
        if target.exists() and not force:
            raise ScenarioError("a new file", f"{target}, which exists", "choose another --out or add --force")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for target, text in targets.items():
            target.write_bytes(text.encode("utf-8"))
    except OSError as error:
        raise StoreError(f"a place to write {out}", f"{error.strerror}", "choose another --out") from error
    return list(targets)


def class_table(data: Dataset, flags: np.ndarray) -> list[str]:
    """The lines of a table with the number of suspects in each class."""
    width = max(12, *(len(c) for c in data.classes)) + 2
    lines = [f"{'class':<{width}}{'rows':>8}{'suspects':>10}{'kept':>8}"]
    for c, shown in enumerate(data.classes):
        rows, flagged = int((data.y == c).sum()), int(flags[data.y == c].sum())
        lines.append(f"{shown:<{width}}{rows:>8}{flagged:>10}{rows - flagged:>8}")
    total = int(flags.sum())
    return [*lines, f"{'all':<{width}}{len(data):>8}{total:>10}{len(data) - total:>8}"]


def said_of(found: Suspects | None, warning: str, name: str) -> list[str]:
    """The sentences below the table: false alarms to expect, notes, and the warning last."""
    if found is None:
        lines = [f"How many of these suspects are false alarms is unknown: {name} keeps no stated rate."]
    else:
        lines = [
            f"About {found.expected_false_alarms:.1f} of the suspects are expected to be false alarms.",
            *found.notes,
        ]
    return [*lines, *([f"WARNING: {warning}"] if warning else [])]
