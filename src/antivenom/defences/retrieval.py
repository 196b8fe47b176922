"""A defence of a corpus against documents that were made to be retrieved for one question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from antivenom.core.errors import DataError
from antivenom.core.verdict import Verdict
from antivenom.models.retrieval import Retriever


def echo_filter(
    index: Retriever,
    questions: Sequence[str],
    clean_questions: Sequence[str],
    k: int = 5,
    false_rejection: float = 0.05,
) -> tuple[np.ndarray, Verdict]:
    """Flags retrieved documents that repeat the question more closely than honest documents do.

    A document that is to be retrieved for a question holds the question or most of its words. The score of a document is
    its similarity with the question. The threshold is a quantile of the scores of the documents that are retrieved for
    clean questions. Weakness: it misses documents that hide the question among many other words, of which the retriever
    finds fewer. Honest documents that repeat questions, such as lists of frequent questions, are flagged.

    Args:
        index: the documents.
        questions: the questions that are asked.
        clean_questions: questions that no attacker aims at, about 50 or more.
        k: number of documents that are retrieved for a question.
        false_rejection: share of the documents retrieved for clean questions that the threshold flags, 0 to 1.

    Returns:
        (m, k) the retrieved documents by number, and a verdict over them, row by row.

    Raises:
        DataError: no clean questions, or numbers out of range.
    """
    if not clean_questions:
        raise DataError("clean questions to take the threshold from", "none", "give about 50")
    if not 0 <= false_rejection <= 1:
        raise DataError("false_rejection from 0 to 1", f"{false_rejection}")
    usual = index.similarities(clean_questions, index.top(clean_questions, k))
    found = index.top(questions, k)
    scores = index.similarities(questions, found).ravel()
    return found, Verdict(scores, scores > np.quantile(usual, 1 - false_rejection))
