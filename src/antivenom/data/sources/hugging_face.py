"""Rows from a folder that Hugging Face's `datasets` has saved to disk. The folder is read by pyarrow; nothing in it is run."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from antivenom.core.errors import DataError, did_you_mean
from antivenom.core.registry import source
from antivenom.core.regular import content_of, opened
from antivenom.core.streams import Streams
from antivenom.data import limits
from antivenom.data.dataset import Dataset, Split
from antivenom.data.fingerprints import of_files
from antivenom.data.schema import BYTES, Column, ColumnKind, Schema
from antivenom.data.splitting import split_by_seed

_MOST_JSON = 1 << 24  # bytes of a description
_STATE, _PARTS, _INFO = "state.json", "dataset_dict.json", "dataset_info.json"


@source(cite="the user's own folder, written by `save_to_disk` of Hugging Face's datasets, read by pyarrow")
class HuggingFaceFolder:
    """A folder written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`. It needs the extra `parquet`.

    A column of images becomes rows of pixels, the column `text` rows of raw text, and otherwise all columns besides the label
    become a table. Classes are those of a ClassLabel, or the labels in sorted order. Of a DatasetDict, the part `train` is
    attacked, and `test`, or else `validation`, judges.

    Fields:
        path: the folder.
        label: the column of the class.
        text: the column of texts; "" for `text`, if there is such a column.
        ignore: columns to leave out.
        size: height and width to which images are scaled; (0, 0) for those of the first image.
        test_share: share of the rows that become test rows, above 0 and below 1, if the folder has no part for them.
    """

    path: str
    label: str = "label"
    text: str = ""
    ignore: tuple[str, ...] = ()
    size: tuple[int, int] = (0, 0)
    test_share: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", str(self.path))
        object.__setattr__(self, "ignore", tuple(self.ignore))
        object.__setattr__(self, "size", tuple(self.size))
        if not 0 < self.test_share < 1 or len(self.size) != 2 or min(self.size) < 0:
            raise DataError("test_share above 0 and below 1, and a size", f"{self.test_share} and {self.size}")

    def __call__(self, streams: Streams) -> Split:
        train, test = _parts(self, self.fingerprint())
        return split_by_seed(train, streams, self.test_share) if test is None else Split(train, test)

    def unsplit(self) -> Dataset:
        """The rows in their own order; of a DatasetDict, those of `train`."""
        return _parts(self, self.fingerprint())[0]

    def fingerprint(self) -> str:
        """The SHA-256 of the files that hold the rows, and of their names."""
        return of_files([file for folder in _folders(self) for file in (folder / _INFO, *_files(folder))])


def is_saved(path: Path) -> bool:
    """Whether `save_to_disk` wrote the folder."""
    return (path / _STATE).is_file() or (path / _PARTS).is_file()


@functools.lru_cache(maxsize=2)  # every trial calls it; the second argument, the fingerprint, changes with the files
def _parts(saved: HuggingFaceFolder, _: str) -> tuple[Dataset, Dataset | None]:
    folders = _folders(saved)
    train = _dataset(saved, folders[0], None)
    return train, _dataset(saved, folders[1], train) if len(folders) > 1 else None


def _folders(saved: HuggingFaceFolder) -> list[Path]:
    """The folder of the training rows and, if there is one, that of the test rows."""
    path = Path(saved.path)
    if not is_saved(path):
        raise DataError(
            f"a folder that save_to_disk wrote at {path}", f"no {_STATE} there", "save the data set with save_to_disk"
        )
    if not (path / _PARTS).is_file():
        return [path]
    names = _json(path / _PARTS).get("splits")
    if not isinstance(names, list) or "train" not in names:
        raise DataError(f"a part `train` in {path}", f"{names}", "name the folder of one part")
    judging = next((name for name in ("test", "validation") if name in names), None)
    return [path / "train", *([path / judging] if judging else [])]


def _files(folder: Path) -> list[Path]:
    """The Arrow files of a part. Their names are plain, so that they cannot lead out of the folder."""
    listed = _json(folder / _STATE).get("_data_files")
    given = [each.get("filename") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    names = [name for name in given if isinstance(name, str) and Path(name).name == name]
    if not names or len(names) < len(given):
        raise DataError(f"names of Arrow files in {folder / _STATE}", f"{given}"[:120], "save the data set again")
    return [folder / name for name in names]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(content_of(path, _MOST_JSON))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"JSON in {path}", f"{error}", "save the data set again") from error
    if not isinstance(found, dict):
        raise DataError(f"a mapping in {path}", type(found).__name__, "save the data set again")
    return found


def _table(folder: Path) -> Any:
    """All rows of a part, as a table of pyarrow."""
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError("pyarrow, which reads Arrow", "no such package", "pip install 'antivenom[parquet]'") from error
    tables, cells = [], 0
    for path in _files(folder):
        try:
            with opened(path) as file, pa.ipc.open_stream(file) as stream:
                for batch in stream:
                    cells += batch.num_rows * batch.num_columns
                    if cells > limits.MOST_CELLS:
                        raise ValueError(f"more than {limits.MOST_CELLS} cells")
                    tables.append(pa.Table.from_batches([batch]))
        except (OSError, ValueError) as error:  # pyarrow's own errors are among them
            raise DataError(f"an Arrow file at {path}", " ".join(str(error).split())[:120], "save it again") from error
    if not tables:
        raise DataError(f"rows in {folder}", "none")
    return pa.concat_tables(tables)


def _dataset(saved: HuggingFaceFolder, folder: Path, train: Dataset | None) -> Dataset:
    table = _table(folder)
    names = table.column_names
    for name in (saved.label, *([saved.text] if saved.text else []), *saved.ignore):
        if name not in names:
            raise DataError(f"a column of {folder}", repr(name), did_you_mean(name, names))
    features = _json(folder / _INFO).get("features") or {}
    stated = features.get(saved.label, {})
    labels = np.array(table[saved.label].to_pylist(), dtype=object)
    if any(label is None for label in labels):
        raise DataError(f"a label in every row of {folder}", "none in some", "label or remove those rows")
    classes = stated.get("names") if isinstance(stated, dict) and stated.get("_type") == "ClassLabel" else None
    if classes:
        y, known = labels.astype(int), tuple(map(str, classes))
        if y.min(initial=0) < 0 or y.max(initial=0) >= len(known):
            raise DataError(f"labels from 0 to {len(known) - 1} in {folder}", f"{y.min()} to {y.max()}")
    else:
        y = labels.astype(str)
        known = tuple(sorted({*y.tolist()})) if train is None else train.classes
    name = Path(saved.path).name
    rows, schema = _rows(saved, table.drop_columns([saved.label, *saved.ignore]), features, train)
    return Dataset(rows, y, known, name, schema=schema if train is None else train.schema)


def _rows(saved: HuggingFaceFolder, table: Any, features: Any, train: Dataset | None) -> tuple[Any, Schema | None]:
    """The rows of a part, and their schema; None for one that is inferred."""
    import pandas as pd

    kinds = {name: features.get(name, {}).get("_type") for name in table.column_names}
    pictures = [name for name, kind in kinds.items() if kind == "Image"]
    if len(pictures) == 1:
        return _pixels(saved, table[pictures[0]].to_pylist(), train)
    text = saved.text or ("text" if "text" in table.column_names else "")
    if text:
        texts = ["" if cell is None else str(cell) for cell in table[text].to_pylist()]
        column = Column("text", ColumnKind.TEXT)
        return pd.DataFrame({"text": texts}), Schema((column,), "text", frame=True)
    from pyarrow import types

    nested = [field.name for field in table.schema if types.is_nested(field.type) or types.is_binary(field.type)]
    if nested:
        raise DataError(f"columns of numbers and words in {saved.path}", f"lists in {nested[0]}", "name it in `ignore`")
    return table.to_pandas(), None


def _pixels(saved: HuggingFaceFolder, cells: list[Any], train: Dataset | None) -> tuple[np.ndarray, Schema]:
    """(n, channels, height, width) float32 from 0 to 1: the size and channels of the first image, or of the training rows."""
    from PIL import Image

    found, shape = [], None if train is None else train.shape
    for number, cell in enumerate(cells):
        try:
            with Image.open(io.BytesIO(cell["bytes"])) as image:
                if shape is None:
                    height, width = saved.size if all(saved.size) else (image.height, image.width)
                    shape = (1 if image.mode in ("1", "L", "I", "F") else 3, height, width)
                mode = "L" if shape[0] == 1 else "RGB"
                pixels = image.convert(mode).resize((shape[2], shape[1]), Image.Resampling.BILINEAR)
        except Exception as error:  # Pillow raises many classes of exceptions; a cell may also name a file elsewhere
            raise DataError(
                f"an image in row {number} of {saved.path}",
                f"{type(error).__name__}: {' '.join(str(error).split())[:120]}",
                "save the data set with the bytes of its images",
            ) from error
        array = np.asarray(pixels, dtype=np.float32) / np.float32(255)
        found.append(array[None] if shape[0] == 1 else np.moveaxis(array, 2, 0))
    x = np.stack(found)
    return x, Schema.pixels(x.shape[1:], steps=BYTES)
