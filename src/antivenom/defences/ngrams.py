"""A language model of n-grams over token rows, for defences that ask how well a word fits its place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from antivenom.data.text import PADDING


@dataclass(frozen=True, eq=False)
class _Counts:
    """How often each n-gram of one length, and each of their contexts, was seen.

    Fields:
        grams: (k,) numbers of the n-grams, rising.
        times: (k,) how often each occurred.
        contexts: (j,) numbers of the contexts, the n-grams without their last token, rising.
        totals: (j,) how often each context occurred.
        kinds: (j,) how many different tokens followed it.
    """

    grams: np.ndarray
    times: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray
    kinds: np.ndarray


class NGrams:
    """Probabilities of a token after the tokens before it, with Witten-Bell smoothing.

    P(w | context) = (times(context, w) + kinds(context) P(w | shorter context)) / (times(context) + kinds(context)), where
    kinds(context) is the number of different tokens that were seen after it. Below the shortest context all tokens of the
    vocabulary are equally probable. Padding is left out, and a text begins with a mark of its own.

    Args:
        rows: (n, length) token rows.
        vocabulary: size of the vocabulary.
        order: number of tokens of the longest n-grams, at least 1.

    Reference: Witten and Bell 1991, "The zero-frequency problem", IEEE Trans. Inf. Theory 37(4).
    """

    def __init__(self, rows: np.ndarray, vocabulary: int, order: int = 3) -> None:
        self.vocabulary, self.order = vocabulary, order
        self.base = vocabulary + 1  # the last number marks the beginning of a text
        present = rows != PADDING
        framed = self._framed(rows)
        self._counts = []
        for size in range(1, order + 1):
            grams = self._numbered([framed[:, order - size + k : framed.shape[1] - size + 1 + k] for k in range(size)])
            self._counts.append(_counted(grams[present], self.base))

    def _framed(self, rows: np.ndarray) -> np.ndarray:
        """The rows with order - 1 marks of the beginning in front."""
        return np.concatenate([np.full((len(rows), self.order - 1), self.vocabulary), rows], axis=1)

    def _numbered(self, tokens: list[np.ndarray]) -> np.ndarray:
        """One number for each n-gram, whose tokens are given from the first to the last."""
        number = tokens[0].astype(np.int64)
        for token in tokens[1:]:
            number = number * self.base + token
        return number

    def log_probability(self, before: list[np.ndarray], token: np.ndarray) -> np.ndarray:
        """Natural logarithm of P(token | before), elementwise.

        Args:
            before: order - 1 arrays: the tokens before it, from the farthest to the nearest.
            token: the tokens.
        """
        found = np.full(token.shape, 1 / self.vocabulary)
        for size, counts in enumerate(self._counts, start=1):
            grams = self._numbered([*before[len(before) - size + 1 :], token])
            times = _looked_up(counts.grams, counts.times, grams)
            totals = _looked_up(counts.contexts, counts.totals, grams // self.base)
            kinds = _looked_up(counts.contexts, counts.kinds, grams // self.base)
            seen = totals > 0
            found = np.where(seen, (times + kinds * found) / np.maximum(totals + kinds, 1), found)
        return np.asarray(np.log(found))

    def log_likelihoods(self, rows: np.ndarray) -> np.ndarray:
        """(m,) log-likelihood of each text."""
        return np.asarray(self._terms(rows).sum(axis=1))

    def _terms(self, rows: np.ndarray) -> np.ndarray:
        """(m, length) log-probability of each token after those before it; 0 for padding."""
        framed, length = self._framed(rows), rows.shape[1]
        before = [framed[:, k : k + length] for k in range(self.order - 1)]
        return np.where(rows != PADDING, self.log_probability(before, rows), 0.0)

    def without_each(self, rows: np.ndarray) -> np.ndarray:
        """(m, length) log-likelihood of each text without its i-th token; that of the whole text where this is padding.

        Only the order - 1 tokens after the removed one change their probability.
        """
        terms, framed, length = self._terms(rows), self._framed(rows), rows.shape[1]
        total = terms.sum(axis=1, keepdims=True) - terms
        first = self.order - 1  # index of the first token in `framed`
        ahead = np.concatenate([framed, np.full((len(rows), first), PADDING)], axis=1)
        for k in range(1, self.order):  # the k-th token after the removed one
            places = [place for place in range(k - self.order, k) if place != 0]
            columns = [ahead[:, first + place : first + place + length] for place in places]
            token = ahead[:, first + k : first + k + length]
            old = np.concatenate([terms[:, k:], np.zeros((len(rows), k))], axis=1)[:, :length]
            new = self.log_probability(columns, token)
            total = total + np.where(token != PADDING, new - old, 0.0)
        return np.asarray(np.where(rows != PADDING, total, terms.sum(axis=1, keepdims=True)))


def _counted(grams: np.ndarray, base: int) -> _Counts:
    known, times = np.unique(grams, return_counts=True)
    contexts, place = np.unique(known // base, return_inverse=True)
    totals = np.bincount(place, weights=times, minlength=len(contexts))
    return _Counts(known, times, contexts, totals, np.bincount(place, minlength=len(contexts)))


def _looked_up(known: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The value of each asked number, 0 for an unknown one."""
    if not len(known):
        return np.zeros(asked.shape)
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.asarray(np.where(known[place] == asked, values[place], 0))
