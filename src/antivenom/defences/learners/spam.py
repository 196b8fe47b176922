"""Robust learners of spam filters, against poisoning and evasion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import robust_learner
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Rows
from antivenom.models.log_odds import LogOdds
from antivenom.models.spambayes import HAM, SPAM, check_mails, presence, three_way


@robust_learner(
    access=(Access.DATA_MANIPULATION, Access.DATA_INJECTION),
    goal=Goal.AVAILABILITY,
    cite="Nelson et al. 2008, LEET (dynamic thresholds)",
)
class DynamicThresholds:
    """Trains the pipeline's filter and sets its two thresholds by scores of one half of the rows under the other half.

    An attack that raises all scores also raises the thresholds, as long as ham and spam keep their order. Weakness: ham
    stays out of the spam folder, but more spam becomes unsure. An attack that changes the order is not stopped.

    Fields:
        g: share of spam among the spam below and the ham above the lower threshold, and of ham at the upper one, 0 to
            below 0.5; .05 and .10 are the paper's.

    Reference: Nelson et al. 2008, "Exploiting Machine Learning to Subvert Your Spam Filter", LEET, section 5.2.
    """

    g: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.g < 0.5:
            raise PluginError("DynamicThresholds.g from 0 to below 0.5", f"{self.g}", "0.05 or 0.1")

    def __call__(self, data: Dataset, context: DefenceContext) -> Model:
        check_mails(data, self)
        order = context.streams.numpy("halves").permutation(len(data))
        fitted, held = data[order[::2]], data[order[1::2]]
        if min(np.bincount(fitted.y, minlength=2).min(), np.bincount(held.y, minlength=2).min()) == 0:
            raise DataError("rows of both classes in either half", f"{len(data)} rows", "train on more rows")
        scores = context.fit(fitted).predict_proba(held.x)[:, SPAM]
        return ThreeWay(context.fit(data), *thresholds(scores, held.y, self.g))


@dataclass(frozen=True, eq=False)
class ThreeWay:
    """A model of two classes with a third answer, unsure.

    Fields:
        model: the model whose probability of class 1 is the score.
        ham_cutoff: mails with at most this score are class 0.
        spam_cutoff: mails with a higher score are class 1. Between the two the answer is unsure, and `predict` gives 1.
    """

    model: Model
    ham_cutoff: float
    spam_cutoff: float
    num_classes: int = 2

    def predict_proba(self, x: Rows) -> np.ndarray:
        return self.model.predict_proba(x)

    def predict(self, x: Rows) -> np.ndarray:
        return np.where(self.predict_proba(x)[:, SPAM] <= self.ham_cutoff, HAM, SPAM)

    def judged(self, x: Rows, y: np.ndarray) -> dict[str, float]:
        """Shares of the three answers in both classes."""
        return three_way(self.predict_proba(x)[:, SPAM], y, self.ham_cutoff, self.spam_cutoff)


def thresholds(scores: np.ndarray, y: np.ndarray, g: float) -> tuple[float, float]:
    """The highest score t with g(t) <= g and the lowest with g(t) >= 1 - g; g(t) = spam below / (spam below + ham above).

    If a score separates ham and spam completely, the two thresholds cross; both are then set to their mean.
    """
    t = np.unique(scores)
    spam = np.searchsorted(np.sort(scores[y == SPAM]), t)  # below
    ham = np.sum(y == HAM) - np.searchsorted(np.sort(scores[y == HAM]), t, side="right")  # above
    low = t[spam <= g * (spam + ham)].max(initial=0.0)
    high = t[spam >= (1 - g) * (spam + ham)].min(initial=1.0)
    if low > high:
        low = high = (low + high) / 2
    return float(low), float(high)


@robust_learner(access=tuple(Access), goal=Goal.AVAILABILITY, cite="Dalvi et al. 2004, KDD (the classifier's reply)")
class AdversaryAwareNaiveBayes:
    """Naive Bayes on tokens that anticipates the changes of the cost-sensitive adversary.

    The probability of a spam x is the total probability of all spam that the adversary would change to x. He adds the best
    good words first, so these are the mails x without some of the best words. Their sum has a closed form, in which these
    words are no longer evidence for ham. It replaces the pipeline's model. Weakness: it anticipates this one adversary with
    these costs. Against other added words it is a plain naive Bayes.

    Fields:
        utility: value of a delivered spam for the adversary, in units of cost.
        add_cost: cost of adding a token, > 0.
        smoothing: pseudo-count of mails with each token in either class, > 0.

    Reference: Dalvi, Domingos, Mausam, Sanghai and Verma 2004, "Adversarial Classification", KDD, section 4.
    """

    utility: float = 20.0
    add_cost: float = 1.0
    smoothing: float = 1.0

    def __post_init__(self) -> None:
        if not all(0 < value < math.inf for value in (self.utility, self.add_cost, self.smoothing)):
            values = (self.utility, self.add_cost, self.smoothing)
            raise PluginError("finite utility, add_cost and smoothing > 0", f"{values}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Model:
        from sklearn.naive_bayes import BernoulliNB

        check_mails(data, self)
        if len(np.unique(data.y)) < 2:
            raise DataError("rows of both classes", "one class", "train on more rows")
        bayes = BernoulliNB(alpha=self.smoothing).fit(presence(data.flat), data.y)
        odds = LogOdds.of(bayes)
        assert odds is not None
        best = np.argsort(odds.weights, kind="stable")
        best = best[odds.weights[best] < 0]
        likely = bayes.feature_log_prob_[SPAM, best]
        return AdversaryAware(odds, best, foreseen(likely, math.ceil(self.utility / self.add_cost) - 1))


@dataclass(frozen=True, eq=False)
class AdversaryAware:
    """Naive Bayes with a correction for mails that an adversary may have changed.

    Fields:
        log_odds: the log odds of naive Bayes, which the adversary knows.
        ranking: tokens that indicate ham, strongest first. The adversary adds them in this order.
        reply: (r + 1,) correction of the log odds of a mail whose first 0 to r ranked tokens the adversary may have added.
    """

    log_odds: LogOdds
    ranking: np.ndarray
    reply: np.ndarray
    num_classes: int = 2

    def decision(self, x: Rows) -> np.ndarray:
        """(m,) corrected log odds of spam. A mail that naive Bayes stops is always stopped."""
        table = x if x.ndim == 2 else x.reshape(len(x), -1)
        naive = self.log_odds(table)
        depth = len(self.reply) - 1
        held = presence(table)[:, self.ranking[:depth]].toarray()
        # The adversary adds as few words as possible. So he added a word only if the mail would be stopped without it.
        needed = held & (naive[:, None] - self.log_odds.weights[self.ranking[:depth]] > 0)
        added = np.logical_and.accumulate(needed, axis=1).sum(axis=1)
        return np.where(naive > 0, naive, naive + self.reply[added])

    def predict(self, x: Rows) -> np.ndarray:
        return np.where(self.decision(x) > 0, SPAM, HAM)

    def predict_proba(self, x: Rows) -> np.ndarray:
        spam = expit(self.decision(x))
        return np.stack([1 - spam, spam], axis=1)


def foreseen(likely: np.ndarray, most: int, depth: int = 1000) -> np.ndarray:
    """(r + 1,) for k = 0 to r, the log of the sum of prod (1 - p) / p over all sets of at most `most` of the first k words.

    `likely` is log p for each ranked word, where p is the share of spam that contains it anyway. Without the limit on the
    size of sets, the sum would be prod 1 / p. `depth` bounds r.
    """
    ratio = np.log1p(-np.exp(likely[:depth])) - likely[:depth]
    most = min(most, len(ratio))
    of_size = np.full(most + 1, -np.inf)  # log of the elementary symmetric polynomials of the words so far
    of_size[0] = 0.0
    out = [0.0]
    for one in ratio:
        of_size[1:] = np.logaddexp(of_size[1:], of_size[:-1] + one)
        out.append(float(np.logaddexp.reduce(of_size)))
    return np.array(out)
