"""UCI Adult as Bhagoji et al. 2019 use it: rows with missing values dropped, 98 one-hot columns and 6 numbers.

The paper states 104 features and that rows with missing values are dropped. That these are 98 + 6 is inferred: the eight
categorical columns have 7+16+7+14+6+5+2+41 = 98 values among the complete training rows. The first 30,160 of the 30,162
training rows are kept, so that they can be divided among ten agents. Class 0 is an income above 50K, the paper's target.
"""

from __future__ import annotations

import numpy as np

from antivenom.data.dataset import Dataset, Split
from antivenom.data.schema import Column, ColumnKind, Schema

_NAMES = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship"),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country"),
)
_NUMERIC = (0, 2, 4, 10, 11, 12)
_CATEGORICAL = (1, 3, 5, 6, 7, 8, 9, 13)
_PUBLISHED = {30_162, 15_060}  # complete rows of the training and of the test file
_KEEP = 30_160


def rows(content: bytes) -> np.ndarray:
    """(n, 15) strings: the complete rows of a file, without header or comment lines.

    Raises:
        ValueError: the file has another number of complete rows than the published ones.
    """
    cells = [[cell.strip() for cell in line.split(",")] for line in content.decode("ascii").splitlines()]
    table = [row for row in cells if len(row) == 15 and row[0].isdigit() and "?" not in row]
    if len(table) not in _PUBLISHED:
        raise ValueError(f"{len(table)} complete rows where 30162 (train) or 15060 (test) are published")
    return np.array(table)


def preprocess(train: np.ndarray, test: np.ndarray) -> Split:
    """Encode the strings as 104 features by statistics of the training rows, on which they lie in [0, 1].

    A category that does not occur in training becomes all zeros, and numbers of test rows may lie outside [0, 1].
    """
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder  # here, because the import is slow

    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore", dtype=np.float32)
    scaler = MinMaxScaler()
    encoder.fit(train[:, _CATEGORICAL])
    scaler.fit(train[:, _NUMERIC].astype(np.float64))

    categories = [
        Column(_NAMES[place], ColumnKind.CATEGORY, categories=tuple(map(str, words)))
        for place, words in zip(_CATEGORICAL, encoder.categories_, strict=True)
    ]
    numbers = [Column(_NAMES[place]) for place in _NUMERIC]  # test rows may lie outside [0, 1]
    schema = Schema((*categories, *numbers))

    def dataset(table: np.ndarray) -> Dataset:
        x = np.hstack(
            [encoder.transform(table[:, _CATEGORICAL]), scaler.transform(table[:, _NUMERIC].astype(np.float64))]
        )
        y = np.array([not label.startswith(">50K") for label in table[:, 14]], dtype=np.int64)
        return Dataset(x, y, (">50K", "<=50K"), "adult", schema=schema)

    return Split(dataset(train[:_KEEP]), dataset(test))
