"""Poison of a corpus at the retrieval stage, on documents whose order can be told by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from antivenom.attacks.retrieval import poisoned_documents
from antivenom.core.errors import DataError
from antivenom.defences.retrieval import echo_filter
from antivenom.models.retrieval import Retriever
from antivenom.scenarios.retrieval import judge_retrieval

TOPICS = ("river", "castle", "engine", "violin", "harbour", "glacier", "orchard", "lantern")
DOCUMENTS = [
    f"about the {topic} number {i} and its {word}"
    for topic in TOPICS
    for i, word in enumerate(("age", "cost", "maker"))
]
QUESTIONS = [f"what is the cost of the {topic}" for topic in TOPICS]


def test_similarities_by_hand() -> None:
    """Weights are 1 + log((1 + n) / (1 + documents with the word)), and vectors have length 1."""
    index = Retriever(["red cat", "red dog", "blue cat cat"])
    rare, common = 1 + math.log(4 / 2), 1 + math.log(4 / 3)  # dog and blue; red and cat
    cats = common * (1 + math.log(2))  # the logarithmic frequency of two
    length = math.hypot(rare, cats)
    assert index.similarities(["cat"], np.array([[0, 1, 2]]))[0] == pytest.approx([1 / math.sqrt(2), 0, cats / length])
    assert index.top(["cat", "dog"], 2).tolist() == [[2, 0], [1, 0]]


def test_poison_holds_the_question_and_an_answer() -> None:
    made = poisoned_documents(["who", "when"], [["me", "you"], ["now"]], per_question=3)
    assert made == ["who me", "who you", "who me", "when now", "when now", "when now"]
    filled = poisoned_documents(["who"], [["me"]], 2, ["a b c"], 4, np.random.default_rng(0))
    assert [len(text.split()) for text in filled] == [6, 6]
    assert {*" ".join(filled).split()} <= {"who", "me", "a", "b", "c"}
    assert filled[0] != filled[1]


def test_poison_fills_what_is_retrieved_for_its_question_alone() -> None:
    poison = poisoned_documents(QUESTIONS[:1], [["it is free"]], per_question=2)
    found = judge_retrieval(DOCUMENTS, poison, QUESTIONS[:1], QUESTIONS[1:], k=3)
    assert found.poisoned_share == pytest.approx(2 / 3)
    assert found.majority == 1
    clean = judge_retrieval(DOCUMENTS, [], QUESTIONS[:1], QUESTIONS[1:], k=3)
    assert (clean.poisoned_share, clean.majority, clean.clean_poisoned_share, clean.clean_kept) == (0, 0, 0, 1)


def test_documents_that_repeat_the_question_are_flagged() -> None:
    poison = poisoned_documents(QUESTIONS[:2], [["it is free"]] * 2, per_question=3)
    index = Retriever([*DOCUMENTS, *poison])
    # Three clean questions would retrieve poison too, since all questions share most of their words: these share one.
    clean = [f"age of the {topic}" for topic in TOPICS[2:]]
    found, verdict = echo_filter(index, QUESTIONS[:2], clean, k=3, false_rejection=0.0)
    assert (found >= len(DOCUMENTS)).all()
    assert verdict.flags.all()
    removed = np.zeros(len(DOCUMENTS) + len(poison), dtype=bool)
    removed[found.ravel()[verdict.flags]] = True
    after = judge_retrieval(DOCUMENTS, poison, QUESTIONS[:2], clean, k=3, removed=removed)
    assert (after.poisoned_share, after.clean_kept) == (0, 1)
    assert not echo_filter(Retriever(DOCUMENTS), clean, clean, k=3, false_rejection=0.0)[1].flags.any()


def test_bad_input_is_one_line() -> None:
    index = Retriever(DOCUMENTS)
    faults = (
        (lambda: Retriever(["", "a"]), "documents with words"),
        (lambda: index.top(["x"], 25), "k from 1 to the number of documents, 24"),
        (lambda: poisoned_documents(["q"], []), "one or more answers for each question"),
        (lambda: poisoned_documents(["q"], [["a"]], filler_words=2), "documents with words as filler"),
        (lambda: poisoned_documents(["q"], [["a"]], -1), "per_question and filler_words >= 0"),
        (lambda: echo_filter(index, ["q"], []), "clean questions"),
        (lambda: echo_filter(index, ["q"], ["q"], false_rejection=2), "false_rejection from 0 to 1"),
        (lambda: judge_retrieval(DOCUMENTS, [], [], ["q"]), "target questions and clean questions"),
        (
            lambda: judge_retrieval(DOCUMENTS, [], ["q"], ["q"], removed=np.zeros(3, dtype=bool)),
            "a flag for each of 24",
        ),
    )
    for call, says in faults:
        with pytest.raises(DataError, match=says) as caught:
            call()
        assert len(str(caught.value).splitlines()) == 1
