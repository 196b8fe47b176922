"""Poisoned mails: which tokens, which label, how many; by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from antivenom.attacks import DictionaryAttack, FocusedAttack, Pseudospam
from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import Dataset, Schema, load
from antivenom.data.schema import Column, ColumnKind
from antivenom.models.spambayes import SpamBayes, SpamBayesClassifier
from antivenom.scenarios.central import Central
from antivenom.scenarios.grants import enforce

INJECTS = ThreatModel("data-injection", "availability")
ATTACKS = (DictionaryAttack, FocusedAttack, Pseudospam)


def context(rows: Dataset | None = None, seed: int = 1) -> AttackContext:
    return AttackContext(Streams(seed), INJECTS, rows=rows)


def corpus(n: int = 40, seed: int = 0, sparse: bool = True) -> Dataset:
    """Counts of 12 tokens; ham has the first eight, spam the last eight."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    allowed = np.where(y[:, None] == 0, np.arange(12) < 8, np.arange(12) >= 4)
    x = (allowed * rng.integers(0, 3, (n, 12))).astype(np.float32)
    return Dataset(sp.csr_array(x) if sparse else x, y, ("ham", "spam"), "corpus")


def added(poison) -> np.ndarray:
    x = poison.data[poison.mask].flat
    return x.toarray() if sp.issparse(x) else x


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("attack", ATTACKS)
def test_rows_are_appended_in_the_data_s_own_form_within_the_budget(attack: type, sparse: bool) -> None:
    data = corpus(sparse=sparse)
    poison = attack(poisoned_rate=0.26)(data, context())
    assert poison.mask.tolist() == [False] * 40 + [True] * 10
    assert set(poison.data.y[40:]) == {0 if attack is Pseudospam else 1}
    enforce(ThreatModel("data-injection", "availability", max_poisoned_rate=0.26), data, poison)
    assert not attack(poisoned_rate=0.02)(data, context()).mask.any()  # less than a row


@pytest.mark.parametrize("attack", ATTACKS)
def test_sparse_and_dense_rows_get_the_same_mails(attack: type) -> None:
    sparse, dense = (attack(poisoned_rate=0.5)(corpus(sparse=kind), context()) for kind in (True, False))
    assert np.array_equal(added(sparse), added(dense))


def test_images_get_images() -> None:
    data = Dataset(np.ones((20, 1, 3, 4)), np.arange(20) % 2, ("a", "b"))
    assert DictionaryAttack(poisoned_rate=0.1)(data, context()).data.shape == (1, 3, 4)


def test_the_optimal_dictionary_is_every_token_once() -> None:
    assert (added(DictionaryAttack(poisoned_rate=0.1)(corpus(), context())) == np.ones((4, 12))).all()


def test_a_list_is_its_columns() -> None:
    rows = added(DictionaryAttack(words="list", columns=(7, 2, 7), poisoned_rate=0.1)(corpus(), context()))
    assert (rows == np.isin(np.arange(12), (2, 7))).all()


def test_the_corpus_dictionary_is_the_most_frequent_ham_tokens_of_the_attacker_s_own_rows() -> None:
    own = Dataset(
        sp.csr_array(np.array([[0, 9, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0], [7, 0, 1, 0]], dtype=np.float32)),
        np.array([0, 0, 0, 1]),
        ("ham", "spam"),
    )
    data = Dataset(sp.csr_array(np.ones((10, 4), dtype=np.float32)), np.arange(10) % 2, ("ham", "spam"))
    for size, expected in ((1, [0, 0, 0, 1]), (2, [0, 1, 0, 1]), (9, [0, 1, 1, 1])):  # token 0 is in no ham
        attack = DictionaryAttack(words="ham-frequent", size=size, poisoned_rate=0.1)
        assert added(attack(data, context(own))).tolist() == [expected]


def test_without_rows_of_his_own_he_goes_by_the_training_rows() -> None:
    rows = added(DictionaryAttack(words="ham-frequent", poisoned_rate=0.1)(corpus(), context()))
    assert (rows == (np.arange(12) < 8)).all()


def letters(editable: bool = True) -> Dataset:
    """Eight texts in a table with another column, filed under three classes."""
    words = ("the cat", "the dog", "the cat sleeps", "a price", "the prize", "prize money", "the news", "old news")
    frame = pd.DataFrame({"text": words, "day": np.arange(8)})
    schema = Schema(
        (Column("text", ColumnKind.TEXT, editable=editable), Column("day", "whole", 0, 9, editable=False)), frame=True
    )
    return Dataset(frame, np.array([0, 0, 0, 1, 1, 1, 2, 2]), ("pets", "spam", "news"), schema=schema)


def test_texts_get_texts_of_the_words_that_are_frequent_in_other_classes() -> None:
    data = letters()
    for label, size, expected in ((1, 1, "the"), (1, 3, "cat news the"), (0, 2, "news prize"), (2, 1, "the")):
        poison = DictionaryAttack(0.5, "ham-frequent", size, label=label)(data, context())
        enforce(INJECTS, data, poison)
        rows = poison.data[poison.mask]
        assert rows.x["text"].tolist() == [expected] * 4
        assert set(rows.y) == {label}
        assert set(rows.x["day"]) <= set(range(8))  # of real rows
    every = DictionaryAttack(0.25)(data, context()).data.x["text"].iloc[8:]
    assert every.tolist() == ["cat dog money news old price prize sleeps the"] * 2


def test_focused_and_pseudospam_texts() -> None:
    two = letters()
    data = Dataset(two.x.iloc[:6], two.y[:6], ("pets", "spam"), schema=two.schema)
    guessed = FocusedAttack(0.5, guess_rate=1.0)(data, context())
    (text,) = set(guessed.data.x["text"].iloc[6:])
    assert set(text.split()) in [set(words.split()) for words in data.x["text"].iloc[:3]]
    assert guessed.data.y[6:].tolist() == [1, 1, 1]
    ham = Pseudospam(0.5)(data, context()).data
    assert sorted(ham.x["text"].iloc[6:]) == sorted(data.x["text"].iloc[3:6])
    assert ham.y[6:].tolist() == [0, 0, 0]


def test_focused_mails_hold_guessed_tokens_of_their_targets_only() -> None:
    own, data = corpus(8, seed=5), corpus(200)
    ham = own[own.y == 0].x.toarray() > 0
    rows = added(FocusedAttack(poisoned_rate=0.06, guess_rate=0.5)(data, context(own)))
    assert len(rows) == 12
    for i, row in enumerate(rows):  # four targets in turn, three mails each with one guess
        assert not (row.astype(bool) & ~ham[i % 4]).any()
        assert np.array_equal(row, rows[i % 4])
    assert 0 < rows.sum() < 3 * ham.sum()
    for rate, share in ((0.0, 0), (1.0, 1)):
        sure = added(FocusedAttack(poisoned_rate=0.02, guess_rate=rate)(data, context(own)))
        assert np.array_equal(sure, share * ham)


def test_the_share_guessed_is_the_guess_rate() -> None:
    data = Dataset(sp.csr_array(np.ones((10, 5000), dtype=np.float32)), np.arange(10) % 2, ("ham", "spam"))
    guessed = added(FocusedAttack(poisoned_rate=0.1, guess_rate=0.3)(data, context())).mean()
    assert guessed == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 5000))


def test_pseudospam_repeats_spam_as_ham() -> None:
    data, own = corpus(), corpus(6, seed=8)
    rows = added(Pseudospam(poisoned_rate=0.125)(data, context(own)))
    spam = own[own.y == 1].x.toarray()
    order = [int(np.flatnonzero((spam == row).all(axis=1))[0]) for row in rows]
    assert sorted(order[:3]) == [0, 1, 2]  # each once
    assert order[3:] == order[:2]  # before any twice


def test_pseudospam_repeats_spam_in_an_order_drawn_from_the_seed() -> None:
    x = sp.csr_array(np.eye(12, dtype=np.float32))
    data = Dataset(x, np.repeat([1, 0], [10, 2]), ("ham", "spam"))
    orders = [
        added(Pseudospam(poisoned_rate=0.9)(data, context(seed=seed))).argmax(axis=1).tolist() for seed in (1, 1, 2)
    ]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert list(range(10)) not in orders


@pytest.mark.parametrize("attack", [DictionaryAttack(words="ham-frequent"), FocusedAttack(), Pseudospam()])
def test_rows_without_the_class_to_go_by(attack) -> None:
    data = corpus()
    with pytest.raises(DataError, match=f"expected rows of .* for {type(attack).__name__}, got none"):
        attack(data[data.y == (1 if not isinstance(attack, Pseudospam) else 0)], context())


def test_bad_input() -> None:
    for attack in ATTACKS[1:]:
        with pytest.raises(DataError, match="two classes"):
            attack()(Dataset(np.ones((6, 2)), np.arange(6) % 3, ("a", "b", "c")), context())
    with pytest.raises(DataError, match="label below 2, got 2"):
        DictionaryAttack(label=2)(corpus(), context())
    with pytest.raises(NotApplicable, match=r"word counts for DictionaryAttack\.columns"):
        DictionaryAttack(words="list", columns=(3,))(letters(), context())
    with pytest.raises(NotApplicable, match="a column of text that DictionaryAttack can write"):
        DictionaryAttack()(letters(editable=False), context())
    with pytest.raises(DataError, match="columns below 12, got 12"):
        DictionaryAttack(words="list", columns=(3, 12))(corpus(), context())


@pytest.mark.parametrize(
    "make",
    [
        lambda: DictionaryAttack(poisoned_rate=2),
        lambda: DictionaryAttack(words="optimum"),
        lambda: DictionaryAttack(size=0),
        lambda: DictionaryAttack(words="list"),
        lambda: DictionaryAttack(columns=(1,)),
        lambda: DictionaryAttack(words="list", columns=(-1,)),
        lambda: DictionaryAttack(label=-1),
        lambda: FocusedAttack(guess_rate=1.5),
        lambda: Pseudospam(poisoned_rate=-1),
    ],
)
def test_fields_that_make_no_sense_are_one_line(make) -> None:
    with pytest.raises(PluginError) as caught:
        make()
    assert "\n" not in str(caught.value)


# --- learning checks: breast-cancer with a token for "above the median" and one for "below", per feature -------------


def tokens() -> tuple[Dataset, Dataset]:
    split = load("breast-cancer", Streams(0))
    middle = np.median(split.train.dense, axis=0)

    def table(data: Dataset) -> Dataset:
        high = data.dense > middle
        return Dataset(sp.csr_array(np.hstack([high, ~high]), dtype=np.float32), data.y, data.classes)

    return table(split.train), table(split.test)


def judged(train: Dataset, test: Dataset) -> dict[str, float]:
    return SpamBayesClassifier().fit(train.x, train.y).judged(test.x, test.y)


def test_a_dictionary_attack_stops_ham_and_more_of_it_stops_more() -> None:
    train, test = tokens()
    shares = [
        judged(DictionaryAttack(poisoned_rate=rate)(train, context()).data, test)["ham_delivered"]
        for rate in (0.0, 0.05, 0.15)
    ]
    assert shares[0] > 0.7
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 0.4


def test_pseudospam_gets_spam_delivered() -> None:
    train, test = tokens()
    before, after = judged(train, test), judged(Pseudospam(poisoned_rate=0.5)(train, context()).data, test)
    assert after["spam_caught"] < before["spam_caught"] - 0.2


def test_a_focused_attack_raises_the_score_of_its_target_above_that_of_other_ham() -> None:
    rng = np.random.default_rng(2)
    y = np.arange(600) % 2
    common, own = rng.random((600, 40)) < 0.3, rng.random((600, 400)) < 0.05
    common[:, :20] &= y[:, None] == 0
    data = Dataset(sp.csr_array(np.hstack([common, own]), dtype=np.float32), y, ("ham", "spam"))
    train, test = data[:500], data[500:]
    target = test[:1]
    clean = SpamBayesClassifier().fit(train.x, train.y)
    poison = FocusedAttack(poisoned_rate=0.3, guess_rate=0.8)(train, context(target)).data
    attacked = SpamBayesClassifier().fit(poison.x, poison.y)
    rise = (attacked.scores(test.x) - clean.scores(test.x))[test.y == 0]
    assert rise[0] > 0.2
    assert rise[0] == rise.max()


def test_the_judge_reports_the_three_answers_and_those_on_the_rows_that_the_attacker_knew() -> None:
    scenario = Central(
        data="breast-cancer",
        model=SpamBayes(),
        access="data-injection",
        goal="availability",
        test_known=0.2,
    )
    found = scenario.run(FocusedAttack(poisoned_rate=0.2), None, seed=0).metrics
    for prefix in ("", "seen_"):
        assert sum(found[f"{prefix}ham_{what}"] for what in ("delivered", "unsure", "as_spam")) == pytest.approx(1)
    right = found["ham_delivered"] * (1 - found["chance_accuracy"]) + (
        (found["spam_caught"] + found["spam_unsure"]) * found["chance_accuracy"]
    )  # class 1 is the larger one
    assert found["clean_accuracy"] == pytest.approx(right)
