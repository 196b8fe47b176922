"""The rows that a user names on the command line, as a source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antivenom.core.errors import DataError, ScenarioError, did_you_mean

_LARGEST = 64  # pixels of a side up to which images keep their size


@dataclass(frozen=True)
class RowOptions:
    """The options of `antivenom audit` and `antivenom sanitize` that describe the user's rows; --help explains each."""

    data: str = ""
    images: str = ""
    text: str = ""
    npz: str = ""
    label: str = ""
    column: str = ""
    size: int = 0
    test: str = ""
    ignore: tuple[str, ...] = ()
    editable: str = ""
    encoding: str = "utf-8"

    @property
    def given(self) -> bool:
        """Whether there are rows."""
        return any((self.data, self.images, self.text, self.npz))


def source_from(rows: RowOptions, form: str = "raw") -> Any:
    """The source of the rows. `form` is that of texts; see `TextFile`.

    Raises:
        AntivenomError: options that contradict each other, or rows that cannot be read.
    """
    given = {name: getattr(rows, name) for name in ("data", "images", "text", "npz") if getattr(rows, name)}
    if len(given) != 1:
        raise ScenarioError("one of --data, --images, --text and --npz", " and ".join(given), "give one")
    (kind, path), *_ = given.items()
    if rows.editable and not (kind == "data" and _is_table(path)):
        raise ScenarioError("--editable with the columns of a table", f"--{kind} {path}", "leave it out")
    if kind == "text":
        return _texts(rows, form)
    return {"data": _table, "images": _images, "npz": _arrays}[kind](rows)


def _is_table(path: str) -> bool:
    return Path(path).suffix.lower() in (".csv", ".tsv", ".parquet", ".txt") or (
        ":" not in path and Path(path).is_file()
    )


def _table(rows: RowOptions) -> Any:
    from dataclasses import replace

    from antivenom.data import HuggingFaceFolder, TableFile, source_of
    from antivenom.data.sources.hugging_face import is_saved

    ignored = tuple(name.strip() for names in rows.ignore for name in names.split(",") if name.strip())
    if is_saved(Path(rows.data)):
        return HuggingFaceFolder(rows.data, rows.label or "label", rows.column, ignored, (rows.size, rows.size))
    _require_no_other_option(Path(rows.data))
    if not _is_table(rows.data):
        return source_of(rows.data)
    if not rows.label:
        raise ScenarioError("--label with the column of the class", "none", _columns_of(rows))
    table = TableFile(rows.data, rows.label, test=rows.test, ignore=ignored, encoding=rows.encoding)
    if not rows.editable:
        return table
    names = [column.name for column in table.unsplit().columns.columns]
    open_to = [name.strip() for name in rows.editable.split(",")]
    for name in open_to:
        if name not in names:
            raise ScenarioError("columns of the table in --editable", repr(name), did_you_mean(name, names))
    return replace(table, closed=tuple(name for name in names if name not in open_to))


def _require_no_other_option(path: Path) -> None:
    """Refuse a file or folder that another option than --data takes."""
    from antivenom.data.sources.images import SUFFIXES

    other = ""
    if ".jsonl" in path.suffixes or path.suffix == ".json":
        other = "text"
    elif path.suffix == ".npz":
        other = "npz"
    elif path.is_dir():
        inside = {file.suffix.lower() for file in path.glob("*/*")}
        other = "images" if inside & set(SUFFIXES) else "text" if ".txt" in inside else ""
        if not other:
            raise ScenarioError("a table file, or a folder that `datasets` has saved", f"the folder {path}")
    if other:
        raise ScenarioError("a table file as --data", str(path), f"give it as --{other}")


def _columns_of(rows: RowOptions) -> str:
    """The remedy that names the columns of a table that may hold classes."""
    from antivenom.data.reading import read_cells

    cells = read_cells(Path(rows.data), "", rows.encoding)
    few = [str(name) for name in cells.columns if 2 <= cells[name].nunique() <= 20]
    return f"such as --label {few[-1]}; columns with few values: {', '.join(few[:8])}" if few else ""


def _images(rows: RowOptions) -> Any:
    from antivenom.data import ImageFolder

    height, width, channels = _first_image(rows.images)
    if rows.size:
        height = width = rows.size
    elif max(height, width) > _LARGEST:
        height = width = _LARGEST // 2
    return ImageFolder(rows.images, (height, width), channels, test=rows.test)


def _first_image(folder: str) -> tuple[int, int, int]:
    """Height, width and channels of the folder's first image."""
    from PIL import Image

    from antivenom.data.sources.images import SUFFIXES

    found = (file for file in sorted(Path(folder).glob("*/*")) if file.suffix.lower() in SUFFIXES)
    try:
        with Image.open(next(found)) as image:
            return image.height, image.width, 1 if image.mode in ("1", "L", "I", "F") else 3
    except StopIteration:
        return 32, 32, 3  # the source says that there are no images
    except Exception as error:
        raise DataError(
            f"images in {folder}", f"{type(error).__name__}: {error}", "mend or remove that file"
        ) from error


def _texts(rows: RowOptions, form: str) -> Any:
    from antivenom.data import TextFile

    if rows.test:
        raise ScenarioError("all texts in one file", "--test", "leave it out: 30 % of the texts are held out")
    return TextFile(rows.text, form, rows.column or "text", rows.label or "label", encoding=rows.encoding)


_PAIRS = (("x", "y"), ("data", "target"), ("data", "labels"), ("images", "labels"), ("features", "labels"))


def _arrays(rows: RowOptions) -> Any:
    """An archive of arrays. Its usual names of rows and labels are found, in any case, with those of test rows."""
    from antivenom.core.regular import opened
    from antivenom.data import NpzFile, limits

    if rows.column or rows.label:
        return NpzFile(rows.npz, rows.column or "x", rows.label or "y")
    try:
        with opened(rows.npz) as file:
            found = {name.lower(): name for name in limits.names(file)}
    except Exception:  # the source says what is wrong with the file
        return NpzFile(rows.npz)
    for x, y in _PAIRS:
        for train, test in (("", ""), ("_train", "_test"), ("train_", "test_")):
            own = [_named(x, train), _named(y, train)]
            if all(name in found for name in own):
                others = [_named(x, test), _named(y, test)] if test else []
                others = others if all(name in found for name in others) else []
                fields = ("x", "y", "x_test", "y_test")
                named = zip(fields, (*own, *others), strict=False)
                return NpzFile(rows.npz, **{field: found[name] for field, name in named})  # type: ignore[arg-type]
    raise ScenarioError(f"arrays x and y in {rows.npz}", ", ".join(found.values()), "--column ROWS --label LABELS")


def _named(name: str, part: str) -> str:
    """A name with the part of the rows before or behind it: x_train, train_x."""
    return part + name if part.endswith("_") else name + part
