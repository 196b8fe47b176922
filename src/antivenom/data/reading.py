"""Reads table files with pandas: first every cell as text, then columns that hold only numbers as numbers."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from antivenom.core.errors import DataError
from antivenom.core.regular import content_of, opened
from antivenom.data import limits

MISSING = frozenset({"", "na", "nan", "null", "none", "?", "n/a"})
DELIMITERS = ",;\t|"
_WITH_COMMA = r"[+-]?(\d*|\d{1,3}(\.\d{3})+),?\d+"


def read_cells(path: Path, delimiter: str = "", encoding: str = "utf-8") -> pd.DataFrame:
    """The cells of a CSV or TSV file as unchanged text; the columns of a Parquet file in their own types.

    The index holds, from 1, the line of the file on which each row starts; for a Parquet file, the number of the row. Blank
    lines are skipped.

    Args:
        path: the file. The suffix .parquet or .tsv gives the format, and any other means CSV; .gz, .bz2 and .xz files are
            decompressed.
        delimiter: the character between cells; "" takes the most frequent one of comma, semicolon, tab and vertical bar
            in the first line.
        encoding: the text encoding, such as utf-8, latin-1 or cp1252.

    Raises:
        DataError: the file is unreadable or not in that encoding, a row is too long or too short, there are no rows, or
            two columns have the same name.
    """
    if path.suffix == ".parquet":
        return _parquet(path)
    try:
        content = _content(path)
        delimiter = delimiter or _delimiter_in(content, path, encoding)
        if content.count(delimiter.encode(encoding)) > limits.MOST_CELLS:
            raise ValueError(f"more than {limits.MOST_CELLS} cells")
        table = pd.read_csv(
            io.BytesIO(content),
            sep=delimiter,
            header=None,
            dtype=str,
            encoding=_with_mark(encoding),
            keep_default_na=False,  # so that NaN marks only the cells that a too short row lacks
            skip_blank_lines=False,  # so that line numbers can be computed
            index_col=False,
            engine="python",  # the C engine fills too short rows with empty cells, which could not be noticed
            quoting=csv.QUOTE_NONE if _has_plain_quotes(content, delimiter, encoding) else csv.QUOTE_MINIMAL,
        )
    except (UnicodeError, LookupError) as error:
        got = f"other bytes ({error})" if isinstance(error, UnicodeError) else str(error)
        raise DataError(
            f"text in {encoding} in {path}", got, "set the encoding, for instance --encoding latin-1"
        ) from error
    except OSError as error:
        raise DataError(f"a table file at {path}", error.strerror or str(error), "check the path") from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"a header and rows in {path}", "an empty file") from error
    except ValueError as error:  # pandas' ParserError is one
        if "unexpected end of data" in str(error):
            line = _open_quote(content.decode(_with_mark(encoding)), delimiter)
            got = f"a quote in line {line} that is never closed"
            raise DataError(
                f"a table in {path}", got, 'close it; a quote inside of a quoted cell is written ""'
            ) from error
        raise DataError(f"a table in {path}", str(error), "mend that line, or set the delimiter") from error
    if "\0" in "".join(map(str, table.iloc[0])):
        raise DataError(f"a table in {path}", "binary content", "export the table as CSV")
    lines = table.apply(lambda column: column.str.count("\n")).fillna(0).sum(axis=1).to_numpy(dtype=int) + 1
    table.index = pd.Index(1 + np.cumsum(lines) - lines)
    table = table.loc[table.notna().any(axis=1)]
    if len(table) < 2:
        raise DataError(f"a header and rows in {path}", f"{len(table)} line", "the first line names the columns")
    names = [str(name).strip() for name in table.iloc[0]]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"different names of columns in {path}", f"{twice!r} twice", "rename one")
    cells: pd.DataFrame = table.iloc[1:].set_axis(names, axis=1)
    short = cells.index[cells.isna().any(axis=1)]
    if len(short):
        raise DataError(
            f"{len(names)} cells in every row of {path}",
            f"fewer in line {short[0]}",
            "mend that line, or set the delimiter",
        )
    return cells


def raw_rows(path: Path, cells: pd.DataFrame, encoding: str = "utf-8") -> tuple[str, list[str]]:
    """The header and the rows of a CSV file as unchanged text, line ends included.

    Args:
        path: the file.
        cells: its rows as `read_cells` returned them, whose index gives their lines.
        encoding: the text encoding.
    """
    lines = _content(path).decode(encoding).split("\n")
    lines = [line + "\n" for line in lines[:-1]] + lines[-1:]
    starts = [*cells.index, len(lines) + 1]
    rows = ["".join(lines[begin - 1 : end - 1]) for begin, end in itertools.pairwise(starts)]
    return "".join(lines[: starts[0] - 1]), [row if row.endswith("\n") else row + "\n" for row in rows]


def _has_plain_quotes(content: bytes, delimiter: str, encoding: str) -> bool:
    """Whether quotes are ordinary characters, as in most files with tabs.

    They are if some cell begins with a quote that does not end with one, although each line has all its cells.
    """
    text = content.decode(_with_mark(encoding)) if delimiter == "\t" else ""
    if '"' not in text:
        return False
    lines = text.replace("\r\n", "\n").split("\n")  # splitlines() would also end lines inside of cells
    rows = [line.split("\t") for line in lines if line.strip()]
    is_whole = all(len(cells) == len(rows[0]) for cells in rows)
    return is_whole and any(cell.startswith('"') and not _is_quoted(cell) for cells in rows for cell in cells)


def _is_quoted(cell: str) -> bool:
    return len(cell) > 1 and cell.endswith('"') and cell[1:-1].replace('""', "").count('"') == 0


def _open_quote(text: str, delimiter: str) -> int:
    """The line on which the last row of a table begins, whose quote is not closed."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    begins, line = 1, 1
    for _ in rows:
        begins, line = line, rows.line_num + 1
    return begins


def _with_mark(encoding: str) -> str:
    """The encoding, where UTF-8 is replaced by the variant that drops a byte-order mark."""
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding


def delimiter_of(path: Path, encoding: str = "utf-8") -> str:
    """The delimiter: a tab in a .tsv file, otherwise the most frequent candidate in the first line."""
    return _delimiter_in(_content(path), path, encoding)


def _delimiter_in(content: bytes, path: Path, encoding: str) -> str:
    if ".tsv" in path.suffixes:
        return "\t"
    with io.TextIOWrapper(io.BytesIO(content), encoding=_with_mark(encoding)) as file:
        first = file.readline()
    return max(DELIMITERS, key=first.count)


def _content(path: Path) -> bytes:
    """The bytes of the file, decompressed as its suffix says.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than `limits.MOST_BYTES`.
    """
    return limits.unpacked(content_of(path, limits.MOST_BYTES), path.suffix)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]

        with opened(path) as file:
            stated = ParquetFile(file).metadata  # a few bytes can stand for any number of equal rows
            if stated.num_rows * stated.num_columns > limits.MOST_CELLS:
                raise ValueError(f"more than {limits.MOST_CELLS} cells")
            table: pd.DataFrame = pd.read_parquet(file)
    except ImportError as error:
        raise DataError(
            "pyarrow, which reads Parquet", "no such package", "pip install 'antivenom[parquet]'"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"a Parquet file at {path}", " ".join(str(error).split())[:120], "check the path") from error
    return table.set_axis(pd.RangeIndex(1, len(table) + 1), axis=0)


def typed(cells: pd.DataFrame, decimal: str = "", words: tuple[str, ...] = ()) -> pd.DataFrame:
    """Convert columns of text: those that hold only numbers to numbers, the others to words.

    Empty cells, NA, NaN, null, none, ? and infinite numbers count as missing. A column without any value is left out.

    Args:
        cells: columns of text; columns of other types stay as they are.
        decimal: "." or ","; "" finds it in each column. With ",", points are taken for thousands separators.
        words: columns that stay words although they look like numbers, such as postal codes.
    """
    made = {}
    for name in cells.columns:
        column = cells[name]
        if not pd.api.types.is_string_dtype(column) and column.dtype != object:
            made[name] = column
            continue
        absent = is_missing(column)
        if absent.all():
            continue
        text = column.astype(str).str.strip()
        numbers = None if name in words else _numbers(text, absent, decimal or decimal_of(text))
        made[name] = text.where(~absent, "").astype(object) if numbers is None else numbers
    return pd.DataFrame(made, index=cells.index)


def decimal_of(column: pd.Series[str]) -> str:
    """The decimal sign of a column of text: "," if all cells are numbers and some are like 1,5 or 1.234,56, otherwise ".".

    Commas that may all stand for thousands, such as 1,500, are no decimal signs.
    """
    present = column[~is_missing(column)].str.strip()
    if not present.head(100).str.fullmatch(_WITH_COMMA).all():  # a look, since most columns end here
        return "."
    with_comma = present[present.str.contains(",", regex=False)]
    thousands = with_comma.str.fullmatch(r"[+-]?\d{1,3}(,\d{3})+").all()
    return "," if not thousands and present.str.fullmatch(_WITH_COMMA).all() else "."


def is_missing(column: pd.Series[Any]) -> pd.Series[bool]:
    """(n,) bool: the cells without a value."""
    return column.isna() | column.astype(str).str.strip().str.lower().isin(MISSING)


def _numbers(text: pd.Series[str], absent: pd.Series[bool], decimal: str) -> pd.Series[Any] | None:
    """The column as numbers (int64 if all are whole and none is missing), or None if it holds a word."""
    present = text[~absent]
    if decimal != ".":
        present = present.str.replace(".", "", regex=False).str.replace(decimal, ".", regex=False)
    try:
        found = present.astype(np.float64)
    except ValueError:
        return None
    numbers = found.reindex(text.index)
    numbers[~np.isfinite(numbers)] = np.nan
    if numbers.notna().all() and (numbers == np.floor(numbers)).all() and numbers.abs().max() < 2**53:
        return numbers.astype(np.int64)
    return None if numbers.isna().all() else numbers
