"""The command `antivenom sanitize`: splits a table file into the rows to keep and a ranked table of suspects with reasons.

The file is read as the source TableFile reads it. A number becomes its z-score (missing: 0, the mean, with a column that
says so), a word one column per category (the 30 most frequent, all others together; missing is a category). With trusted
rows, mean and deviation are theirs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from antivenom.core.errors import DataError, PluginError, ScenarioError, StoreError, did_you_mean
from antivenom.core.registry import Kind, build
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset, TableFile
from antivenom.defences.sanitize import context_of

if TYPE_CHECKING:
    import pandas as pd

    from antivenom.core.protocols import Sanitizer

CATEGORIES, NEIGHBOURS = 30, 10
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # the beginnings of cells that a spreadsheet runs
_NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*([eE][+-]?[0-9]+)?")
UNUSUAL = 3.0  # standard deviations from the class's mean that are worth a word


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


def sanitize_table(
    source: TableFile,
    sanitizer: str,
    share: float | None,
    trusted: Path | None,
    out: Path,
    seed: int,
    force: bool,
) -> str:
    """Write the rows to keep and the suspects, ranked and with reasons, as `kept.csv` and `suspects.csv`.

    Args:
        source: the table file; it is not changed.
        sanitizer: the name of a sanitizer.
        share: the sanitizer's field `share` (0 to 1), or None for its default.
        trusted: a file with the same columns whose rows are known to be clean, or None.
        out: the folder for both files.
        seed: the seed of the sanitizer's randomness.
        force: whether existing files in `out` may be overwritten.

    Returns:
        A summary as text.

    Raises:
        AntivenomError: the table cannot be used, a name is unknown, or `out` holds results and `force` is not set.
    """
    import pandas as pd

    path, label = Path(source.path), source.label
    table = _cells(source, path)
    known = table.iloc[:0] if trusted is None else _cells(source, trusted)
    for name in (label, *([source.group] if source.group else []), *source.ignore):
        if name not in table.columns:
            raise ScenarioError("the name of a column", repr(name), did_you_mean(name, map(str, table.columns)))
    if sorted(known.columns) != sorted(table.columns):
        raise DataError(
            "trusted rows with the same columns", ", ".join(map(str, known.columns)), f"give them those of {path}"
        )
    defence = _built(sanitizer, share, trusted is not None)
    n, both = len(table), pd.concat([table, known[table.columns]])
    features = both.drop(columns=[*{label, *source.ignore, *([source.group] if source.group else [])}])
    columns = [_column(str(name), features[name], n, source) for name in features.columns]
    encoded = np.hstack([column.encoded for column in columns]) if columns else np.zeros((len(both), 0))
    if not encoded.shape[1]:
        raise DataError("a column that varies", "none", f"add columns to {path}")
    data = _dataset(encoded, both, n, source)
    rest = replace(data, groups=None)
    learner = LogisticRegression(max_iter=1000)
    verdict = defence(data[:n], context_of(learner, Streams(seed).child("defence"), rest[n:] if len(known) else None))
    suspects = _ranked(verdict)
    reasons = _reasons(columns, data[:n], table, suspects)
    texts = {
        "kept.csv": _kept(source, path, table, ~verdict.flags),
        "suspects.csv": _suspects(source, path, table, verdict, suspects, reasons),
    }
    written = _write(texts, out, (path, *([trusted] if trusted else [])), force)
    summary = _summary(path, type(defence).__name__, data[:n], verdict, columns, written)
    formulas = sum(_is_run(str(cell)) for cell in table.loc[~verdict.flags].to_numpy(dtype=object).ravel())
    if formulas:
        advice = "which are left as they stand in the file: open it as text"
        summary += f"\nkept.csv holds {formulas} cells that a spreadsheet would run as formulas, {advice}"
    return summary


def _cells(source: TableFile, path: Path) -> pd.DataFrame:
    """The file's cells, its rows by their lines."""
    from antivenom.data.reading import read_cells

    cells = read_cells(path, source.delimiter, source.encoding)
    return cells.set_axis([str(name) for name in cells.columns], axis=1)


def _kept(source: TableFile, path: Path, table: pd.DataFrame, kept: np.ndarray) -> str:
    """The rows to keep, as they stand in the file."""
    from antivenom.data.reading import raw_rows

    if path.suffix == ".parquet":
        return str(table.loc[kept].to_csv(index=False, lineterminator="\n"))
    header, rows = raw_rows(path, table, source.encoding)
    return "".join([header, *(rows[i] for i in np.flatnonzero(kept))])


def _built(name: str, share: float | None, trusted: bool) -> Sanitizer:
    """The sanitizer with the fields that the command line names."""
    defence = build(name, Kind.SANITIZER)
    known = {field.name for field in fields(defence)}
    wanted: dict[str, Any] = ({} if share is None else {"share": share}) | ({"trusted": True} if trusted else {})
    for field in wanted:
        if field not in known:
            raise PluginError(f"a sanitizer with a field `{field}`", name, f"leave out --{field}, or choose another")
    changed: Sanitizer = replace(defence, **wanted)
    return changed


def _column(name: str, cells: Any, n: int, source: TableFile) -> Column:
    """A column of the table and, from row n on, of the trusted rows."""
    from antivenom.data.reading import is_missing, typed

    text = cells.astype(str).str.strip().tolist()
    read = typed(cells.reset_index(drop=True).to_frame(), source.decimal, source.words)
    if not len(read.columns) or read[name].dtype == object:
        absent = is_missing(cells).tolist()
        return Column(name, text, None, _one_hot(["" if a else cell for cell, a in zip(text, absent, strict=True)]))
    numbers = read[name].to_numpy(dtype=np.float64, na_value=np.nan)
    absent = np.isnan(numbers)
    centre, spread = _centre(numbers[n:] if len(numbers) > n else numbers)
    spread = spread or _centre(numbers)[1]
    parts = [np.where(absent, 0.0, numbers - centre) / spread] if spread else []
    if absent.any() and not absent.all():
        parts.append(absent.astype(float))
    return Column(name, text, numbers, np.stack(parts, axis=1) if parts else np.zeros((len(text), 0)))


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


def _dataset(encoded: np.ndarray, cells: Any, n: int, source: TableFile) -> Dataset:
    """All rows, the trusted ones last."""
    from antivenom.data.reading import is_missing

    label = source.label
    empty = np.flatnonzero(is_missing(cells[label]))
    if len(empty):
        where = f"line {cells.index[empty[0]]}" if empty[0] < n else "the trusted rows"
        raise DataError(f"a label in every row of column {label}", f"none in {where}", "label or remove those rows")
    labels = cells[label].astype(str).str.strip().tolist()
    classes, y = np.unique(labels[:n], return_inverse=True)
    if len(classes) > max(2, n // 2):
        raise DataError(f"classes in column {label}", f"{len(classes)} values in {n} rows", "name a column of classes")
    new = sorted({*labels[n:]} - {*classes})
    if new:
        raise DataError("trusted labels that the table has", repr(new[0]), "remove those rows")
    numbers = np.concatenate([y, np.searchsorted(classes, labels[n:])]).astype(np.int64)
    groups = None
    if source.group:
        found = np.unique(cells[source.group].astype(str).str.strip()[:n], return_inverse=True)[1]
        groups = np.concatenate([found, np.full(len(labels) - n, -1)])
    return Dataset(encoded, numbers, tuple(map(str, classes)), groups=groups)


def _ranked(verdict: Verdict) -> np.ndarray:
    """Numbers of the flagged rows, the most suspicious first."""
    order = np.argsort(-verdict.scores, kind="stable")
    return np.asarray(order[verdict.flags[order]])


def _reasons(columns: list[Column], data: Dataset, table: pd.DataFrame, suspects: np.ndarray) -> list[str]:
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


def _neighbours(data: Dataset, table: pd.DataFrame, own: str, nearest: np.ndarray) -> str:
    counts = np.bincount(data.y[nearest], minlength=data.num_classes)
    other = int(np.argmax(counts))
    lines = ", ".join(str(table.index[i]) for i in nearest[data.y[nearest] == other][:3])
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


def _suspects(
    source: TableFile, path: Path, table: pd.DataFrame, verdict: Verdict, suspects: np.ndarray, reasons: list[str]
) -> str:
    """The ranked table as CSV; the row's own cells come after ours."""
    from antivenom.data.reading import delimiter_of

    found = table.iloc[suspects].copy()
    found.insert(0, "reason", reasons, allow_duplicates=True)
    found.insert(0, "score", [f"{verdict.scores[row]:.6g}" for row in suspects], allow_duplicates=True)
    found.insert(0, "line", found.index, allow_duplicates=True)
    found.insert(0, "rank", range(1, len(suspects) + 1), allow_duplicates=True)
    parquet = path.suffix == ".parquet"
    delimiter = source.delimiter or ("," if parquet else delimiter_of(path, source.encoding))
    found.columns = [_as_text(str(name)) for name in found.columns]
    for place, values in enumerate(found.to_numpy(dtype=object).T.tolist()):
        found.isetitem(place, [_as_text(cell) if isinstance(cell, str) else cell for cell in values])
    return str(found.to_csv(index=False, sep=delimiter, lineterminator="\n"))


def _as_text(cell: str) -> str:
    """The cell with an apostrophe in front if a spreadsheet would run it as a formula. Numbers such as -5 stay as they are.

    >>> _as_text("=1+1"), _as_text("-5"), _as_text("-1,5"), _as_text("@SUM(A1)"), _as_text("a=b")
    ("'=1+1", '-5', '-1,5', "'@SUM(A1)", 'a=b')
    """
    return f"'{cell}" if _is_run(cell) else cell


def _is_run(cell: str) -> bool:
    """Whether a spreadsheet would take the cell for a formula."""
    return cell.startswith(_FORMULAS) and _NUMBER.fullmatch(cell) is None


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
    from antivenom.data.reading import MISSING

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
