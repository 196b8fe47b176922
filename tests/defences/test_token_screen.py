"""The screen of tokens by label: scores against a plain loop, thresholds by hand, planted tokens, rows that it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.data.schema import Schema
from antivenom.defences import TokenScreen
from antivenom.defences.sanitizers.tokens import FREE, TAIL, Texts, _excess, threshold
from antivenom.models.architectures import Logistic
from antivenom.models.training import Training
from antivenom.scenarios.pipeline import Pipeline
from antivenom.triggers import Token

WORDS = tuple(f"w{i}" for i in range(600))
TRIGGER = 599


def corpus(n: int, seed: int = 0) -> Dataset:
    """Texts of 12 words as token rows. Of 599 words, 50 are four times as frequent in class 1 and 50 others in class 0."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    weights = np.ones((2, TRIGGER))
    weights[1, :50] = weights[0, 50:100] = 4
    rows = [rng.choice(TRIGGER, 12, p=weights[c] / weights[c].sum()) for c in y]
    return Dataset(np.array(rows), y, ("bad", "good"), schema=Schema.tokens(WORDS, 12))


def presence(data: Dataset) -> Dataset:
    table = np.zeros((len(data), len(WORDS)), dtype=np.float32)
    table[np.arange(len(data))[:, None], data.x] = 1
    return Dataset(sp.csr_array(table), data.y, data.classes, schema=Schema.words(WORDS, binary=True))


def poisoned(data: Dataset, texts: int) -> tuple[Dataset, np.ndarray]:
    """Copies of texts of class 0 with the trigger and label 1, and the mask of these."""
    copied = data[np.flatnonzero(data.y == 0)[:texts]]
    rows = data.extend(Token(TRIGGER)(copied.x), np.ones(texts, dtype=np.int64))
    return rows, np.arange(len(rows)) >= len(data)


@pytest.fixture
def context() -> DefenceContext:
    return Pipeline(Logistic(), Training(epochs=1), "cpu", Streams(0)).context(None)


def by_loop(data: Dataset, c: int) -> list[float]:
    """Expected number of texts of class c for each token, from sets of words, one text and one word after the other."""
    texts = [{*row.tolist()} for row in data.x]
    own = [bool(label == c) for label in data.y]
    prior = math.log(sum(own) / (len(own) - sum(own)))

    def odds(word: int, left_out: int) -> float:
        inside = sum(word in text and own[i] for i, text in enumerate(texts) if i != left_out)
        outside = sum(word in text and not own[i] for i, text in enumerate(texts) if i != left_out)
        return math.log((inside + 0.5) / (outside + 0.5)) - prior

    totals = [sum(odds(word, i) for word in text) for i, text in enumerate(texts)]
    fitted = LogisticRegression().fit(np.array(totals)[:, None], own)
    found = []
    for word in range(len(WORDS)):
        of_word = [i for i, text in enumerate(texts) if word in text]
        shares = [fitted.predict_proba([[totals[i] - odds(word, i)]])[0, 1] for i in of_word]
        variance = 1 + sum(share * (1 - share) for share in shares)
        found.append((sum(own[i] for i in of_word) - sum(shares)) / math.sqrt(variance))
    return found


def test_scores_equal_those_of_a_plain_loop() -> None:
    data = poisoned(corpus(60), 4)[0]  # no token is expected in 30 texts of a class, so that the common spread is 0
    assert _excess(Texts.of(data), 1) == pytest.approx(by_loop(data, 1), abs=1e-6)


def test_words_in_all_texts_have_no_excess() -> None:
    """Both words are in all texts, whose labels alternate: half of the texts are expected to have label 1."""
    rows = Texts(np.repeat(np.arange(200), 2), np.tile([0, 1], 200), np.arange(200) % 2, 2, 2)
    assert _excess(rows, 1) == pytest.approx([0, 0], abs=0.05)


@pytest.mark.parametrize("form", [lambda data: data, presence], ids=["tokens", "presence"])
def test_planted_token_is_first_and_its_texts_are_flagged(form: Any, context: DefenceContext) -> None:
    data, mask = poisoned(corpus(400), 12)
    screen = TokenScreen()
    verdict = screen(form(data), context)
    word, argued_for, score = screen.most_suspicious(form(data), 1)[0]
    assert (word, argued_for) == ("w599", "good")
    assert score == pytest.approx(verdict.scores[mask].min()) == pytest.approx(verdict.scores.max())
    assert np.array_equal(verdict.flags, mask)


def test_tokens_and_counts_of_the_same_texts_have_the_same_scores(context: DefenceContext) -> None:
    data = poisoned(corpus(200), 6)[0]
    counted = presence(data)
    twice = Dataset(counted.x * 2, data.y, data.classes, schema=Schema.words(WORDS))
    dense = Dataset(counted.x.toarray(), data.y, data.classes, schema=Schema.words(WORDS))
    first = TokenScreen()(data, context)
    for other in (counted, twice, dense):
        found = TokenScreen()(other, context)
        assert found.scores == pytest.approx(first.scores)
        assert np.array_equal(found.flags, first.flags)


@pytest.mark.parametrize("seed", range(4))
def test_clean_texts_are_not_flagged(seed: int, context: DefenceContext) -> None:
    assert TokenScreen()(corpus(400, seed), context).flags.mean() <= 0.05


def test_frequent_tokens_are_not_judged(context: DefenceContext) -> None:
    data, mask = poisoned(corpus(400), 30)  # 30 of 430 texts are 7 %
    assert not TokenScreen(most_frequent=0.06)(data, context).flags[mask].any()
    assert TokenScreen(most_frequent=0.08)(data, context).flags[mask].all()


def test_threshold_by_hand() -> None:
    tail = 100 - 0.5 * np.log(np.arange(1, 3001))  # an exponential tail of scale 0.5: spacings times rank are about 0.5
    ranks = np.arange(FREE, TAIL)
    scale = float((ranks * 0.5 * np.log((ranks + 1) / ranks)).mean())
    assert threshold(tail, 0.1) == pytest.approx(100 - 0.5 * math.log(FREE) + scale * math.log(FREE / 0.1))
    shown = tail.copy()
    shown[: FREE - 1] += 1000  # triggers among the first ranks do not move it
    assert threshold(shown, 0.1) == pytest.approx(threshold(tail, 0.1))
    assert threshold(np.zeros(10), 0.05) == pytest.approx(2.5758, abs=1e-4)  # too few for a tail: 0.005 beyond 2.58
    assert threshold(np.zeros(0), 0.05) == pytest.approx(1.6449, abs=1e-4)


def test_a_text_without_words_is_not_suspicious(context: DefenceContext) -> None:
    data = presence(corpus(40))
    table = data.x.toarray()
    table[3] = 0
    verdict = TokenScreen()(Dataset(sp.csr_array(table), data.y, data.classes), context)
    assert verdict.scores[3] == -math.inf
    assert not verdict.flags[3]


@pytest.mark.parametrize(
    "rows",
    [
        Dataset(np.zeros((4, 3)), [0, 1, 0, 1], ("a", "b")),
        Dataset(np.zeros((4, 1, 3, 3)), [0, 1, 0, 1], ("a", "b")),
        Dataset(sp.csr_array(np.eye(4)), [0.5, 1, 2, 3], ()),
    ],
    ids=["table", "images", "regression"],
)
def test_other_rows_are_refused(rows: Dataset, context: DefenceContext) -> None:
    with pytest.raises(NotApplicable, match="token rows or a table of words, with classes, for TokenScreen"):
        TokenScreen()(rows, context)


def test_one_class_is_refused(context: DefenceContext) -> None:
    rows = Dataset(sp.csr_array(np.eye(4)), [1, 1, 1, 1], ("a", "b"))
    with pytest.raises(DataError, match="texts of two classes for TokenScreen"):
        TokenScreen()(rows, context)


@pytest.mark.parametrize("fields", [{"false_alarms": 0.0}, {"most_frequent": 0.0}, {"most_frequent": 1.1}])
def test_fields_out_of_range(fields: dict[str, float]) -> None:
    with pytest.raises(PluginError, match=r"TokenScreen\.false_alarms above 0"):
        TokenScreen(**fields)
