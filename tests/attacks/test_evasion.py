"""Evasions: which tokens of which mails; by hand and against every possible change of small mails."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse as sp

from antivenom.attacks import CostSensitiveAdversary, GoodWords
from antivenom.attacks.evasion import absent_good, boundary, rewritten
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import Dataset
from antivenom.models.architectures import MLP
from antivenom.models.estimators import Sklearn
from antivenom.models.log_odds import LogOdds
from antivenom.models.scikit import SklearnModel
from antivenom.models.spambayes import SpamBayes, presence
from antivenom.models.training import Training
from antivenom.models.wrappers import learner

THREAT = ThreatModel("data-injection", "availability")


def context(rows: Dataset | None = None, seed: int = 1) -> AttackContext:
    return AttackContext(Streams(seed), THREAT, rows=rows)


@dataclass
class Linear:
    """A filter that stops what the sum of its weights lifts above 0, and counts what it is asked."""

    weights: np.ndarray
    bias: float = 0.0
    num_classes: int = 2
    asked: int = 0

    @property
    def log_odds(self) -> LogOdds:
        return LogOdds(self.weights, self.bias)

    def predict(self, x) -> np.ndarray:
        self.asked += x.shape[0]
        return (self.log_odds(x) > 0).astype(int)


def table(n: int = 30, tokens: int = 8, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    return Dataset(sp.csr_array((rng.random((n, tokens)) < 0.4).astype(np.float32)), np.arange(n) % 2, ("ham", "spam"))


def cheapest(mail: np.ndarray, model: Linear, attack: CostSensitiveAdversary) -> float:
    """The price of the cheapest change that gets the mail delivered, by trying all; the utility if it is not worth it."""
    best = attack.utility
    for sent in itertools.product((0, 1), repeat=len(mail)):
        adds, removals = (
            int(((np.array(sent) == 1) & (mail == 0)).sum()),
            int(((np.array(sent) == 0) & (mail == 1)).sum()),
        )
        if removals and attack.remove_cost is None:
            continue
        price = adds * attack.add_cost + removals * (attack.remove_cost or 0)
        if price < best and np.array(sent) @ model.weights + model.bias <= 0:
            best = price
    return best


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("utility", "add", "remove"), [(99, 1, None), (2.5, 1, None), (99, 1, 1), (99, 1, 1.7), (4, 2, 1), (1, 1, 1)]
)
def test_no_cheaper_change_gets_a_spam_delivered(seed: int, utility: float, add: float, remove: float | None) -> None:
    rng = np.random.default_rng(seed)
    model, data = Linear(rng.normal(size=8), rng.normal()), table(seed=seed)
    attack = CostSensitiveAdversary(utility, add, remove)
    before, after = data.x.toarray(), attack(model, data, context()).toarray()
    price = (after > before).sum(axis=1) * add + (after < before).sum(axis=1) * (remove or 0)
    stopped = (data.y == 1) & (model.predict(data.x) == 1)
    assert np.array_equal(before[~stopped], after[~stopped])
    assert stopped.any()
    for i in np.flatnonzero(stopped):
        least = cheapest(before[i], model, attack)
        if least < utility:
            assert price[i] == pytest.approx(least)
            assert model.predict(after[[i]])[0] == 0
        else:
            assert np.array_equal(before[i], after[i])


def test_dense_rows_are_rewritten_like_sparse_ones() -> None:
    model, data = Linear(np.linspace(-1, 1, 8), 0.5), table()
    for attack in (CostSensitiveAdversary(remove_cost=1.0), GoodWords(num_words=2)):
        dense = attack(model, Dataset(data.x.toarray(), data.y, data.classes), context(data))
        assert np.array_equal(dense, attack(model, data, context(data)).toarray())


def test_what_naive_bayes_adds_up_is_known_exactly() -> None:
    data = table(200, 30)
    shifted = (data.x.toarray() + (data.y[:, None] == (np.arange(30) % 2)) * (np.arange(30) < 12)).clip(0, 1)
    data = Dataset(sp.csr_array(shifted.astype(np.float32)), data.y, data.classes)
    model = learner(Sklearn("sklearn.naive_bayes.BernoulliNB"), Training()).fit(data, Streams(0))
    sent = CostSensitiveAdversary(utility=50)(model, data, context())
    spam = data.y == 1
    assert (model.predict(data.x)[spam] == 1).mean() > 0.9
    assert (model.predict(sent)[spam] == 0).mean() > 0.95  # a few have no good words left to add


def test_a_filter_that_is_no_sum_is_met_by_a_stand_in() -> None:
    data = table(200, 30)
    shifted = (data.x.toarray() + (data.y[:, None] == (np.arange(30) % 2)) * (np.arange(30) < 12)).clip(0, 1)
    data = Dataset(sp.csr_array(shifted.astype(np.float32)), data.y, data.classes)
    model = learner(SpamBayes(ham_cutoff=0.5, spam_cutoff=0.5), Training()).fit(data, Streams(0))
    sent = CostSensitiveAdversary()(model, data, context())
    spam = data.y == 1
    assert (model.predict(sent)[spam] == 0).mean() > (model.predict(data.x)[spam] == 0).mean() + 0.5


def test_a_filter_that_stops_everything_teaches_nothing() -> None:
    data = table()
    for bias in (99.0, -99.0):
        model = SklearnModel(_Constant(bias > 0), 2)
        for attack in (CostSensitiveAdversary(), GoodWords("first-n"), GoodWords("best-n")):
            assert np.array_equal(attack(model, data, context()).toarray(), data.x.toarray())


class _Constant:
    def __init__(self, stops: bool) -> None:
        self.stops = stops

    def predict(self, x) -> np.ndarray:
        return np.full(x.shape[0], int(self.stops))


def test_absent_good_words_by_hand() -> None:
    weights = np.array([-1.0, -3.0, 2.0, -2.0, 0.0])
    mails = presence(np.array([[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [1, 1, 0, 1, 0]]))
    assert absent_good(mails, weights, 2).tolist() == [[1, 3], [3, 0], [-1, -1]]


def corpus() -> Dataset:
    """Token 0 in all ham, 1 in all ham and all spam, 2 in half of the ham, 3 in spam, 4 nowhere."""
    x = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 1, 0, 1, 0]], dtype=np.float32)
    return Dataset(sp.csr_array(x), np.array([0, 0, 1, 1]), ("ham", "spam"))


@pytest.mark.parametrize(("method", "words"), [("frequent", [0, 1]), ("ratio", [0, 2])])
def test_passive_good_words_by_hand(method: str, words: list[int]) -> None:
    data = Dataset(
        sp.csr_array(np.array([[0, 0, 0, 1, 1], [0, 0, 0, 1, 1]], dtype=np.float32)), np.array([1, 0]), ("ham", "spam")
    )
    sent = GoodWords(method, num_words=2)(Linear(np.zeros(5)), data, context(corpus())).toarray()
    assert np.flatnonzero(sent[0]).tolist() == sorted([3, 4, *words])
    assert sent[1].tolist() == [0, 0, 0, 1, 1]  # ham stays


def test_random_words_are_drawn_from_the_streams() -> None:
    data = Dataset(sp.csr_array((1, 500), dtype=np.float32), np.array([1]), ("ham", "spam"))
    sent = [
        GoodWords("random", num_words=40)(Linear(np.zeros(500)), data, context(seed=s)).toarray() for s in (1, 1, 2)
    ]
    assert [s.sum() for s in sent] == [40, 40, 40]
    assert np.array_equal(sent[0], sent[1])
    assert not np.array_equal(sent[0], sent[2])


def test_a_present_word_keeps_its_count() -> None:
    data = Dataset(np.array([[0, 3.0, 2.0]]), np.array([1]), ("ham", "spam"))
    one = sp.csr_array(np.array([[1, 1, 0]]))
    assert rewritten(data, one).tolist() == [[1, 3, 2]]
    assert rewritten(data, one, sp.csr_array(np.array([[0, 0, 1]]))).tolist() == [[1, 3, 0]]


def test_the_boundary_is_a_token_wide() -> None:
    data, model = table(40, 30, seed=4), Linear(np.random.default_rng(4).normal(size=30))
    for seed in range(5):
        edge = boundary(model, data, context(seed=seed))
        assert edge is not None
        for mail, said in zip(edge, (1, 0), strict=True):
            row = np.zeros((1, 30))
            row[0, mail] = 1
            assert model.predict(row)[0] == said
        assert len(np.setxor1d(*edge)) == 1


def test_first_n_words_are_the_first_that_get_the_barely_stopped_spam_delivered() -> None:
    data, model = table(40, 30, seed=4), Linear(np.random.default_rng(4).normal(size=30))
    edge = boundary(model, data, context())
    assert edge is not None
    base = model.weights[edge[0]].sum()
    ham = data.x.toarray()[data.y == 0].sum(axis=0)
    order = [w for w in np.argsort(-ham, kind="stable") if w not in edge[0]]
    good = [w for w in order if base + model.weights[w] <= 0]
    assert len(good) > 4
    none = Dataset(sp.csr_array((1, 30), dtype=np.float32), np.array([1]), ("ham", "spam"))
    sent = GoodWords("first-n", num_words=4)(model, none, context(data)).toarray()[0]
    assert set(np.flatnonzero(sent)) == set(good[:4])


def test_best_n_words_are_better_than_the_first_found() -> None:
    rng = np.random.default_rng(6)
    model, data = Linear(rng.normal(size=300), 2.0), table(60, 300, seed=6)
    none = Dataset(sp.csr_array((1, 300), dtype=np.float32), np.array([1]), ("ham", "spam"))
    first, best = (
        GoodWords(method, num_words=10)(model, none, context(data)) @ model.weights for method in ("first-n", "best-n")
    )
    assert best[0] < 1.3 * first[0] < 0


@pytest.mark.parametrize("method", ["first-n", "best-n"])
@pytest.mark.parametrize("queries", [7, 60, 200])
def test_no_more_words_are_tried_than_queries_allow(method: str, queries: int) -> None:
    model, data = Linear(np.random.default_rng(6).normal(size=300), 2.0), table(60, 300, seed=6)
    boundary(model, data, context())
    start, model.asked = model.asked, 0
    GoodWords(method, num_words=20, queries=queries)(model, data, context())
    assert model.asked - start <= queries


def test_a_network_on_a_dense_table_is_evaded_too(blobs: Dataset) -> None:
    data = Dataset(blobs.x[:60], blobs.y[:60], ("a", "b"))
    model = learner(MLP(hidden=(8,)), Training(epochs=3)).fit(data, Streams(0))
    for method in ("first-n", "best-n", "ratio"):
        assert GoodWords(method)(model, data, context()).shape == data.x.shape


def test_bad_input() -> None:
    three = Dataset(np.ones((6, 2)), np.arange(6) % 3, ("a", "b", "c"))
    for attack in (GoodWords(), CostSensitiveAdversary()):
        with pytest.raises(DataError, match="two classes"):
            attack(Linear(np.zeros(2)), three, context())


@pytest.mark.parametrize(
    "make",
    [
        lambda: GoodWords("passive"),
        lambda: GoodWords(num_words=0),
        lambda: GoodWords(queries=0),
        lambda: CostSensitiveAdversary(utility=0),
        lambda: CostSensitiveAdversary(add_cost=-1),
        lambda: CostSensitiveAdversary(remove_cost=float("inf")),
    ],
)
def test_fields_that_make_no_sense_are_one_line(make) -> None:
    with pytest.raises(PluginError) as caught:
        make()
    assert "\n" not in str(caught.value)
