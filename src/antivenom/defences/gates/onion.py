"""A gate that removes words which do not fit their place and refuses inputs whose answer depends on them."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, InputFilter, Model
from antivenom.core.registry import gate
from antivenom.core.threat import Goal
from antivenom.data import Dataset
from antivenom.data.text import PADDING
from antivenom.defences.gates.thresholds import above
from antivenom.defences.inputs import check_share, folds, radius
from antivenom.defences.ngrams import NGrams

CHUNK = 512  # texts at a time
LONGEST = 3  # tokens of an n-gram: with more, the numbers of n-grams of a large vocabulary leave 64 bits


@gate(goal=Goal.BACKDOOR, cite="Qi et al. 2021, EMNLP, arXiv:2011.10369")
class ONION:
    """Refuses a text if its answer changes once the words are removed whose removal lowers the perplexity most.

    A trigger word does not fit its place, so that the text becomes more probable without it. The language model counts
    n-grams of the clean rows; the paper uses GPT-2. A word is removed if its removal lowers the perplexity by more than a
    threshold, which few words of clean texts exceed. Perplexities are compared by their logarithm times the number of
    words, so that the threshold suits texts of all lengths. The score of a text is how much the probability of its class
    falls without these words. It needs token rows, which keep the order of words, and a few hundred clean texts.

    Weakness: honest words that the clean rows do not have are removed as well, and the answers to uncertain clean texts
    change without them. A trigger that reads well, such as a sentence or a style, is missed. With few clean rows, single
    words (`order: 1`, only their frequency) find rare triggers more reliably than pairs and triples.

    Fields:
        removed: share of the words of clean texts that the threshold of perplexity removes, above 0 and below 1. It should
            exceed the share of words that the clean rows do not have.
        false_rejection: share of the clean rows that the threshold of the score refuses at most, 0 to 1.
        order: number of tokens of the longest n-grams, 1 to 3.

    Reference: Qi, Chen, Li, Yao, Liu and Sun 2021, "ONION: A Simple and Effective Defense Against Textual Backdoor
    Attacks", EMNLP, arXiv:2011.10369.
    """

    removed: float = 0.1
    false_rejection: float = 0.05
    order: int = 2

    def __post_init__(self) -> None:
        check_share(self.false_rejection, "ONION.false_rejection")
        if not 0 < self.removed < 1 or not 1 <= self.order <= LONGEST:
            got = f"{self.removed} and {self.order}"
            raise PluginError(f"ONION.removed above 0 and below 1, and order from 1 to {LONGEST}", got)

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> InputFilter:
        require_tokens(clean, self)
        words = len(clean.columns.vocabulary)
        drops = np.zeros(clean.x.shape)
        for rest, held in folds(
            clean, context.streams.child("folds")
        ):  # words of a text that is counted would look usual
            drops[held] = perplexity_drops(NGrams(clean.x[rest], words, self.order), clean.x[held])
        language = NGrams(clean.x, words, self.order)
        present = drops[clean.x != PADDING]
        bound = radius(present, self.removed) if len(present) else np.inf

        def score(x: np.ndarray, drops: np.ndarray) -> np.ndarray:
            return lost_probability(model, x, without(x, drops > bound))

        def unseen(x: np.ndarray) -> np.ndarray:
            return score(x, perplexity_drops(language, x))

        return above(unseen, score(clean.x, drops), self.false_rejection)


def require_tokens(clean: Dataset, defence: object, least: int = 20) -> None:
    """Refuses rows that are not token rows, or too few of them.

    Raises:
        NotApplicable: rows of another form.
        DataError: fewer than `least` rows.
    """
    name = type(defence).__name__
    if not clean.is_tokens or clean.is_regression:
        raise NotApplicable(
            f"token rows for {name}, which keep the order of words",
            clean.name,
            "use imdb-tokens, or TextFile with form: tokens",
        )
    if len(clean) < least:
        raise DataError(f"at least {least} clean rows for {name}", f"{len(clean)}", "raise clean_rows")


def perplexity_drops(language: NGrams, x: np.ndarray) -> np.ndarray:
    """(m, length) by how much the perplexity of a text falls without its i-th word; 0 for padding.

    It is the difference of the logarithms, times the number of words.
    """
    parts = [_drops(language, x[i : i + CHUNK]) for i in range(0, len(x), CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(x.shape)


def _drops(language: NGrams, x: np.ndarray) -> np.ndarray:
    words = (x != PADDING).sum(axis=1, keepdims=True)
    whole = -language.log_likelihoods(x)[:, None] / np.maximum(words, 1)
    shorter = -language.without_each(x) / np.maximum(words - 1, 1)
    return np.where(x != PADDING, words * (whole - shorter), 0.0)


def without(x: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """The texts without the removed words: the other words close the gaps, and padding follows."""
    kept = ~removed & (x != PADDING)
    order = np.argsort(~kept, axis=1, kind="stable")
    return np.asarray(np.take_along_axis(np.where(kept, x, PADDING), order, axis=1))


def lost_probability(model: Model, x: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """(m,) by how much the probability of each input's class falls when the input is changed."""
    before = np.asarray(model.predict_proba(x), dtype=np.float64)
    after = np.asarray(model.predict_proba(changed), dtype=np.float64)
    said = before.argmax(axis=1) if len(before) else np.zeros(0, dtype=np.int64)
    rows = np.arange(len(before))
    return np.asarray(before[rows, said] - after[rows, said])
