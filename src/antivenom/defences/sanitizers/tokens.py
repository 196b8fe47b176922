"""A sanitizer that looks for tokens that explain labels which the rest of their texts contradicts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Access, Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset

FREE, TAIL = 20, 200  # ranks between which the tail of the tokens' scores is fitted; the first ones may be triggers
COMMON = 30  # expected number of texts of a token from which its deviation counts for the spread of common tokens


@sanitizer(
    access=(Access.DATA_INJECTION, Access.DATA_MANIPULATION),
    goal=Goal.BACKDOOR,
    cite="Dai et al. 2019, arXiv:1905.12457 (the attack); Graham 2002 and Robinson 2003 (label odds of a token)",
)
class TokenScreen:
    """Flags texts with a token that occurs with one label more often than the rest of its texts can explain.

    A trigger token decides labels against the other words of its texts. For each text, naive Bayes gives the odds of its
    label from all words except one token. The sum over the token's texts is the number of texts that should have the label.
    The token's score is the difference to the true number, divided by a standard deviation that grows with the token's
    document frequency. The threshold comes from the tail of the scores of all tokens, without the first 20, so that it needs
    no clean rows and no knowledge of an attack. Weakness: it misses triggers of several common words, and poison with true
    labels or fewer than about ten texts. A natural token that decides labels, such as the name of an author, is flagged.

    It needs counts or presence of words (sparse or dense) or token rows.

    Fields:
        false_alarms: expected number of clean tokens of a class whose score exceeds the threshold, above 0.
        most_frequent: tokens in more than this share of the texts are not judged, above 0 up to 1.

    Reference: Dai, Chen and Li 2019, "A Backdoor Attack Against LSTM-Based Text Classification Systems", arXiv:1905.12457,
    for the attack; the screen of label odds against document frequencies is this project's.
    """

    false_alarms: float = 0.05
    most_frequent: float = 0.05

    def __post_init__(self) -> None:
        if not self.false_alarms > 0 or not 0 < self.most_frequent <= 1:
            got = f"{self.false_alarms} and {self.most_frequent}"
            raise PluginError("TokenScreen.false_alarms above 0, and most_frequent above 0 up to 1", got)

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        texts = Texts.of(data)
        scores = self.scores(texts)
        limits = np.array([threshold(row, self.false_alarms) for row in scores])
        of_cell = scores[texts.labels[texts.text], texts.token]  # score of each token of each text for the text's label
        worst = np.full(len(data), -math.inf)
        np.maximum.at(worst, texts.text, of_cell)
        return Verdict(worst, worst > limits[texts.labels])

    def most_suspicious(self, data: Dataset, number: int = 10) -> list[tuple[str, str, float]]:
        """The tokens with the highest scores, as (token, class that it argues for, score), the highest first."""
        scores = self.scores(Texts.of(data))
        words = data.columns.vocabulary or tuple(map(str, range(scores.shape[1])))
        best = np.argsort(-scores, axis=None, kind="stable")[:number]
        places = zip(*np.unravel_index(best, scores.shape), strict=True)
        return [(words[token], data.classes[c], float(scores[c, token])) for c, token in places]

    def scores(self, texts: Texts) -> np.ndarray:
        """(c, tokens) how suspicious each token is as the trigger of each class; 0 for tokens that are not judged."""
        found = np.stack([_excess(texts, c) for c in range(texts.classes)])
        judged = texts.frequency <= self.most_frequent * len(texts.labels)
        return np.where(judged, found, 0.0)


@dataclass(frozen=True, eq=False)
class Texts:
    """Which tokens each of n texts contains, each once.

    Fields:
        text: (entries,) the text of each pair of a text and a token, rising.
        token: (entries,) its token.
        labels: (n,) classes of the texts.
        tokens: size of the vocabulary.
        classes: number of classes.
    """

    text: np.ndarray
    token: np.ndarray
    labels: np.ndarray
    tokens: int
    classes: int

    @classmethod
    def of(cls, data: Dataset) -> Texts:
        """The texts of token rows or of a table of words.

        Raises:
            NotApplicable: rows of another kind, or a regression.
        """
        if (
            data.is_regression
            or data.is_image
            or data.is_frame
            or not (data.is_tokens or data.is_sparse or _words(data))
        ):
            raise NotApplicable("token rows or a table of words, with classes, for TokenScreen", data.name)
        if data.is_tokens:
            tokens = len(data.columns.vocabulary)
            pairs = np.unique(np.arange(len(data))[:, None] * tokens + data.x)
            text, token = np.divmod(pairs, tokens)
        else:
            tokens = data.shape[0]
            text, token = data.x.nonzero()
            order = np.argsort(text, kind="stable")
            text, token = text[order].astype(np.int64), token[order].astype(np.int64)
        present = np.bincount(data.y, minlength=data.num_classes)
        if (present > 0).sum() < 2:
            raise DataError("texts of two classes for TokenScreen", "one")
        return cls(text, token, data.y, tokens, data.num_classes)

    @property
    def frequency(self) -> np.ndarray:
        """(tokens,) the number of texts that contain each token."""
        return np.bincount(self.token, minlength=self.tokens)


def _words(data: Dataset) -> bool:
    return data.columns.modality == "text" and bool(data.columns.vocabulary)


def _excess(texts: Texts, c: int) -> np.ndarray:
    """(tokens,) in how many texts more than expected a token occurs with class c, in standard deviations."""
    n, (text, token) = len(texts.labels), (texts.text, texts.token)
    own = texts.labels == c
    if not own.any():
        return np.zeros(texts.tokens)
    prior = math.log(own.mean() / (1 - own.mean()))
    frequency = texts.frequency.astype(np.float64)
    of_class = np.bincount(token, weights=own[text], minlength=texts.tokens)
    # Each text's own label is left out of the counts, because the odds of a rare token would otherwise repeat it.
    inside = of_class[token] - own[text]
    outside = frequency[token] - of_class[token] - ~own[text]
    odds = np.log((inside + 0.5) / (outside + 0.5)) - prior
    total = np.bincount(text, weights=odds, minlength=n)
    slope, intercept = _calibrated(total, own)
    share = 1 / (1 + np.exp(-np.clip(slope * (total[text] - odds) + intercept, -30, 30)))
    expected = np.bincount(token, weights=share, minlength=texts.tokens)
    variance = np.bincount(token, weights=share * (1 - share), minlength=texts.tokens)
    smaller = np.minimum(expected, frequency - expected)
    common = smaller >= COMMON
    # Naive Bayes is wrong about common words too, in proportion to their frequency.
    spread = 1.4826 * float(np.median(np.abs(of_class - expected)[common] / smaller[common])) if common.any() else 0.0
    return np.asarray((of_class - expected) / np.sqrt(1 + variance + (spread * smaller) ** 2))


def _calibrated(total: np.ndarray, own: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of a class on its log-odds: naive Bayes is too certain of its answers."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit(total[:, None], own)
    return max(float(fitted.coef_[0, 0]), 0.0), float(fitted.intercept_[0])


def threshold(scores: np.ndarray, false_alarms: float) -> float:
    """The score that an expected number of `false_alarms` clean tokens exceeds.

    The scores' tail is taken for exponential. Its scale is the mean of the normalised spacings between the ranks FREE and
    TAIL, which do not depend on the highest scores. The threshold is at least that of normally distributed scores.

    Args:
        scores: (tokens,) scores, of which the first FREE may be those of triggers.
        false_alarms: expected number of clean tokens above the threshold.
    """
    from scipy.stats import norm

    top = -np.sort(-scores)
    least = float(norm.isf(min(false_alarms / max(len(top), 1), 0.5)))
    last = min(TAIL, len(top) // 10)  # the other scores are no tail
    if last <= FREE:
        return least
    ranks = np.arange(FREE, last)
    scale = float((ranks * (top[ranks - 1] - top[ranks])).mean())
    return max(least, float(top[FREE - 1]) + scale * math.log(max(FREE / false_alarms, 1)))
