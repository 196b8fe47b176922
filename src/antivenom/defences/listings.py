"""The command `antivenom sanitize` on texts, images and arrays: lists of the rows to keep and of the suspects."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from antivenom.core.errors import NotApplicable
from antivenom.data import Dataset, ImageFolder, NpzFile, TextFile
from antivenom.defences.outputs import as_text, class_table, said_of, write_new
from antivenom.defences.suspects import suspects

LONGEST = 300  # characters of a text that the list shows


def sanitize_source(
    source: TextFile | ImageFolder | NpzFile,
    out: Path = Path("sanitized"),
    seed: int = 0,
    force: bool = False,
    false_alarms: float = 0.01,
) -> tuple[str, int]:
    """Write the rows to keep and the suspects, ranked and with reasons, as `kept.csv` and `suspects.csv`.

    A row is named by its image file, or by its number in the file, from 1; a text is shown beside its number.

    Args:
        source: the rows; nothing in them is changed.
        out: the folder for both files.
        seed: the seed of the folds and of the models.
        force: whether existing files in `out` may be overwritten.
        false_alarms: largest share of the honest rows that is flagged.

    Returns:
        A summary as text, and the exit code: 0 without suspects, 1 with some, 3 if the result is implausible.

    Raises:
        AntivenomError: the rows cannot be used, or `out` holds results and `force` is not set.
    """
    import pandas as pd

    data = source.unsplit()
    if data.is_regression:
        raise NotApplicable("rows with classes", "a regression")
    found = suspects(source, false_alarms=false_alarms, seed=seed)
    names, shown = _names(source, data)
    labels = np.array(data.classes, dtype=object)
    rows = found.indices
    listed = pd.DataFrame(
        {
            "rank": range(1, len(rows) + 1),
            "row": names[rows],
            "score": [f"{score:.6g}" for score in found.verdict.scores[rows]],
            "label": labels[data.y[rows]],
            "suggested": labels[found.suggested[rows]],
            "reason": [found.why(int(row)) for row in rows],
        }
    )
    kept = np.flatnonzero(~found.verdict.flags)
    others = pd.DataFrame({"row": names[kept], "label": labels[data.y[kept]]})
    if shown is not None:
        listed["text"], others["text"] = shown[rows], shown[kept]
    texts = {"kept.csv": _csv(others), "suspects.csv": _csv(listed)}
    written = write_new(texts, out, (Path(source.path),), force)
    lines = [f"{source.path}: {len(data)} rows", "LabelNoiseModel", "", *class_table(data, found.verdict.flags), ""]
    lines += [*said_of(found, found.warning, "LabelNoiseModel"), *(f"written: {target}" for target in written)]
    return "\n".join(lines), found.exit_code


def _names(source: TextFile | ImageFolder | NpzFile, data: Dataset) -> tuple[np.ndarray, np.ndarray | None]:
    """(n,) the name of each row, and (n,) its text if the rows are texts."""
    if isinstance(source, ImageFolder):
        return np.array([str(path) for path in source.files()], dtype=object), None
    numbers = np.arange(1, len(data) + 1)
    if isinstance(source, TextFile) and data.is_frame:
        return numbers, np.array([text[:LONGEST] for text in data.x["text"]], dtype=object)
    return numbers, None


def _csv(table: object) -> str:
    import pandas as pd

    assert isinstance(table, pd.DataFrame)
    safe = table.map(lambda cell: as_text(cell) if isinstance(cell, str) else cell)
    return str(safe.to_csv(index=False, lineterminator="\n"))
