"""Evasion of spam filters: the spam changes, not the filter. A baseline for poisoning."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp

from antivenom.core.errors import PluginError, did_you_mean
from antivenom.core.protocols import AttackContext, Model
from antivenom.core.registry import evasion
from antivenom.core.threat import Goal
from antivenom.data import Dataset, Rows
from antivenom.models.log_odds import LogOdds
from antivenom.models.spambayes import HAM, SPAM, check_mails, presence, strongest_tokens

METHODS = ("random", "frequent", "ratio", "first-n", "best-n")


@evasion(goal=Goal.AVAILABILITY, cite="Lowd and Meek 2005, CEAS")
class GoodWords:
    """Appends the same good words to every spam.

    Passive methods use random tokens, tokens that are frequent in ham, or those with the highest ratio of frequencies in
    ham and spam, by the attacker's own mails if there are any. Active methods change a spam towards ham until it is barely
    stopped; a word that gets this mail delivered is good. Weakness: all spam contains the same words, so that a filter
    which is trained on reports of users soon learns them.

    Fields:
        method: "random", "frequent" or "ratio" (passive); "first-n" for the first good words found, or "best-n" for those
            that outweigh the most spammy words (active).
        num_words: n, number of tokens appended to each spam.
        queries: maximal number of mails that an active attacker sends to observe whether they are delivered.

    Reference: Lowd and Meek 2005, "Good Word Attacks on Statistical Spam Filters", CEAS.
    """

    method: str = "ratio"
    num_words: int = 150
    queries: int = 10_000

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise PluginError("GoodWords.method by name", repr(self.method), did_you_mean(self.method, METHODS))
        if self.num_words < 1 or self.queries < 1:
            raise PluginError("GoodWords.num_words and queries >= 1", f"{self.num_words} and {self.queries}")

    def __call__(self, model: Model, data: Dataset, context: AttackContext) -> Rows:
        check_mails(data, self)
        held = context.rows or data
        if self.method in ("first-n", "best-n"):
            words = self._active(model, held, context)
        else:
            words = self._passive(held, context)
        spam = data.y == SPAM
        ends = np.concatenate([[0], np.cumsum(spam * len(words))])
        return rewritten(
            data, sp.csr_array((np.ones(ends[-1]), np.tile(words, spam.sum()), ends), (len(data), width(data)))
        )

    def _passive(self, held: Dataset, context: AttackContext) -> np.ndarray:
        ham, spam = frequencies(held)
        if self.method == "random":
            order = context.streams.numpy("words").permutation(len(ham))
        else:
            order = np.argsort(-(ham if self.method == "frequent" else ham / spam), kind="stable")
        return order[: self.num_words]

    def _active(self, model: Model, held: Dataset, context: AttackContext) -> np.ndarray:
        """The words that get the barely stopped spam delivered, for "best-n" in the order of their effect."""
        edge = boundary(model, held, context)
        if edge is None:
            return np.zeros(0, dtype=int)
        stopped, delivered = edge
        ham, spam = frequencies(held)
        best = self.method == "best-n"
        budget = self.queries // 2 if best else self.queries
        candidates = most_frequent(ham, budget, stopped)
        good = first_where(model, held, stopped, candidates, HAM, len(candidates) if best else self.num_words)
        if not best:
            return good
        left = self.queries - len(candidates)
        candidates = most_frequent(spam, left // 2, delivered)
        bad = first_where(model, held, delivered, candidates, SPAM, len(candidates))
        left -= len(candidates)
        outweighed, alive = np.zeros(len(good)), np.arange(len(good))
        for count in range(1, len(bad) + 1):  # increasing numbers of spammy words against one good word
            left -= len(alive)
            if left < 0 or len(alive) <= self.num_words:
                break
            alive = alive[answers(model, held, np.union1d(stopped, bad[:count]), good[alive]) == HAM]
            outweighed[alive] = count
        return good[np.argsort(-outweighed, kind="stable")][: self.num_words]


@evasion(goal=Goal.AVAILABILITY, cite="Dalvi et al. 2004, KDD")
class CostSensitiveAdversary:
    """Changes each spam at minimal cost such that it is delivered, unless the cost exceeds the utility.

    The adversary knows the log odds of the filter. Adding absent tokens that lower them, and removing present tokens that
    raise them, is a knapsack problem with two prices, which is solved exactly. If the filter is not a sum over tokens, a
    naive Bayes fitted to its predictions replaces it. Weakness: the changed mails are close to the decision boundary, and a
    filter can anticipate the changes (`AdversaryAwareNaiveBayes`).

    Fields:
        utility: value of a delivered spam, in units of cost; a change must cost less.
        add_cost: cost of adding a token, > 0.
        remove_cost: cost of removing a token, > 0; None if tokens cannot be removed.

    Reference: Dalvi, Domingos, Mausam, Sanghai and Verma 2004, "Adversarial Classification", KDD, section 3.
    """

    utility: float = 20.0
    add_cost: float = 1.0
    remove_cost: float | None = None

    def __post_init__(self) -> None:
        costs = (self.utility, self.add_cost, 1.0 if self.remove_cost is None else self.remove_cost)
        if not all(0 < cost < math.inf for cost in costs):
            raise PluginError("finite utility and costs > 0", f"{costs}")

    def __call__(self, model: Model, data: Dataset, context: AttackContext) -> Rows:
        check_mails(data, self)
        odds = LogOdds.of(model) or surrogate(model, context.rows or data)
        spam = np.flatnonzero((data.y == SPAM) & (np.asarray(model.predict(data.x)) == SPAM))
        mails = presence(data.flat)[spam]
        add, remove = self.camouflage(mails, odds(mails), odds.weights)
        back = sp.csr_array((np.ones(len(spam)), (spam, np.arange(len(spam)))), (len(data), len(spam)))
        return rewritten(data, back @ add, back @ remove)

    def camouflage(
        self, mails: sp.csr_array, gap: np.ndarray, weights: np.ndarray
    ) -> tuple[sp.csr_array, sp.csr_array]:
        """The tokens to add to and to remove from each mail (m, tokens), so that its log odds fall by `gap` (m,)."""
        m = mails.shape[0]
        gap = gap * (1 + 1e-9) + 1e-9  # a small margin against rounding
        adds = affordable(self.utility, self.add_cost)
        longest = int(np.diff(mails.indptr).max(initial=0))
        removals = 0 if self.remove_cost is None else min(affordable(self.utility, self.remove_cost), longest)
        good = absent_good(mails, weights, adds)  # (m, adds)
        gained = running(np.where(good >= 0, -weights[good], 0.0))
        row, token = strongest_tokens(mails, weights, np.finfo(float).tiny, removals)
        place = np.arange(len(row)) - np.searchsorted(row, row)
        bad = np.full((m, removals), -1)
        bad[row, place] = token
        freed = running(np.where(bad >= 0, weights[bad], 0.0))
        cost, plan = np.full(m, float(self.utility)), np.zeros((2, m), dtype=int)
        for r in range(removals + 1):
            a = (gained < (gap - freed[:, r])[:, None]).sum(axis=1)
            price = np.where(a <= good.shape[1], a * self.add_cost + r * (self.remove_cost or 0.0), math.inf)
            cheaper = price < cost
            cost[cheaper], plan[0, cheaper], plan[1, cheaper] = price[cheaper], a[cheaper], r
        return chosen(good, plan[0], mails.shape), chosen(bad, plan[1], mails.shape)


def affordable(utility: float, cost: float) -> int:
    """Number of changes whose total cost is below the utility."""
    return math.ceil(utility / cost) - 1


def absent_good(mails: sp.csr_array, weights: np.ndarray, most: int) -> np.ndarray:
    """For each mail, the absent tokens with the lowest negative weights, lowest first; padded with -1."""
    ranking = np.argsort(weights, kind="stable")
    ranking = ranking[weights[ranking] < 0]
    depth = most
    while True:
        held = mails[:, ranking[:depth]].toarray()
        if depth >= len(ranking) or (held.sum(axis=1) + most <= depth).all():
            break
        depth *= 2
    first = np.argsort(held, axis=1, kind="stable")[:, :most]  # absent tokens first, in the order of their weights
    return np.where(np.take_along_axis(held, first, axis=1), -1, ranking[first])


def running(gains: np.ndarray) -> np.ndarray:
    """Cumulative sums (m, k + 1) of the first 0 to k gains (m, k)."""
    return np.concatenate([np.zeros((len(gains), 1)), np.cumsum(gains, axis=1)], axis=1)


def chosen(tokens: np.ndarray, number: np.ndarray, shape: tuple[int, int]) -> sp.csr_array:
    """The first `number` (m,) of each row's tokens (m, k), as a sparse table."""
    taken = np.arange(tokens.shape[1]) < number[:, None]
    return sp.csr_array((np.ones(taken.sum()), tokens[taken], np.concatenate([[0], np.cumsum(number)])), shape)


def surrogate(model: Model, data: Dataset) -> LogOdds:
    """Log odds of a naive Bayes fitted to the model's predictions on these rows; all zero if there is one class only."""
    from sklearn.naive_bayes import BernoulliNB

    said = np.asarray(model.predict(data.x))
    odds = LogOdds.of(BernoulliNB().fit(presence(data.flat), said))
    return odds or LogOdds(np.zeros(width(data)), 1.0)


def frequencies(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Share of ham and of spam (tokens,) that contains each token, with one added mail for smoothing."""
    mails = presence(data.flat)
    ham, spam = ((mails[data.y == c].sum(axis=0) + 1) / ((data.y == c).sum() + 2) for c in (HAM, SPAM))
    return ham, spam


def most_frequent(shares: np.ndarray, number: int, without: np.ndarray) -> np.ndarray:
    """The tokens with the highest shares, except those in `without`."""
    order = np.argsort(-shares, kind="stable")
    return order[~np.isin(order, without)][:number]


def boundary(model: Model, held: Dataset, context: AttackContext) -> tuple[np.ndarray, np.ndarray] | None:
    """Tokens of a barely stopped and of a barely delivered mail that differ in one token; None if all are in one class.

    A stopped spam is changed to a delivered ham token by token, and bisection finds the change of the prediction.
    """
    said = np.asarray(model.predict(held.x))
    ends = [np.flatnonzero((held.y == c) & (said == c)) for c in (SPAM, HAM)]
    if not all(map(len, ends)):
        return None
    rng = context.streams.numpy("start")
    mails = presence(held.flat)
    spam, ham = (mails[rng.choice(rows, 1)].indices for rows in ends)
    out, into = rng.permutation(np.setdiff1d(spam, ham)), rng.permutation(np.setdiff1d(ham, spam))

    def walked(steps: int) -> np.ndarray:
        kept = np.setdiff1d(spam, out[:steps])
        return np.union1d(kept, into[: max(steps - len(out), 0)])

    low, high = 0, len(out) + len(into)
    while high - low > 1:
        middle = (low + high) // 2
        if answers(model, held, walked(middle), None)[0] == SPAM:
            low = middle
        else:
            high = middle
    return walked(low), walked(high)


def first_where(
    model: Model, held: Dataset, mail: np.ndarray, candidates: np.ndarray, answer: int, most: int
) -> np.ndarray:
    """The first `most` candidates that give this prediction when added to the mail, tested a few hundred at a time."""
    found: list[int] = []
    for start in range(0, len(candidates), 500):
        asked = candidates[start : start + 500]
        found += asked[answers(model, held, mail, asked) == answer].tolist()
        if len(found) >= most:
            break
    return np.array(found[:most], dtype=int)


def answers(model: Model, like: Dataset, mail: np.ndarray, words: np.ndarray | None) -> np.ndarray:
    """Predictions for the mail with each of the words added, or (1,) for the unchanged mail."""
    rows = np.tile(mail, (1 if words is None else len(words), 1))
    if words is not None:
        rows = np.column_stack([rows, words])
    k, length = rows.shape
    mails = sp.csr_array((np.ones(rows.size, np.float32), rows.ravel(), length * np.arange(k + 1)), (k, width(like)))
    mails.sum_duplicates()
    return np.asarray(model.predict(mails if like.is_sparse else mails.toarray().reshape(k, *like.shape)))


def rewritten(data: Dataset, add: sp.csr_array, remove: sp.csr_array | None = None) -> Rows:
    """The rows with the tokens of `add` (n, tokens) set to 1 if absent, and those of `remove` set to 0."""
    x = sp.csr_array(data.flat, dtype=np.float32)
    kept = x if remove is None else x - x.multiply(remove > 0)
    new = (add > 0).astype(np.float32)
    out = sp.csr_array(kept + new - new.multiply(presence(x)))
    return out if data.is_sparse else out.toarray().reshape(data.x.shape)


def width(data: Dataset) -> int:
    """Number of tokens."""
    return int(data.flat.shape[1])
