"""Poison of a corpus that a language model retrieves from: texts that are found for a question and give a wrong answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from antivenom.core.errors import DataError


def poisoned_documents(
    questions: Sequence[str],
    answers: Sequence[Sequence[str]],
    per_question: int = 5,
    filler: Sequence[str] = (),
    filler_words: int = 0,
    rng: np.random.Generator | None = None,
) -> list[str]:
    """Documents for each target question: the question itself, so that it is retrieved, and a text with the wanted answer.

    This is the black-box form of the attack, which needs no access to the retriever. Weakness: the documents repeat the
    question, which `echo_filter` recognises. An attacker who knows this adds random words of other documents
    (`filler_words`). The more of them, the better hidden and the less similar to the question a document is.

    Args:
        questions: the target questions.
        answers: for each question one or more texts with the wanted answer, used in turn.
        per_question: number of documents per question; the paper has 5.
        filler: documents from which the random words are drawn; needed if `filler_words` is above 0.
        filler_words: number of random words in each document.
        rng: source of randomness for these words; None stands for seed 0.

    Returns:
        per_question documents for the first question, then those for the second, and so on.

    Raises:
        DataError: a question without an answer, or filler words without a document to draw them from.

    Reference: Zou, Geng, Wang and Jia 2025, "PoisonedRAG: Knowledge Corruption Attacks to Retrieval-Augmented Generation of
    Large Language Models", USENIX Security, arXiv:2402.07867.

    Example:
        >>> poisoned_documents(["Who wrote Faust?"], [["Schiller wrote it."]], per_question=1)
        ['Who wrote Faust? Schiller wrote it.']
    """
    if len(answers) != len(questions) or not all(answers):
        raise DataError(
            "one or more answers for each question",
            f"{len(questions)} questions, {sum(map(bool, answers))} with answers",
        )
    if per_question < 0 or filler_words < 0:
        raise DataError("per_question and filler_words >= 0", f"{per_question} and {filler_words}")
    words = [word for text in filler for word in text.split()] if filler_words else []
    if filler_words and not words:
        raise DataError("documents with words as filler", "none", "give some, or set filler_words=0")
    rng = np.random.default_rng(0) if rng is None else rng
    made = []
    for question, texts in zip(questions, answers, strict=True):
        for number in range(per_question):
            added = [words[i] for i in rng.integers(len(words), size=filler_words)] if filler_words else []
            made.append(" ".join([question, texts[number % len(texts)], *added]))
    return made
