"""SpamBayes against numbers computed by hand and a written-out loop over mails."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import chi2
from sklearn.base import clone

from antivenom.core.errors import DataError, ModelError
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.models.architectures import MLP
from antivenom.models.estimators import RandomForest, Sklearn
from antivenom.models.log_odds import LogOdds
from antivenom.models.scikit import SklearnLearner, SklearnModel
from antivenom.models.spambayes import (
    SpamBayes,
    SpamBayesClassifier,
    check_mails,
    presence,
    strongest_tokens,
    three_way,
)
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchLearner, learner

# Two ham, three spam; token 0 in ham only, 1 in spam only, 2 in one of each, 3 in none.
X = np.array([[1, 0, 1, 0], [2, 0, 0, 0], [0, 1, 0, 0], [0, 5, 0, 0], [0, 1, 1, 0]], dtype=np.float32)
Y = np.array([0, 0, 1, 1, 1])


def mails(n: int = 60, tokens: int = 40, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Ham likes the first tokens, spam the last ones."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    slope = np.linspace(0.5, 0.1, tokens)
    share = np.where(y[:, None] == 0, slope, slope[::-1])
    return (rng.random((n, tokens)) < share).astype(np.float32), y


def test_token_scores_by_hand() -> None:
    f = SpamBayesClassifier().fit(X, Y).token_scores()
    ham, spam = 1 / 2, 1 / 3  # shares of the mails with token 2
    mixed = (0.45 * 0.5 + 2 * spam / (ham + spam)) / 2.45
    assert f == pytest.approx([0.45 * 0.5 / 2.45, (0.45 * 0.5 + 3) / 3.45, mixed, 0.5])


def written_out(model: SpamBayesClassifier, row: np.ndarray) -> float:
    f = model.token_scores()
    telling = [w for w in np.flatnonzero(row > 0) if abs(f[w] - 0.5) >= model.minimum_prob_strength]
    telling = sorted(telling, key=lambda w: (-abs(f[w] - 0.5), w))[: model.max_discriminators]
    if not telling:
        return 0.5
    ham = chi2.sf(-2 * sum(math.log(f[w]) for w in telling), 2 * len(telling))
    spam = chi2.sf(-2 * sum(math.log(1 - f[w]) for w in telling), 2 * len(telling))
    return (1 + ham - spam) / 2


@pytest.mark.parametrize("most", [1, 4, 150])
@pytest.mark.parametrize("least", [0.0, 0.1, 0.3])
def test_scores_against_a_written_out_loop(most: int, least: float) -> None:
    x, y = mails()
    shown = np.vstack([mails(seed=4)[0], np.zeros((1, 40)), np.ones((1, 40))]).astype(np.float32)
    model = SpamBayesClassifier(max_discriminators=most, minimum_prob_strength=least).fit(x, y)
    expected = [written_out(model, row) for row in shown]
    assert model.scores(shown) == pytest.approx(expected, abs=1e-12)
    assert np.array_equal(model.scores(sp.csr_array(shown)), model.scores(shown))


def test_a_mail_without_a_telling_token_scores_a_half() -> None:
    model = SpamBayesClassifier().fit(X, Y)
    assert model.scores(np.array([[0, 0, 0, 0], [0, 0, 0, 1]])).tolist() == [0.5, 0.5]


def test_ham_scores_low_and_spam_high() -> None:
    x, y = mails(400)
    scores = SpamBayesClassifier().fit(x, y).scores(mails(200, seed=9)[0])
    assert np.median(scores[::2]) < 0.3
    assert np.median(scores[1::2]) > 0.7
    assert ((scores > 0.5) == np.arange(200) % 2).mean() > 0.9


def test_k_copies_are_a_mail_of_weight_k() -> None:
    x, y = mails()
    extra = np.ones((1, 40), dtype=np.float32)
    copied = SpamBayesClassifier().fit(np.vstack([x, np.repeat(extra, 7, axis=0)]), np.append(y, [1] * 7))
    counted = SpamBayesClassifier().fit(x, y).partial_fit(sp.csr_array(extra), [1], [7])
    weighed = SpamBayesClassifier().fit(np.vstack([x, extra]), np.append(y, 1), np.append(np.ones(60), 7))
    for other in (counted, weighed):
        assert np.array_equal(other.mails_, copied.mails_)
        assert np.array_equal(other.tokens_, copied.tokens_)


def test_fitting_again_forgets_and_partial_fit_starts_from_nothing() -> None:
    x, y = mails()
    again = SpamBayesClassifier().fit(x, 1 - y).fit(x, y)
    assert np.array_equal(again.tokens_, SpamBayesClassifier().partial_fit(x, y).tokens_)


def test_how_often_a_token_occurs_does_not_count() -> None:
    often = SpamBayesClassifier().fit(7 * X, Y)
    assert np.array_equal(often.scores(3 * X), SpamBayesClassifier().fit(X, Y).scores(X))


def test_the_unsure_are_not_delivered() -> None:
    x, y = mails()
    model = SpamBayesClassifier(ham_cutoff=0.3, spam_cutoff=0.6).fit(x, y)
    scores = model.scores(x)
    assert ((scores > 0.3) & (scores <= 0.6)).any()
    assert np.array_equal(model.predict(x), scores > 0.3)
    assert np.allclose(model.predict_proba(x)[:, 1], scores)
    judged = model.judged(x, y)
    assert judged["ham_delivered"] == (scores[y == 0] <= 0.3).mean()
    assert judged["ham_as_spam"] == (scores[y == 0] > 0.6).mean()
    assert judged["spam_unsure"] == ((scores > 0.3) & (scores <= 0.6))[y == 1].mean()


def test_three_answers_by_hand() -> None:
    found = three_way(np.array([0.1, 0.15, 0.16, 0.9, 0.91, 0.2]), np.array([0, 0, 0, 0, 0, 1]), 0.15, 0.9)
    assert [found[f"ham_{what}"] for what in ("delivered", "unsure", "as_spam")] == pytest.approx([0.4, 0.4, 0.2])
    assert [found[f"spam_{what}"] for what in ("delivered", "unsure", "caught")] == [0, 1, 0]
    assert math.isnan(three_way(np.array([0.1]), np.array([0]), 0.15, 0.9)["spam_caught"])


def test_one_class_alone_is_a_defined_result() -> None:
    spam = SpamBayesClassifier().fit(X[Y == 1], Y[Y == 1])
    assert (spam.predict(X[Y == 1]) == 1).all()
    assert SpamBayesClassifier().fit(X[:0], Y[:0]).scores(X).tolist() == [0.5] * 5


def test_what_it_cannot_count_is_refused() -> None:
    with pytest.raises(ValueError, match="two classes"):
        SpamBayesClassifier().fit(X, Y + 1)
    with pytest.raises(ValueError, match="3 tokens where 4"):
        SpamBayesClassifier().fit(X, Y).partial_fit(X[:, :3], Y)
    with pytest.raises(ModelError, match="SpamBayesClassifier"):
        learner(SpamBayes(), Training()).fit(Dataset(X, Y + 1, ("a", "b", "c")), Streams(0))
    with pytest.raises(DataError, match=r"two classes for SpamBayes.*got 3"):
        check_mails(Dataset(X, Y, ("a", "b", "c")), SpamBayes())


@pytest.mark.parametrize(
    "fields",
    [
        {"unknown_word_strength": 0.0},
        {"unknown_word_prob": 1.0},
        {"max_discriminators": 0},
        {"minimum_prob_strength": 0.6},
        {"ham_cutoff": 0.95},
        {"spam_cutoff": float("nan")},
    ],
)
def test_fields_that_make_no_sense(fields: dict[str, float]) -> None:
    with pytest.raises(ModelError):
        SpamBayes(**fields)  # type: ignore[arg-type]


def test_it_is_a_scikit_learn_estimator_and_a_model() -> None:
    made = SpamBayes(ham_cutoff=0.2)(seed=1)
    assert clone(made).get_params() == made.get_params()
    assert made.get_params()["ham_cutoff"] == 0.2
    assert SpamBayesClassifier().get_params() == SpamBayes()(0).get_params()  # one set of defaults
    model = learner(SpamBayes(), Training()).fit(Dataset(sp.csr_array(X), Y, ("ham", "spam")), Streams(0))
    assert isinstance(model, SklearnModel)
    assert np.array_equal(model.predict(sp.csr_array(X)), model.estimator.predict(X))


def test_what_takes_a_seed_makes_an_estimator() -> None:
    def third_party(seed: int) -> object:
        return None

    for architecture in (SpamBayes(), RandomForest(), Sklearn(), third_party):
        assert isinstance(learner(architecture, Training()), SklearnLearner)
    assert isinstance(learner(MLP(), Training()), TorchLearner)


def test_the_strongest_tokens_of_each_row() -> None:
    x = np.array([[1, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 1, 1]])
    row, token = strongest_tokens(presence(x), np.array([0.2, 0.9, 0.1, 0.2]), 0.15, 2)
    assert list(zip(row.tolist(), token.tolist(), strict=True)) == [(0, 1), (0, 0), (1, 3), (3, 0), (3, 3)]


def test_ten_thousand_mails_are_counted_and_scored_in_seconds_of_a_processor() -> None:
    rng = np.random.default_rng(0)
    x = sp.random_array((10_000, 50_000), density=0.002, format="csr", dtype=np.float32, rng=rng)
    start = time.process_time()
    SpamBayesClassifier().fit(x, np.arange(10_000) % 2).scores(x)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "estimator", ["naive_bayes.BernoulliNB", "naive_bayes.MultinomialNB", "linear_model.LogisticRegression"]
)
def test_log_odds_are_those_of_the_estimator(estimator: str) -> None:
    x, y = mails()
    model = learner(Sklearn(f"sklearn.{estimator}"), Training()).fit(Dataset(x, y, ("ham", "spam")), Streams(0))
    odds = LogOdds.of(model)
    assert odds is not None
    log_proba = model.estimator.predict_log_proba(x)  # type: ignore[attr-defined]
    assert odds(sp.csr_array(x)) == pytest.approx(log_proba[:, 1] - log_proba[:, 0])
    assert np.array_equal(odds(x) > 0, model.predict(x) == 1)


def test_what_is_no_sum_over_tokens_has_no_log_odds() -> None:
    x, y = mails()
    data = Dataset(x, y, ("ham", "spam"))
    for architecture in (SpamBayes(), RandomForest(n_estimators=2), MLP(hidden=())):
        assert LogOdds.of(learner(architecture, Training(epochs=1)).fit(data, Streams(0))) is None
    of_three = learner(Sklearn(), Training()).fit(Dataset(x, np.arange(60) % 3, ("a", "b", "c")), Streams(0))
    assert LogOdds.of(of_three) is None
