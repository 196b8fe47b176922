"""Reject on negative impact: against a written-out loop, and where it must reject."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import scipy.sparse as sp

from antivenom.attacks import LabelFlipping
from antivenom.core.errors import DataError
from antivenom.core.protocols import AttackContext, DefenceContext, Model
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.verdict import quality
from antivenom.data import Dataset, load
from antivenom.defences import RONI
from antivenom.defences.inputs import stratified
from antivenom.defences.sanitizers.roni import batches, limit
from antivenom.models.estimators import Sklearn
from antivenom.models.training import Training
from antivenom.scenarios.pipeline import Pipeline

BAYES = Sklearn("sklearn.naive_bayes.MultinomialNB")


@dataclass
class Counted:
    """The pipeline's fit, and how often it was asked."""

    streams: Streams
    fits: int = 0
    sizes: list[int] = field(default_factory=list)

    def context(self, trusted: Dataset | None = None, model=BAYES) -> DefenceContext:
        real = Pipeline(model, Training(), "cpu", self.streams).context(trusted)

        def fit(data: Dataset) -> Model:
            self.fits += 1
            self.sizes.append(len(data))
            return real.fit(data)

        return replace(real, fit=fit)


def mailbox(n: int = 120, words: int = 60, seed: int = 0) -> Dataset:
    """Mails of 8 words each: ham uses the first half of the words, spam the second, both a few of the other's."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = np.zeros((n, words), dtype=np.float32)
    for row, label in zip(x, y, strict=True):
        own = rng.choice(words // 2, 6, replace=False) + label * words // 2
        row[np.concatenate([own, rng.choice(words, 2, replace=False)])] = 1
    return Dataset(sp.csr_array(x), y, ("ham", "spam"))


def with_dictionary(mails: Dataset, copies: int) -> Dataset:
    """Spam that holds every word of ham many times over."""
    row = np.zeros((1, mails.shape[0]), dtype=np.float32)
    row[0, : mails.shape[0] // 2] = 30
    return mails.extend(sp.csr_array(np.repeat(row, copies, axis=0)), np.ones(copies, dtype=int))


@pytest.mark.parametrize(("batch", "measure"), [(1, "answers"), (3, "answers"), (2, "probability")])
def test_impact_against_a_written_out_loop(batch: int, measure: str) -> None:
    data = with_dictionary(mailbox(40), 4)
    counted = Counted(Streams(3))
    roni = RONI(train_rows=12, validation_rows=20, repeats=2, batch=batch, measure=measure)
    context = counted.context()
    verdict = roni(data, context)
    number, members = batches(data, context.streams.numpy("direction"), batch)
    assert counted.fits == 2 * (1 + len(members))
    x = data.x.toarray()
    expected = np.zeros(len(members))
    for b, rows in enumerate(members):
        lost = asked = 0
        for repeat in range(2):
            order = stratified(data.y, context.streams.numpy("sets", repeat))
            train, questions = order[:12], order[12:32]
            used = (x[train].any(axis=0)) | (x[questions].any(axis=0))
            answers = []
            for taught in (train, np.concatenate([train, rows])):
                model = counted.context().fit(Dataset(x[taught][:, used], data.y[taught], data.classes))
                proba = model.predict_proba(x[questions][:, used])[np.arange(20), data.y[questions]]
                right = model.predict(x[questions][:, used]) == data.y[questions]
                answers.append(proba if measure == "probability" else right.astype(float))
            others = number[questions] != b
            lost += answers[0][others].sum() - answers[1][others].sum()
            asked += int(others.sum())
        expected[b] = lost / asked
    assert verdict.scores == pytest.approx(expected[number])


def test_the_dictionary_is_rejected_and_copies_are_judged_once() -> None:
    mails = mailbox()
    for trusted, rows, copies in ((False, None, 3), (True, mailbox(100, seed=1), 30)):
        data = with_dictionary(mails, copies)
        counted = Counted(Streams(0))
        verdict = RONI(of_class=0, trusted=trusted)(data, counted.context(rows))
        assert verdict.flags[120:].all()
        assert verdict.flags[:120].mean() < 0.05
        assert len(set(verdict.scores[120:])) == 1
        assert max(counted.sizes) == 21
        distinct = 121 + (100 if trusted else 0)
        assert counted.fits == 5 * (distinct + 1 + trusted)


def test_batches_hold_distinct_rows_of_one_class_and_copies_stay_together() -> None:
    x = np.array([[0, 1], [2, 3], [0, 1], [4, 5], [0, 1], [6, 7], [2, 3]], dtype=np.float32)
    data = Dataset(x, np.array([0, 0, 0, 0, 1, 1, 0]), ("a", "b"))
    number, members = batches(data, np.random.default_rng(0), 2)
    assert number[0] == number[2]
    assert number[1] == number[6]
    assert number[0] != number[4]  # the same row with another label is another row
    assert sorted(map(len, members)) == [1, 2, 2]
    for rows in members:
        assert len({int(c) for c in data.y[rows]}) == 1
        assert len({tuple(row) for row in x[rows]}) == len(rows)
    assert [len(rows) for rows in batches(data, np.random.default_rng(0), 1)[1]] == [1] * 5


def test_named_rows_are_defended_where_the_others_notice_nothing() -> None:
    """A focused attack: spam of the very words of one ham mail to come, which other ham does not use."""

    def wider(mails: Dataset) -> Dataset:
        return replace(mails, x=sp.csr_array(np.hstack([mails.x.toarray(), np.zeros((len(mails), 10))])))

    target = np.zeros((1, 70), dtype=np.float32)
    target[0, [0, 1, *range(60, 70)]] = 1
    known = wider(mailbox(80, seed=1)).extend(sp.csr_array(target), np.array([0]))
    focused = 6 * target
    focused[0, :2] = 0
    data = wider(mailbox(40)).extend(sp.csr_array(focused), np.array([1]))
    blind, aware = (
        RONI(trusted=True, repeats=2, named=named)(data, Counted(Streams(0)).context(known)) for named in ((), (80,))
    )
    assert not blind.flags[40]
    assert aware.flags[40]
    assert aware.flags[:40].mean() < 0.1


def test_the_probability_sees_single_flips_that_no_answer_turns_on() -> None:
    train = load("breast-cancer", Streams(0)).train
    poison = LabelFlipping(0.2)(train[:80], AttackContext(Streams(0), ThreatModel("data-manipulation", "availability")))
    found = {}
    for measure in ("answers", "probability"):
        roni = RONI(trusted=True, repeats=2, measure=measure, min_drop=0.0)
        context = Counted(Streams(0)).context(train[80:160], Sklearn("sklearn.linear_model.LogisticRegression"))
        found[measure] = quality(roni(poison.data, context), poison.mask).auroc
    assert found["probability"] > 0.85
    assert found["probability"] > found["answers"]


def test_the_limit_by_hand() -> None:
    impact = np.array([0.0, 0.1, 0.2, 0.3, 5.0])
    assert limit(impact, 2, 0.0, robust=True) == pytest.approx(0.2 + 2 * 1.4826 * 0.1)
    assert limit(impact, 2, 0.9, robust=True) == pytest.approx(0.9)
    assert limit(impact, 1, 0.0, robust=False) == pytest.approx(0.2 + impact.std())


def test_what_roni_cannot_do_it_refuses() -> None:
    mails = mailbox(60)
    context = Counted(Streams(0)).context(mails)
    with pytest.raises(DataError, match="70 rows for RONI's two sets, got 60"):
        RONI()(mails, context)
    small = RONI(train_rows=10, validation_rows=20, repeats=1)
    with pytest.raises(DataError, match="two classes to tell apart"):
        small(replace(mails, y=np.zeros(60, dtype=int)), context)
    with pytest.raises(DataError, match="of_class among them"):
        replace(small, of_class=7)(mails, context)
    with pytest.raises(DataError, match=r"RONI.named from 0 to 59"):
        replace(small, named=(60,))(mails, context)
