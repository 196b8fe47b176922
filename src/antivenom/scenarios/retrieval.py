"""What poison in a corpus does at the retrieval stage: for the questions that it aims at, and for all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antivenom.core.errors import DataError
from antivenom.models.retrieval import Retriever


@dataclass(frozen=True)
class Retrieved:
    """Effects of poison on the k documents retrieved for each question.

    Fields:
        poisoned_share: share of poisoned documents among those retrieved for the target questions.
        majority: share of the target questions for which more than half of the retrieved documents are poisoned.
        clean_poisoned_share: share of poisoned documents among those retrieved for the clean questions.
        clean_kept: share of the documents that were retrieved for the clean questions before and still are.
    """

    poisoned_share: float
    majority: float
    clean_poisoned_share: float
    clean_kept: float


def judge_retrieval(
    documents: Sequence[str],
    poison: Sequence[str],
    targets: Sequence[str],
    clean_questions: Sequence[str],
    k: int = 5,
    removed: np.ndarray | None = None,
) -> Retrieved:
    """Measures retrieval from the documents with and without the poison.

    Args:
        documents: the honest documents.
        poison: the documents that the attacker added.
        targets: the questions that it aims at.
        clean_questions: other questions.
        k: number of documents that are retrieved for a question.
        removed: (documents + poison,) bool, the documents that a defence removed; None for none.

    Raises:
        DataError: no questions of one kind, or a mask of another length.
    """
    if not len(targets) or not len(clean_questions):
        raise DataError("target questions and clean questions", f"{len(targets)} and {len(clean_questions)}")
    everything = [*documents, *poison]
    kept = np.ones(len(everything), dtype=bool) if removed is None else ~np.asarray(removed, dtype=bool)
    if kept.shape != (len(everything),):
        raise DataError(f"a flag for each of {len(everything)} documents", f"{kept.shape}")
    places = np.flatnonzero(kept)
    index = Retriever([everything[i] for i in places])
    aimed, others = places[index.top(targets, k)], places[index.top(clean_questions, k)]
    before = Retriever(documents).top(clean_questions, k)
    bad = aimed >= len(documents)
    same = [len(np.intersect1d(now, then)) for now, then in zip(others, before, strict=True)]
    return Retrieved(
        float(bad.mean()),
        float((bad.mean(axis=1) > 0.5).mean()),
        float((others >= len(documents)).mean()),
        float(np.sum(same) / before.size),
    )
