"""SpamBayes, a Bayesian spam filter with three answers (ham, unsure, spam), as a scikit-learn estimator."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Self

import numpy as np
import scipy.sparse as sp
from scipy.special import chdtrc
from sklearn.base import BaseEstimator, ClassifierMixin

from antivenom.core.errors import DataError, ModelError
from antivenom.core.registry import estimator
from antivenom.data import Dataset, Rows

HAM, SPAM = 0, 1


class SpamBayesClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Scores each token by its share of ham and of spam, and combines a mail's strongest tokens by Fisher's method.

    Rows are mails and columns are tokens. A token is in a mail if the number is above 0; its count is ignored. Class 0 is
    ham, class 1 spam. Training only counts mails, so k copies of a mail equal one mail of weight k.

    The parameters are the fields of `SpamBayes`.

    Reference: Robinson 2003, "A Statistical Approach to the Spam Problem", Linux Journal 107; Nelson et al. 2008,
    "Exploiting Machine Learning to Subvert Your Spam Filter", LEET, section 2.3.
    """

    def __init__(
        self,
        unknown_word_strength: float = 0.45,
        unknown_word_prob: float = 0.5,
        max_discriminators: int = 150,
        minimum_prob_strength: float = 0.1,
        ham_cutoff: float = 0.15,
        spam_cutoff: float = 0.9,
    ) -> None:
        self.unknown_word_strength = unknown_word_strength
        self.unknown_word_prob = unknown_word_prob
        self.max_discriminators = max_discriminators
        self.minimum_prob_strength = minimum_prob_strength
        self.ham_cutoff = ham_cutoff
        self.spam_cutoff = spam_cutoff

    def fit(self, X: Rows, y: object, sample_weight: object = None) -> Self:
        """Count the mails X (m, tokens) with labels y (m,); earlier counts are discarded."""
        self.mails_ = np.zeros(2)
        self.tokens_ = np.zeros((2, X.shape[1]))
        return self.partial_fit(X, y, sample_weight)

    def partial_fit(self, X: Rows, y: object, sample_weight: object = None) -> Self:
        """Count further mails. `sample_weight` (m,) is the number of copies of each."""
        if not hasattr(self, "tokens_"):
            return self.fit(X, y, sample_weight)
        mails, labels = presence(X), np.asarray(y)
        if not np.isin(labels, (HAM, SPAM)).all():
            raise ValueError("SpamBayes needs two classes, 0 for ham and 1 for spam")
        if mails.shape[1] != self.tokens_.shape[1]:
            raise ValueError(f"{mails.shape[1]} tokens where {self.tokens_.shape[1]} were counted before")
        weight = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        copies = np.stack([weight * (labels == c) for c in (HAM, SPAM)], axis=1)  # (m, 2)
        self.mails_ = self.mails_ + copies.sum(axis=0)
        self.tokens_ = self.tokens_ + (mails.T @ copies).T
        self.classes_, self.n_features_in_ = np.array([HAM, SPAM]), mails.shape[1]
        return self

    def token_scores(self) -> np.ndarray:
        """(tokens,) f(w): near 0 for a token that occurred in ham only, near 1 for one in spam only."""
        ham, spam = self.tokens_ / np.maximum(self.mails_, 1)[:, None]  # share of ham and of spam with each token
        seen = self.tokens_.sum(axis=0)
        raw = np.divide(spam, ham + spam, out=np.zeros_like(spam), where=seen > 0)
        s = self.unknown_word_strength
        return np.asarray((s * self.unknown_word_prob + seen * raw) / (s + seen))

    def scores(self, X: Rows) -> np.ndarray:
        """(m,) the score I, from 0 for ham to 1 for spam; 0.5 for a mail without strong tokens.

        I = (1 + H - S) / 2, where H and S are the tails of the chi-squared distribution with 2n degrees of freedom at
        -2 sum log f(w) and -2 sum log(1 - f(w)), over the n strongest tokens (Fisher's method).
        """
        f = self.token_scores()
        row, token = strongest_tokens(presence(X), np.abs(f - 0.5), self.minimum_prob_strength, self.max_discriminators)
        m, f = X.shape[0], f[token]
        n = np.bincount(row, minlength=m)
        ham, spam = (chdtrc(np.maximum(2 * n, 1), -2 * np.bincount(row, np.log(p), minlength=m)) for p in (f, 1 - f))
        return np.where(n > 0, (1 + ham - spam) / 2, 0.5)

    def predict(self, X: Rows) -> np.ndarray:
        """(m,) 0 for mails that are delivered as ham, else 1. Mails about which the filter is unsure are not delivered."""
        return np.where(self.scores(X) <= self.ham_cutoff, HAM, SPAM)

    def predict_proba(self, X: Rows) -> np.ndarray:
        """(m, 2) the numbers 1 - I and I. They are not calibrated, and `predict` cuts I at `ham_cutoff`, not at 0.5."""
        scores = self.scores(X)
        return np.stack([1 - scores, scores], axis=1)

    def judged(self, X: Rows, y: np.ndarray) -> dict[str, float]:
        """Shares of ham and of spam that get each of the three answers."""
        return three_way(self.scores(X), np.asarray(y), self.ham_cutoff, self.spam_cutoff)


def three_way(scores: np.ndarray, y: np.ndarray, ham_cutoff: float, spam_cutoff: float) -> dict[str, float]:
    """Shares of ham and of spam that get each of the three answers, ham, unsure and spam; nan for a class without rows."""
    answers = np.digitize(scores, [ham_cutoff, spam_cutoff], right=True)  # 0 ham, 1 unsure, 2 spam
    names = {
        HAM: ("ham_delivered", "ham_unsure", "ham_as_spam"),
        SPAM: ("spam_delivered", "spam_unsure", "spam_caught"),
    }
    found: dict[str, float] = {}
    for c, three in names.items():
        of_class = answers[y == c]
        found |= {name: float((of_class == k).mean()) if len(of_class) else math.nan for k, name in enumerate(three)}
    return found


def check_mails(data: Dataset, plugin: object) -> None:
    """Refuse data that do not have two classes, legitimate and malicious.

    Raises:
        DataError: another number of classes.
    """
    if data.num_classes != 2:
        raise DataError(
            f"two classes for {type(plugin).__name__}, 0 legitimate and 1 malicious",
            f"{data.num_classes}",
            "choose two with the scenario's `classes`",
        )


def presence(x: Rows) -> sp.csr_array:
    """(m, tokens) CSR matrix of bools, true where a token is in a mail."""
    return sp.csr_array(x > 0)


def strongest_tokens(
    mails: sp.csr_array, strength: np.ndarray, least: float, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Row and token numbers of each mail's strongest tokens: at most `most` per mail, each of strength at least `least`.

    A token has the same strength in all mails. So the columns are sorted by strength once, and each row's first entries
    are its strongest tokens.
    """
    order = np.argsort(-strength, kind="stable")
    order = order[strength[order] >= least]
    ranked = sp.csr_array(mails[:, order])
    ranked.sort_indices()
    row = np.repeat(np.arange(mails.shape[0]), np.diff(ranked.indptr))
    chosen = np.arange(len(row)) - ranked.indptr[row] < most
    return row[chosen], order[ranked.indices[chosen]]


@estimator(cite="Robinson 2003, Linux Journal 107; Nelson et al. 2008, LEET")
class SpamBayes:
    """The SpamBayes filter: token presence, Fisher's method, three answers. Class 0 is ham, class 1 spam.

    Weakness: training only counts, so mails that an attacker sends shift the score of every token in them.

    Fields:
        unknown_word_strength: s, the weight of the prior in mails, above 0.
        unknown_word_prob: x, the score of a token that was never seen, above 0 and below 1.
        max_discriminators: the largest number of tokens of a mail that are used, strongest first.
        minimum_prob_strength: tokens whose score is nearer to 0.5 than this are ignored; 0 to 0.5.
        ham_cutoff: mails with at most this score are ham. The paper has 0.15, SpamBayes itself 0.2.
        spam_cutoff: mails with a higher score are spam. Between the two cutoffs the filter is unsure.
    """

    unknown_word_strength: float = 0.45
    unknown_word_prob: float = 0.5
    max_discriminators: int = 150
    minimum_prob_strength: float = 0.1
    ham_cutoff: float = 0.15
    spam_cutoff: float = 0.9

    def __post_init__(self) -> None:
        if not (0 < self.unknown_word_strength < math.inf and 0 < self.unknown_word_prob < 1):
            raise ModelError(
                "unknown_word_strength > 0 and unknown_word_prob between 0 and 1",
                f"{self.unknown_word_strength} and {self.unknown_word_prob}",
                "the defaults are 0.45 and 0.5",
            )
        if self.max_discriminators < 1 or not 0 <= self.minimum_prob_strength <= 0.5:
            raise ModelError(
                "max_discriminators >= 1 and minimum_prob_strength from 0 to 0.5",
                f"{self.max_discriminators} and {self.minimum_prob_strength}",
                "the defaults are 150 and 0.1",
            )
        if not 0 <= self.ham_cutoff <= self.spam_cutoff <= 1:
            raise ModelError("0 <= ham_cutoff <= spam_cutoff <= 1", f"{self.ham_cutoff} and {self.spam_cutoff}")

    def __call__(self, seed: int) -> object:
        return SpamBayesClassifier(**asdict(self))
