"""The command `antivenom sanitize` on table files: the rows to keep, and a ranked table of suspects with reasons.

The file is read as the source TableFile reads it. `LabelNoiseModel` and `ConfidentLearning` judge it as `antivenom.suspects`
does. For other sanitizers, a number becomes its z-score (missing: 0, the mean, with a column that says so), a word one column
per category (the 30 most frequent, all others together; missing is a category). With trusted rows, mean and deviation are
theirs.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from antivenom.core.errors import DataError, PluginError, ScenarioError, did_you_mean
from antivenom.core.registry import Kind, build
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset, TableFile
from antivenom.defences.outputs import as_text, class_table, is_run, said_of, write_new
from antivenom.defences.reasons import CATEGORIES, Cells, centre, ranked, reasons_for
from antivenom.defences.sanitize import context_of, numbers_for, sanitize
from antivenom.defences.sanitizers.confident import ConfidentLearning, LabelNoiseModel
from antivenom.defences.suspects import Suspects, implausible, suspects

if TYPE_CHECKING:
    import pandas as pd

    from antivenom.core.protocols import Sanitizer


@dataclass(frozen=True, eq=False)
class Judged:
    """What is known of the rows of a table after a sanitizer has judged them.

    Fields:
        data: the rows as numbers.
        verdict: a score and a flag for each row.
        found: the suspects, if `LabelNoiseModel` judged them; otherwise None.
        warning: one sentence if the result is implausible, otherwise empty.
        exit_code: 0 if no row is suspicious, 1 if some are, 3 if the result is implausible.
    """

    data: Dataset
    verdict: Verdict
    found: Suspects | None
    warning: str

    @property
    def exit_code(self) -> int:
        return 3 if self.warning else int(self.verdict.flags.any())


def sanitize_table(
    source: TableFile,
    sanitizer: str = "LabelNoiseModel",
    share: float | None = None,
    trusted: Path | None = None,
    out: Path = Path("sanitized"),
    seed: int = 0,
    force: bool = False,
    false_alarms: float | None = None,
) -> tuple[str, int]:
    """Write the rows to keep and the suspects, ranked and with reasons, as `kept.csv` and `suspects.csv`.

    Args:
        source: the table file; it is not changed.
        sanitizer: the name of a sanitizer.
        share: the sanitizer's field `share` (0 to 1), or None for its default.
        trusted: a file with the same columns whose rows are known to be clean, or None.
        out: the folder for both files.
        seed: the seed of the sanitizer's randomness.
        force: whether existing files in `out` may be overwritten.
        false_alarms: the sanitizer's field `false_alarms`, or None for its default.

    Returns:
        A summary as text, and the exit code: 0 without suspects, 1 with some, 3 if the result is implausible.

    Raises:
        AntivenomError: the table cannot be used, a name is unknown, or `out` holds results and `force` is not set.
    """
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
    defence = _built(sanitizer, share, trusted is not None, false_alarms)
    columns, both = _columns(source, table, known)
    judged = _judged(source, defence, columns, both, len(table), seed)
    order = ranked(judged.verdict)
    reasons = reasons_for(columns, judged.data, table, order)
    if judged.found is not None:
        reasons = [f"{judged.found.why(int(row))}; {reason}" for row, reason in zip(order, reasons, strict=True)]
    texts = {
        "kept.csv": _kept(source, path, table, ~judged.verdict.flags),
        "suspects.csv": _suspects(source, path, table, judged.verdict, order, reasons),
    }
    written = write_new(texts, out, (path, *([trusted] if trusted else [])), force)
    summary = _summary(path, type(defence).__name__, judged, columns, written)
    formulas = sum(is_run(str(cell)) for cell in table.loc[~judged.verdict.flags].to_numpy(dtype=object).ravel())
    if formulas:
        advice = "which are left as they stand in the file: open it as text"
        summary += f"\nkept.csv holds {formulas} cells that a spreadsheet would run as formulas, {advice}"
    return summary, judged.exit_code


def _columns(source: TableFile, table: pd.DataFrame, known: pd.DataFrame) -> tuple[list[Cells], pd.DataFrame]:
    """The columns that are features, and all cells of the table and of the trusted rows."""
    import pandas as pd

    both = pd.concat([table, known[table.columns]])
    features = both.drop(columns=[*{source.label, *source.ignore, *([source.group] if source.group else [])}])
    return [_column(str(name), features[name], len(table), source) for name in features.columns], both


def _judged(
    source: TableFile, defence: Sanitizer, columns: list[Cells], both: pd.DataFrame, n: int, seed: int
) -> Judged:
    encoded = np.hstack([column.encoded for column in columns]) if columns else np.zeros((len(both), 0))
    if not encoded.shape[1]:
        raise DataError("a column that varies", "none", f"add columns to {source.path}")
    data = _dataset(encoded, both, n, source)
    if isinstance(defence, LabelNoiseModel):
        found = suspects(source, false_alarms=defence.false_alarms, seed=seed)
        return Judged(numbers_for(source.unsplit())[0], found.verdict, found, found.warning)
    if isinstance(defence, ConfidentLearning):
        verdict = sanitize(source, defence, seed=seed).verdict
        data = numbers_for(source.unsplit())[0]
    else:
        rest = replace(data, groups=None)[n:] if len(both) > n else None
        data = data[:n]
        context = context_of(LogisticRegression(max_iter=1000), Streams(seed).child("defence"), rest)
        verdict = defence(data, context)
    return Judged(data, verdict, None, implausible(verdict.flags, data.y, data.classes))


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


def _built(name: str, share: float | None, trusted: bool, false_alarms: float | None) -> Sanitizer:
    """The sanitizer with the fields that the command line names."""
    defence = build(name, Kind.SANITIZER)
    known = {field.name for field in fields(defence)}
    given = {"share": share, "trusted": trusted or None, "false_alarms": false_alarms}
    wanted: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    for field in wanted:
        if field not in known:
            option = field.replace("_", "-")
            raise PluginError(f"a sanitizer with a field `{field}`", name, f"leave out --{option}, or choose another")
    changed: Sanitizer = replace(defence, **wanted)
    return changed


def _column(name: str, cells: Any, n: int, source: TableFile) -> Cells:
    """A column of the table and, from row n on, of the trusted rows."""
    from antivenom.data.reading import is_missing, typed

    text = cells.astype(str).str.strip().tolist()
    read = typed(cells.reset_index(drop=True).to_frame(), source.decimal, source.words)
    if not len(read.columns) or read[name].dtype == object:
        absent = is_missing(cells).tolist()
        return Cells(name, text, None, _one_hot(["" if a else cell for cell, a in zip(text, absent, strict=True)]))
    numbers = read[name].to_numpy(dtype=np.float64, na_value=np.nan)
    absent = np.isnan(numbers)
    middle, spread = centre(numbers[n:] if len(numbers) > n else numbers)
    spread = spread or centre(numbers)[1]
    parts = [np.where(absent, 0.0, numbers - middle) / spread] if spread else []
    if absent.any() and not absent.all():
        parts.append(absent.astype(float))
    return Cells(name, text, numbers, np.stack(parts, axis=1) if parts else np.zeros((len(text), 0)))


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
    found.columns = [as_text(str(name)) for name in found.columns]
    for place, values in enumerate(found.to_numpy(dtype=object).T.tolist()):
        found.isetitem(place, [as_text(cell) if isinstance(cell, str) else cell for cell in values])
    return str(found.to_csv(index=False, sep=delimiter, lineterminator="\n"))


def _summary(path: Path, name: str, judged: Judged, columns: list[Cells], written: list[Path]) -> str:
    from antivenom.data.reading import MISSING

    data, flags = judged.data, judged.verdict.flags
    words = sum(column.numbers is None for column in columns)
    missing = sum(cell.lower() in MISSING for column in columns for cell in column.text[: len(data)])
    head = f"{path}: {len(data)} rows, {len(columns) - words} columns of numbers, {words} of words, {missing} cells missing"
    lines = [head, f"{name}", "", *class_table(data, flags), "", *said_of(judged.found, judged.warning, name)]
    return "\n".join([*lines, *(f"written: {target}" for target in written)])
