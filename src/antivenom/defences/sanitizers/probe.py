"""A sanitizer that uses a linear model."""

from __future__ import annotations

import math

import numpy as np

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Access, Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset

MAX_FEATURES = 4_000  # with more, the (d, d) matrices of the closed form, one per fold, need gigabytes


@sanitizer(
    access=(Access.DATA_MANIPULATION,),
    goal=Goal.AVAILABILITY,
    cite="Yu et al. 2022, arXiv:2111.00898 (perturbations are linearly separable)",
)
class LinearProbe:
    """Flags rows that a linear model on raw features recognises as perturbed: ridge regression, by cross-fitting.

    With trusted rows, it learns to distinguish them from the suspicious rows. Without them, it learns the labels. If it then
    separates the classes at least as well as nearest neighbours, it flags the rows that it classifies correctly. Weakness:
    with trusted rows from another distribution, or honest classes that are linearly separable, it flags clean rows. It
    also flags clean rows among the poison. If all rows are perturbed, flagging leaves none; adversarial training, JPEG
    compression or grey levels then help (Liu et al. 2023, at 8/255).

    Fields:
        trusted: use the trusted rows; otherwise the labels.
        alpha: with trusted rows, the false-positive rate of flagging. At least 1 / alpha trusted rows are needed.
        min_share: with trusted rows, rows are flagged only if at least this share looks perturbed, 0 to 1.
        min_separability: without trusted rows, rows are flagged only if the accuracy on the labels is at least this, 0 to 1.
        penalty: penalty of the ridge regression, relative to the mean square of a feature.
        folds: number of folds of the cross-fitting.

    Reference: Yu, Zhang, Chen, Yin and Liu 2022, "Availability Attacks Create Shortcuts", KDD, arXiv:2111.00898.
    """

    trusted: bool = True
    alpha: float = 0.05
    min_share: float = 0.25
    min_separability: float = 0.95
    penalty: float = 0.01
    folds: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or not 0 <= self.min_share <= 1 or not 0 <= self.min_separability <= 1:
            raise PluginError(
                "LinearProbe.alpha between 0 and 1, min_share and min_separability from 0 to 1",
                f"{self.alpha}, {self.min_share} and {self.min_separability}",
            )
        if not self.penalty > 0 or self.folds < 2:
            raise PluginError("LinearProbe.penalty above 0 and folds >= 2", f"{self.penalty} and {self.folds}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        return self._against(context.trusted, data, context) if self.trusted else self._labels(data, context)

    def _against(self, trusted: Dataset | None, data: Dataset, context: DefenceContext) -> Verdict:
        if trusted is None:
            raise NotApplicable("trusted rows for LinearProbe", "none", "raise clean_rows, or set trusted: false")
        m = len(trusted)
        if m < max(self.folds, 1 / self.alpha):
            raise DataError(
                f"at least {max(self.folds, math.ceil(1 / self.alpha))} trusted rows", f"{m}", "raise clean_rows"
            )
        x = np.concatenate([_table(trusted), _table(data)])
        suspicion = self._held_out(x, np.repeat([0, 1], [m, len(data)]), 2, context)[:, 1]
        known, scores = suspicion[:m], suspicion[m:]
        # By exchangeability, a clean row exceeds the k-th largest of m trusted scores with probability k / (m + 1).
        flags = scores > np.sort(known)[::-1][math.floor(self.alpha * (m + 1)) - 1]
        return Verdict(scores, flags & (flags.mean() >= self.min_share))

    def _labels(self, data: Dataset, context: DefenceContext) -> Verdict:
        from sklearn.neighbors import NearestNeighbors

        x, rows = _table(data), np.arange(len(data))
        fitted = self._held_out(x, data.y, data.num_classes, context)
        own = fitted[rows, data.y]
        fitted[rows, data.y] = -np.inf
        scores = own - fitted.max(axis=1)
        right = scores > 0
        if right.mean() < self.min_separability:
            return Verdict(scores, np.zeros(len(data), dtype=bool))
        nearest = NearestNeighbors(n_neighbors=1).fit(x).kneighbors(return_distance=False)[:, 0]
        return Verdict(scores, right & (right.mean() >= (data.y[nearest] == data.y).mean()))

    def _held_out(self, x: np.ndarray, y: np.ndarray, num_classes: int, context: DefenceContext) -> np.ndarray:
        """(n, c) predictions of ridge regression on one-hot classes, each row from a fit without its fold.

        Rows are weighted such that all classes have the same weight. Gram matrices are computed per fold and added up.
        """
        sizes = np.bincount(y, minlength=num_classes)
        if (sizes > 0).sum() < 2:
            raise DataError("rows of at least two classes to tell apart", f"{(sizes > 0).sum()}", "add rows")
        shuffled = context.streams.numpy("folds").permutation(len(y))
        order = shuffled[np.argsort(y[shuffled], kind="stable")]
        fold = np.empty(len(y), dtype=int)
        fold[order] = np.arange(len(y)) % self.folds  # stratified
        rows = np.column_stack([x, np.ones(len(x))])
        weighted = rows / sizes[y][:, None]
        wanted = np.eye(num_classes)[y]
        parts = [fold == k for k in range(self.folds)]
        gram = np.stack([weighted[part].T @ rows[part] for part in parts])
        moment = np.stack([weighted[part].T @ wanted[part] for part in parts])
        ridge = (
            self.penalty * np.trace(gram.sum(axis=0)[:-1, :-1]) / x.shape[1] + 1e-12
        )  # above 0 even if all rows are zero
        gram += np.diag(np.append(np.full(x.shape[1], ridge), 0)) / (self.folds - 1)  # the bias is not penalised
        out = np.empty((len(y), num_classes))
        for k, part in enumerate(parts):
            others = np.arange(self.folds) != k
            out[part] = rows[part] @ np.linalg.solve(gram[others].sum(axis=0), moment[others].sum(axis=0))
        return out


def _table(data: Dataset) -> np.ndarray:
    """(n, features) of float64.

    Raises:
        DataError: sparse rows, or too many features.
    """
    x = data.dense.reshape(len(data), -1)
    if x.shape[1] > MAX_FEATURES:
        raise DataError(f"at most {MAX_FEATURES} features", f"{x.shape[1]}", "make the images smaller")
    return x.astype(np.float64)
