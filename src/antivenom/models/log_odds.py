"""Log odds of spam as a sum over tokens, the form that naive Bayes and linear filters share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from antivenom.data import Rows
from antivenom.models.spambayes import HAM, SPAM, presence


@dataclass(frozen=True, eq=False)
class LogOdds:
    """log P(spam, x) / P(ham, x) as bias + sum of weights over the tokens that are in the mail. Above 0 is spam.

    Fields:
        weights: (tokens,) contribution of each token's presence.
        bias: log odds of an empty mail.
    """

    weights: np.ndarray
    bias: float

    def __call__(self, x: Rows) -> np.ndarray:
        """(m,) log odds of mails x (m, tokens); only the presence of a token counts, not its number."""
        return np.asarray(presence(x) @ self.weights + self.bias)

    @classmethod
    def of(cls, model: Any) -> LogOdds | None:
        """The log odds of a fitted naive Bayes or linear model of two classes, or None for any other model."""
        from sklearn.naive_bayes import BernoulliNB, MultinomialNB

        own = getattr(model, "log_odds", None)
        estimator = getattr(model, "estimator", model)
        if isinstance(own, cls) or list(getattr(estimator, "classes_", ())) != [HAM, SPAM]:
            return own
        if isinstance(estimator, BernoulliNB):
            # log P(x | c) is a sum over present and absent tokens. The absent ones move into the bias.
            present = estimator.feature_log_prob_
            absent = np.log1p(-np.exp(present))
            bias = absent.sum(axis=1) + estimator.class_log_prior_
            return cls(np.diff(present - absent, axis=0)[0], float(bias[SPAM] - bias[HAM]))
        if isinstance(estimator, MultinomialNB):
            bias = estimator.class_log_prior_
            return cls(np.diff(estimator.feature_log_prob_, axis=0)[0], float(bias[SPAM] - bias[HAM]))
        weights = np.asarray(getattr(estimator, "coef_", ()))
        return cls(weights[0], float(np.ravel(estimator.intercept_)[0])) if weights.ndim == 2 else None
