"""`antivenom sanitize`: a CSV file in, the rows to keep and a ranked table of suspects with reasons out.

How cells are read: a column is numeric if all that is there are numbers; empty, NA, NaN, null, none, ? and infinities are
missing. A number becomes its z-score (missing: 0, the mean, with a column that says so), a word one column per category
(the 30 most frequent, all others together; missing is a category). With trusted rows, mean and deviation are theirs.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from antivenom.core.errors import DataError, PluginError, ScenarioError, StoreError, did_you_mean
from antivenom.core.registry import Kind, build
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.sampler import context_of

MISSING = {"", "na", "nan", "null", "none", "?", "n/a"}
CATEGORIES, NEIGHBOURS = 30, 10
UNUSUAL = 3.0  # standard deviations from the class's mean that are worth a word


@dataclass(frozen=True, eq=False)
class Table:
    """A CSV file.

    Fields:
        header: the names of the columns.
        cells: per row its fields.
        raw: the header's and each row's text as it stands in the file, line end included.
        lines: the line that each row starts on, from 1.
        delimiter: what parts the fields.
    """

    header: list[str]
    cells: list[list[str]]
    raw: list[str]
    lines: list[int]
    delimiter: str

    def column(self, name: str) -> list[str]:
        """The cells below a name, without blanks at their ends."""
        place = self.header.index(name)
        return [row[place].strip() for row in self.cells]


@dataclass(frozen=True, eq=False)
class Column:
    """One column of the table, as numbers.

    Fields:
        name: as in the header.
        text: its cells.
        numbers: (n,) NaN where missing; None for words.
        encoded: (n, width) what a sanitizer sees.
    """

    name: str
    text: list[str]
    numbers: np.ndarray | None
    encoded: np.ndarray


def sanitize(
    path: Path,
    label: str,
    sanitizer: str,
    share: float | None,
    trusted: Path | None,
    groups: str | None,
    ignore: tuple[str, ...],
    out: Path,
    seed: int,
    force: bool,
) -> str:
    """Write `kept.csv` and `suspects.csv` into the folder `out`; the summary as text."""
    table = read(path)
    known = None if trusted is None else read(trusted)
    for name in (label, *([groups] if groups else []), *ignore):
        if name not in table.header:
            raise ScenarioError("the name of a column", repr(name), did_you_mean(name, table.header))
    if known is not None and sorted(known.header) != sorted(table.header):
        raise DataError("trusted rows with the same columns", ", ".join(known.header), f"give them those of {path}")
    defence = _built(sanitizer, share, trusted is not None)
    features = [name for name in table.header if name not in (label, groups, *ignore)]
    columns = [_column(name, table.column(name), known.column(name) if known else []) for name in features]
    encoded = np.hstack([column.encoded for column in columns]) if columns else np.zeros((len(table.cells), 0))
    if not encoded.shape[1]:
        raise DataError("a column that varies", "none", f"add columns to {path}")
    n = len(table.cells)
    labels = table.column(label) + (known.column(label) if known else [])
    data = _dataset(encoded, labels, n, table, label, groups)
    rest = replace(data, groups=None)
    learner = LogisticRegression(max_iter=1000)
    verdict = defence(data[:n], context_of(learner, Streams(seed).child("defence"), rest[n:] if known else None))
    suspects = _ranked(verdict)
    reasons = _reasons(columns, data[:n], table, suspects)
    kept = [table.raw[0], *(table.raw[1 + i] for i in np.flatnonzero(~verdict.flags))]
    texts = {"kept.csv": "".join(kept), "suspects.csv": _suspects(table, verdict, suspects, reasons)}
    written = _write(texts, out, (path, *([trusted] if trusted else [])), force)
    return _summary(path, type(defence).__name__, data[:n], verdict, columns, written)


def read(path: Path) -> Table:
    """A CSV file in UTF-8; parted by commas, or by what its first line has more of: semicolons or tabs."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror or type(error).__name__ if isinstance(error, OSError) else "other bytes"
        raise DataError(f"a CSV file in UTF-8 at {path}", reason, "check the path and the encoding") from error
    if "\0" in text:
        raise DataError(f"a CSV file at {path}", "binary content", "export the table as CSV")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    seen: list[str] = []
    source = io.StringIO(text.removeprefix("\ufeff"), newline="")
    reader = csv.reader((seen.append(line) or line for line in source), delimiter=delimiter, strict=True)  # type: ignore[func-returns-value]
    cells, raw, lines, before = [], [], [], 0
    try:
        for row in reader:
            if row:
                cells.append(row)
                raw.append("".join(seen[before:]))
                lines.append(before + 1)
            before = len(seen)
    except csv.Error as error:
        raise DataError(f"a CSV file at {path}", f"{error} in line {len(seen)}", "mend that line") from error
    if len(cells) < 2:
        raise DataError(f"a header and rows in {path}", f"{len(cells)} lines", "the first line names the columns")
    header = [name.strip() for name in cells[0]]
    if len(set(header)) < len(header):
        twice = [name for name, count in Counter(header).items() if count > 1]
        raise DataError(f"different names of columns in {path}", f"{twice[0]!r} twice", "rename one")
    for row, line in zip(cells[1:], lines[1:], strict=True):
        if len(row) != len(header):
            raise DataError(f"{len(header)} fields in every row of {path}", f"{len(row)} in line {line}")
    if text.startswith("\ufeff"):
        raw[0] = "\ufeff" + raw[0]
    return Table(header, cells[1:], raw, lines[1:], delimiter)


def _built(name: str, share: float | None, trusted: bool) -> Any:
    """The sanitizer with the fields that the command line names."""
    defence = build(name, Kind.SANITIZER)
    known = {field.name for field in fields(defence)}
    wanted: dict[str, Any] = ({} if share is None else {"share": share}) | ({"trusted": True} if trusted else {})
    for field in wanted:
        if field not in known:
            raise PluginError(f"a sanitizer with a field `{field}`", name, f"leave out --{field}, or choose another")
    return replace(defence, **wanted)


def _column(name: str, cells: list[str], trusted: list[str]) -> Column:
    """A column of the table, the trusted rows' cells after its own."""
    text = cells + trusted
    absent = np.array([cell.lower() in MISSING for cell in text])
    numbers = _numbers(text, absent)
    if numbers is None:
        return Column(name, text, None, _one_hot(["" if a else cell for cell, a in zip(text, absent, strict=True)]))
    absent = np.isnan(numbers)
    reference = numbers[len(cells) :] if trusted else numbers
    centre, spread = _centre(reference)
    spread = spread or _centre(numbers)[1]
    parts = [np.where(absent, 0.0, numbers - centre) / spread] if spread else []
    if absent.any() and not absent.all():
        parts.append(absent.astype(float))
    return Column(name, text, numbers, np.stack(parts, axis=1) if parts else np.zeros((len(text), 0)))


def _numbers(text: list[str], absent: np.ndarray) -> np.ndarray | None:
    """(n,) with NaN where nothing (finite) is; None if there is a word, or nothing at all."""
    try:
        found = np.array([math.nan if a else float(cell) for cell, a in zip(text, absent, strict=True)])
    except ValueError:
        return None
    found[~np.isfinite(found)] = np.nan
    return None if np.isnan(found).all() else found


def _centre(numbers: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of what is not missing."""
    there = numbers[~np.isnan(numbers)]
    return (float(there.mean()), float(there.std())) if len(there) else (0.0, 0.0)


def _one_hot(words: list[str]) -> np.ndarray:
    """(n, categories), two different words a distance of 1 apart; nothing for a column that never varies."""
    frequent = [word for word, _ in Counter(words).most_common(CATEGORIES)]
    place = {word: i for i, word in enumerate(frequent)}
    number = np.array([place.get(word, len(frequent)) for word in words])
    width = int(number.max()) + 1
    return np.eye(width)[number] / math.sqrt(2) if width > 1 else np.zeros((len(words), 0))


def _dataset(encoded: np.ndarray, labels: list[str], n: int, table: Table, label: str, groups: str | None) -> Dataset:
    """All rows, the trusted ones last."""
    for i, cell in enumerate(labels):
        if cell.lower() in MISSING:
            where = f"line {table.lines[i]}" if i < n else "the trusted rows"
            raise DataError(f"a label in every row of column {label}", f"none in {where}", "label or remove those rows")
    classes, y = np.unique(labels[:n], return_inverse=True)
    if len(classes) > max(2, n // 2):
        raise DataError(f"classes in column {label}", f"{len(classes)} values in {n} rows", "name a column of classes")
    new = sorted({*labels[n:]} - {*classes})
    if new:
        raise DataError("trusted labels that the table has", repr(new[0]), "remove those rows")
    numbers = np.concatenate([y, np.searchsorted(classes, labels[n:])]).astype(np.int64)
    sources = None
    if groups is not None:
        found = np.unique(table.column(groups), return_inverse=True)[1]
        sources = np.concatenate([found, np.full(len(labels) - n, -1)])
    return Dataset(encoded, numbers, tuple(map(str, classes)), groups=sources)


def _ranked(verdict: Verdict) -> np.ndarray:
    """Numbers of the flagged rows, the most suspicious first."""
    order = np.argsort(-verdict.scores, kind="stable")
    return np.asarray(order[verdict.flags[order]])


def _reasons(columns: list[Column], data: Dataset, table: Table, suspects: np.ndarray) -> list[str]:
    """Per suspect what its neighbours and its class say about it, in words."""
    k = min(NEIGHBOURS, len(data) - 1)
    nearest = np.zeros((0, 0), dtype=int)
    if k > 0 and len(suspects):
        index = NearestNeighbors(n_neighbors=k + 1).fit(data.dense)
        nearest = index.kneighbors(data.dense[suspects], return_distance=False)
    unusual = [_unusual(column, data.y, suspects) for column in columns]
    found = []
    for s, row in enumerate(suspects):
        own = data.classes[data.y[row]]
        said = []
        if len(nearest):
            said.append(_neighbours(data, table, own, nearest[s][nearest[s] != row][:k]))
        surprise, place = max((unusual[j][0][s], -j) for j in range(len(columns)))
        if surprise >= UNUSUAL:
            said.append(f"{unusual[-place][1][s]} {own!r}")
        found.append("; ".join(said) or "the only row")
    return found


def _neighbours(data: Dataset, table: Table, own: str, nearest: np.ndarray) -> str:
    counts = np.bincount(data.y[nearest], minlength=data.num_classes)
    other = int(np.argmax(counts))
    lines = ", ".join(str(table.lines[i]) for i in nearest[data.y[nearest] == other][:3])
    if data.classes[other] == own:
        return f"labelled {own!r} as {counts[other]} of its {len(nearest)} nearest rows are (lines {lines})"
    return f"labelled {own!r}, but {counts[other]} of its {len(nearest)} nearest rows are {data.classes[other]!r} (lines {lines})"


def _unusual(column: Column, y: np.ndarray, suspects: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Per suspect, how unusual its cell is in its class (in standard deviations), and the words for it."""
    cells, own = [column.text[row] for row in suspects], y[suspects]
    if column.numbers is None and len(set(column.text)) > CATEGORIES:  # names and free text: all are rare
        return np.zeros(len(suspects)), [""] * len(suspects)
    if column.numbers is None:
        peers, same = Counter(y.tolist()), Counter(zip(y.tolist(), column.text, strict=False))
        shares = [(same[c, cell], peers[c]) for c, cell in zip(own.tolist(), cells, strict=True)]
        words = [
            f"{column.name} is {cell!r} in {few} of {all_} rows of"
            for cell, (few, all_) in zip(cells, shares, strict=True)
        ]
        return np.array([math.sqrt(all_ / few - 1) for few, all_ in shares]), words  # z of an indicator
    stats = np.array([_centre(column.numbers[: len(y)][y == c]) for c in range(int(y.max()) + 1)])
    z = np.divide(column.numbers[suspects] - stats[own, 0], stats[own, 1], where=stats[own, 1] > 0, out=0.0 * own)
    z = np.nan_to_num(z)
    side = np.where(z > 0, "above", "below")
    return np.abs(z), [
        f"{column.name} = {cell} is {abs(far):.1f} standard deviations {where} the mean of"
        for cell, far, where in zip(cells, z, side, strict=True)
    ]


def _suspects(table: Table, verdict: Verdict, suspects: np.ndarray, reasons: list[str]) -> str:
    """The ranked table as CSV; the row's own cells come after ours."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=table.delimiter, lineterminator="\n")
    writer.writerow(["rank", "line", "score", "reason", *table.header])
    for rank, (row, reason) in enumerate(zip(suspects, reasons, strict=True), 1):
        writer.writerow([rank, table.lines[row], f"{verdict.scores[row]:.6g}", reason, *table.cells[row]])
    return text.getvalue()


def _write(texts: dict[str, str], out: Path, inputs: tuple[Path, ...], force: bool) -> list[Path]:
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


def _summary(path: Path, name: str, data: Dataset, verdict: Verdict, columns: list[Column], written: list[Path]) -> str:
    words = sum(column.numbers is None for column in columns)
    missing = sum(cell.lower() in MISSING for column in columns for cell in column.text[: len(data)])
    head = f"{path}: {len(data)} rows, {len(columns) - words} columns of numbers, {words} of words, {missing} cells missing"
    width = max(12, *(len(c) for c in data.classes)) + 2
    lines = [head, f"{name}", "", f"{'class':<{width}}{'rows':>8}{'suspects':>10}{'kept':>8}"]
    for c, shown in enumerate(data.classes):
        rows, flagged = int((data.y == c).sum()), int(verdict.flags[data.y == c].sum())
        lines.append(f"{shown:<{width}}{rows:>8}{flagged:>10}{rows - flagged:>8}")
    total = int(verdict.flags.sum())
    lines += [f"{'all':<{width}}{len(data):>8}{total:>10}{len(data) - total:>8}", ""]
    return "\n".join([*lines, *(f"written: {target}" for target in written)])
