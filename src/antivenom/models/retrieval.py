"""Retrieval of documents for questions by TF-IDF, the first stage of a language model that answers from a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from antivenom.core.errors import DataError


class Retriever:
    """An index of documents. Similarity is the cosine of TF-IDF vectors with logarithmic term frequencies.

    Args:
        documents: the texts, at least one.

    Raises:
        DataError: no document has a word.

    Example:
        >>> index = Retriever(["the cat sat", "a dog barked", "cats and a dog"])
        >>> index.top(["which dog barked"], 2).tolist()
        [[1, 2]]
    """

    def __init__(self, documents: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.documents = tuple(documents)
        self._weighting = TfidfVectorizer(sublinear_tf=True)
        try:
            self._vectors: Any = self._weighting.fit_transform(self.documents)
        except ValueError as error:
            raise DataError("documents with words", str(error)) from error

    def __len__(self) -> int:
        return len(self.documents)

    def top(self, questions: Sequence[str], k: int) -> np.ndarray:
        """(m, k) the documents that are most similar to each question, the best first. Equal ones keep their order.

        Raises:
            DataError: fewer than k documents.
        """
        if not 1 <= k <= len(self):
            raise DataError(f"k from 1 to the number of documents, {len(self)}", f"{k}")
        found = np.empty((len(questions), k), dtype=np.int64)
        for row, asked in zip(found, self._weighting.transform(questions) if len(questions) else (), strict=True):
            row[:] = np.argsort(-(self._vectors @ asked.T).toarray().ravel(), kind="stable")[:k]
        return found

    def similarities(self, questions: Sequence[str], found: np.ndarray) -> np.ndarray:
        """(m, k) similarity of each question with its documents (m, k), which are given by number."""
        given = np.zeros(found.shape)
        for row, documents, asked in zip(
            given, found, self._weighting.transform(questions) if len(questions) else (), strict=True
        ):
            row[:] = (self._vectors[documents] @ asked.T).toarray().ravel()
        return given
