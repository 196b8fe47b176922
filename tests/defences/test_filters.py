"""Spam filters that hold out: thresholds by hand, the reply to the adversary against every mail that he could have sent."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.naive_bayes import BernoulliNB

from antivenom.attacks import CostSensitiveAdversary, DictionaryAttack
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import AttackContext, DefenceContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import Dataset, load
from antivenom.defences import AdversaryAwareNaiveBayes, DynamicThresholds
from antivenom.defences.learners.spam import AdversaryAware, ThreeWay, foreseen, thresholds
from antivenom.models.architectures import MLP
from antivenom.models.estimators import Sklearn
from antivenom.models.spambayes import SpamBayes
from antivenom.models.training import Training
from antivenom.scenarios.central import Central
from antivenom.scenarios.pipeline import Pipeline

ATTACKER = AttackContext(Streams(1), ThreatModel("data-injection", "availability"))


def context(architecture=SpamBayes()) -> DefenceContext:
    return Pipeline(architecture, Training(epochs=20, learning_rate=0.01), "cpu", Streams(2)).context()


def mails(n: int, tokens: int = 60, seed: int = 0) -> Dataset:
    """Ham likes the first tokens, spam the last ones."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    slope = np.linspace(0.5, 0.1, tokens)
    x = rng.random((n, tokens)) < np.where(y[:, None] == 0, slope, slope[::-1])
    return Dataset(sp.csr_array(x.astype(np.float32)), y, ("ham", "spam"))


# --- thresholds --------------------------------------------------------------------------------------------------------


def written_out(scores: list[float], y: list[int], g: float) -> tuple[float, float]:
    lows, highs = [0.0], [1.0]
    for t in scores:
        spam = sum(s < t for s, label in zip(scores, y, strict=True) if label == 1)
        ham = sum(s > t for s, label in zip(scores, y, strict=True) if label == 0)
        if spam <= g * (spam + ham):
            lows.append(t)
        if spam >= (1 - g) * (spam + ham):
            highs.append(t)
    low, high = max(lows), min(highs)
    return (low, high) if low <= high else ((low + high) / 2, (low + high) / 2)


@pytest.mark.parametrize("g", [0.0, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("apart", [0.0, 0.2, 0.5])
def test_thresholds_against_a_written_out_loop(g: float, apart: float) -> None:
    rng = np.random.default_rng(int(100 * apart))
    y = rng.integers(0, 2, 80)
    scores = np.round(rng.random(80) * (1 - apart) + apart * y, 2)
    assert thresholds(scores, y, g) == pytest.approx(written_out(scores.tolist(), y.tolist(), g))


def test_thresholds_by_hand() -> None:
    scores, y = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7]), np.array([0, 0, 1, 0, 1, 1])
    assert thresholds(scores, y, 0.05) == (0.3, 0.4)  # below .3 no spam, above .4 no ham
    assert thresholds(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]), 0.1) == (
        0.5,
        0.5,
    )  # nothing to be unsure of


def test_the_filter_is_trained_on_all_rows_and_cut_at_the_thresholds_of_a_half() -> None:
    data = mails(400)
    model = DynamicThresholds()(data, context())
    assert isinstance(model, ThreeWay)
    whole = context().fit(data)
    assert np.array_equal(model.predict_proba(data.x), whole.predict_proba(data.x))
    scores = whole.predict_proba(data.x)[:, 1]
    assert np.array_equal(model.predict(data.x), scores > model.ham_cutoff)
    judged = model.judged(data.x, data.y)
    assert judged["ham_as_spam"] == (scores[data.y == 0] > model.spam_cutoff).mean()


def test_thresholds_keep_ham_out_of_the_spam_folder_under_a_dictionary_attack() -> None:
    data, test = mails(600, 200), mails(400, 200, seed=9)
    poisoned = DictionaryAttack(poisoned_rate=0.5)(data, ATTACKER).data
    plain, moved = context().fit(poisoned), DynamicThresholds()(poisoned, context())
    without = plain.estimator.judged(test.x, test.y)  # type: ignore[attr-defined]
    with_it = moved.judged(test.x, test.y)  # type: ignore[attr-defined]
    assert without["ham_delivered"] < 0.1
    assert with_it["ham_delivered"] > 0.7
    assert with_it["ham_as_spam"] <= 0.05


def test_any_model_of_two_classes_can_be_unsure() -> None:
    split = load("breast-cancer", Streams(0))
    for architecture in (MLP(hidden=(8,)), Sklearn()):
        model = DynamicThresholds(g=0.1)(split.train, context(architecture))
        assert (model.predict(split.test.x) == split.test.y).mean() > 0.8


def test_the_judge_reports_the_three_answers_of_a_model_without_an_estimator() -> None:
    scenario = Central(data="breast-cancer", model=MLP(hidden=(8,)), access="data-injection", goal="availability")
    found = scenario.run(None, DynamicThresholds(), seed=0).metrics
    assert sum(found[f"spam_{what}"] for what in ("delivered", "unsure", "caught")) == pytest.approx(1)
    assert found["clean_accuracy"] > 0.8


# --- the reply to the cost-sensitive adversary -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("utility", [1.0, 2.0, 3.0, 20.0])
def test_the_reply_sums_over_every_spam_that_the_adversary_would_have_sent_so(seed: int, utility: float) -> None:
    """P_A(x | spam): all 2^9 spams go through the adversary, each with its probability."""
    data = mails(80, 9, seed)
    model = AdversaryAwareNaiveBayes(utility=utility)(data, context())
    assert isinstance(model, AdversaryAware)
    every = np.array(list(itertools.product((0, 1), repeat=9)), dtype=np.float32)
    log_p = BernoulliNB().fit(data.x.toarray(), data.y).feature_log_prob_[1]
    chance = np.exp(every @ log_p + (1 - every) @ np.log1p(-np.exp(log_p)))
    naive = model.log_odds(every)
    spam = Dataset(every, np.ones(len(every)), ("ham", "spam"))
    attacked = AdversaryAware(model.log_odds, model.ranking, np.zeros(1))  # naive Bayes itself
    sent = CostSensitiveAdversary(utility=utility)(attacked, spam, ATTACKER)
    arrives = np.zeros(len(every))
    np.add.at(arrives, (sent @ 2 ** np.arange(8, -1, -1)).astype(int), chance)
    delivered = naive <= 0
    assert 20 < delivered.sum() < 490
    expected = naive[delivered] + np.log(arrives[delivered] / chance[delivered])
    assert model.decision(every)[delivered] == pytest.approx(expected)
    assert np.array_equal(model.decision(every)[~delivered], naive[~delivered])


def test_all_sets_of_words_sum_to_the_product_of_one_over_p() -> None:
    p = np.array([0.2, 0.01, 0.5])
    ratio = (1 - p) / p
    assert np.exp(foreseen(np.log(p), 9)) == pytest.approx([1, 1 / 0.2, 1 / 0.002, 1 / 0.001])
    assert np.exp(foreseen(np.log(p), 1)) == pytest.approx([1, 1 + ratio[0], 1 + ratio[:2].sum(), 1 + ratio.sum()])
    assert foreseen(np.log(p), 0).tolist() == [0, 0, 0, 0]
    assert np.isfinite(foreseen(np.full(5000, -20.0), 10**9)).all()


def test_the_aware_filter_stops_the_spam_that_gets_past_naive_bayes() -> None:
    data, test = mails(2000, 200), mails(600, 200, seed=7)
    spam = test.y == 1
    naive = context(Sklearn("sklearn.naive_bayes.BernoulliNB")).fit(data)
    aware = AdversaryAwareNaiveBayes(utility=60)(data, context())
    attack = CostSensitiveAdversary(utility=60)
    missed = {
        name: (model.predict(attack(model, test, ATTACKER))[spam] == 0).mean()
        for name, model in (("naive", naive), ("aware", aware))
    }
    assert missed["naive"] == 1
    assert missed["aware"] < 0.1
    assert (aware.predict(test.x)[~spam] == 0).mean() > (naive.predict(test.x)[~spam] == 0).mean() - 0.05
    proba = aware.predict_proba(test.x)
    assert np.array_equal(proba.argmax(axis=1), aware.predict(test.x))
    assert proba.sum(axis=1) == pytest.approx(1)


# --- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("defence", [DynamicThresholds(), AdversaryAwareNaiveBayes()])
def test_rows_that_cannot_be_learnt_from(defence) -> None:
    data = mails(20)
    with pytest.raises(DataError, match="both classes"):
        defence(data[data.y == 1], context())
    with pytest.raises(DataError, match="two classes"):
        defence(Dataset(np.ones((6, 2)), np.arange(6) % 3, ("a", "b", "c")), context())


@pytest.mark.parametrize(
    "make",
    [
        lambda: DynamicThresholds(g=0.5),
        lambda: DynamicThresholds(g=-0.1),
        lambda: AdversaryAwareNaiveBayes(utility=0),
        lambda: AdversaryAwareNaiveBayes(add_cost=float("inf")),
        lambda: AdversaryAwareNaiveBayes(smoothing=0),
    ],
)
def test_fields_that_make_no_sense_are_one_line(make) -> None:
    with pytest.raises(PluginError) as caught:
        make()
    assert "\n" not in str(caught.value)
