"""Numbers for the model that judges rows if the user has none: tables encoded, text as TF-IDF, images as pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from antivenom.core.errors import DataError
from antivenom.data import Dataset
from antivenom.data.schema import Column, ColumnKind

CATEGORIES, WORDS, COMPONENTS = 30, 20_000, 64
WIDEST = 500  # columns of a table for which trees are grown; more would take too long
SENTENCE = 3.0  # mean words of a cell from which a column of mostly different cells is free text, not an identifier
_WORD = r"(?u)\b\w+\b"


@dataclass(frozen=True, eq=False)
class Features:
    """The rows as numbers. No label was used to compute them.

    Fields:
        x: (n, features) dense or CSR.
        form: what the rows are: "table", "text", "mixed" (a table with text columns) or "image".
        notes: whole sentences on columns that were treated in a special way.
    """

    x: Any
    form: str
    notes: tuple[str, ...] = ()


def model_for(features: Features, rows: int) -> Any:
    """An unfitted estimator for these numbers: a linear model, averaged with trees for dense tables, with the nearest
    neighbours for images. Text gets the linear model alone.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    linear = LogisticRegression(max_iter=300)
    if features.form == "image":
        return VotingClassifier(
            [("linear", linear), ("neighbours", KNeighborsClassifier(15, weights="distance"))], voting="soft"
        )
    if features.form == "table" and not sp.issparse(features.x) and features.x.shape[1] <= WIDEST:
        trees = HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=15, min_samples_leaf=max(2, min(20, rows // 40)), early_stopping=False
        )
        return VotingClassifier([("linear", linear), ("trees", trees)], voting="soft")
    return linear


def features_of(data: Dataset) -> Features:
    """Encode the rows.

    A number is scaled to unit variance; a missing one becomes the median, with a column that says so. A word becomes one
    column per category (the 30 most frequent ones, all others together). Free text and word counts become TF-IDF. Images
    become the first 64 principal components of their pixels. Columns that never vary are left out.

    Raises:
        DataError: no column varies.
    """
    if data.is_tokens:
        return Features(_tf_idf(_token_counts(np.asarray(data.x), len(data.columns.vocabulary))), "text")
    if data.is_sparse:
        return Features(_tf_idf(data.x), "text") if _counts(data.x) else Features(sp.csr_matrix(data.x), "table")
    if data.is_frame:
        return _of_frame(data)
    flat = np.asarray(data.flat, dtype=np.float64)
    varying = flat.std(axis=0) > 0
    if not varying.any():
        raise DataError("a column that varies", f"{flat.shape[1]} constant ones", "add columns")
    scaled = _scaled(flat[:, varying])
    return Features(_components(scaled), "image") if data.is_image else Features(scaled, "table")


def _of_frame(data: Dataset) -> Features:
    parts: list[Any] = []
    notes: list[str] = []
    texts = 0
    for column in data.columns.columns:
        cells = data.x[column.name]
        if column.kind in (ColumnKind.TEXT, ColumnKind.CATEGORY):
            words = ["" if absent else str(cell) for cell, absent in zip(cells, cells.isna(), strict=True)]
            if _is_text(column, words):
                part = _of_texts(words)
                texts += part is not None
                notes += (
                    [f"Column {column.name} holds free text and was vectorised by TF-IDF."] if part is not None else []
                )
            elif column.kind is ColumnKind.TEXT and len({*words}) > 0.95 * len(words):
                part = None
                notes.append(f"Column {column.name} was left out: nearly every cell is different, as in an identifier.")
            else:
                part = _one_hot(words)
        else:
            part = _of_numbers(cells.to_numpy(dtype=np.float64, na_value=np.nan))
        if part is not None:
            parts.append(part)
    if not parts:
        raise DataError("a column that varies", "only constant columns and identifiers", "add columns")
    if texts:
        return Features(sp.hstack(parts, format="csr"), "text" if texts == len(parts) else "mixed", tuple(notes))
    return Features(np.hstack(parts), "table", tuple(notes))


def _is_text(column: Column, words: list[str]) -> bool:
    """Whether cells are free text: mostly different ones, with several words each."""
    present = [word for word in words if word]
    if not present or (column.kind is ColumnKind.CATEGORY and len(column.categories) <= len(words) // 2):
        return False
    return float(np.mean([len(word.split()) for word in present])) >= SENTENCE


def _of_numbers(numbers: np.ndarray) -> np.ndarray | None:
    """(n, 1 or 2) the scaled numbers and, if some are missing, a flag for them; None for a column that never varies."""
    absent = np.isnan(numbers)
    if absent.all():
        return None
    filled = np.where(absent, np.median(numbers[~absent]), numbers)
    parts = [_scaled(part[:, None]) for part in (filled, absent.astype(float)) if part.std() > 0]
    return np.hstack(parts) if parts else None


def _one_hot(words: list[str]) -> np.ndarray | None:
    """(n, categories) for a column of words; None if it never varies."""
    frequent = [word for word, _ in sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))[:CATEGORIES]]
    place = {word: i for i, word in enumerate(frequent)}
    number = np.array([place.get(word, len(frequent)) for word in words])
    width = int(number.max()) + 1
    return np.eye(width)[number] if width > 1 else None


def _scaled(x: np.ndarray) -> np.ndarray:
    return np.asarray((x - x.mean(axis=0)) / x.std(axis=0))


def _components(x: np.ndarray) -> np.ndarray:
    from sklearn.decomposition import PCA

    if min(x.shape) <= COMPONENTS:
        return x
    return np.asarray(PCA(COMPONENTS, svd_solver="randomized", random_state=0).fit_transform(x))


def _of_texts(texts: Iterable[str]) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    try:
        counts = CountVectorizer(max_features=WORDS, token_pattern=_WORD, dtype=np.float64).fit_transform(texts)
    except ValueError:  # no cell has a word
        return None
    return _tf_idf(counts)


def _tf_idf(counts: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfTransformer

    return sp.csr_matrix(TfidfTransformer(sublinear_tf=True).fit_transform(sp.csr_matrix(counts, dtype=np.float64)))


def _counts(x: Any) -> bool:
    """Whether sparse rows hold counts or presence of words."""
    return bool((x.data >= 0).all() and (x.data == np.floor(x.data)).all())


def _token_counts(tokens: np.ndarray, words: int) -> Any:
    """(n, words) how often each token occurs; padding, token 0, is left out."""
    n, length = tokens.shape
    rows = np.repeat(np.arange(n), length)
    words = max(words, int(tokens.max(initial=0)) + 1)
    counts = sp.csr_matrix((np.ones(n * length), (rows, tokens.ravel())), shape=(n, words))
    return counts[:, 1:]
