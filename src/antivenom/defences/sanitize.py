"""Sanitizes rows from any source: which rows to keep, and which ones to examine first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext, Model, Unsplit
from antivenom.core.registry import Kind, build
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset, source_of
from antivenom.data.schema import is_sparse
from antivenom.defences.features import Features, features_of, model_for
from antivenom.defences.sanitizers.confident import ConfidentLearning, LabelNoiseModel
from antivenom.fast.trainer import train_fastest
from antivenom.models.training import Loss, Training, cross_entropy
from antivenom.models.wrappers import learner


@dataclass(frozen=True, eq=False)
class Sanitized:
    """Rows that a sanitizer has judged.

    Fields:
        rows: all n rows, in the order of their source.
        verdict: a score and a flag for each row.
    """

    rows: Dataset
    verdict: Verdict

    @property
    def kept(self) -> Dataset:
        """The rows that were not flagged."""
        return self.rows[~self.verdict.flags]

    @property
    def suspects(self) -> np.ndarray:
        """The indices of the flagged rows, the most suspicious first."""
        order = np.argsort(-self.verdict.scores, kind="stable")
        return np.asarray(order[self.verdict.flags[order]])


def sanitize(
    data: object,
    sanitizer: object = "LabelNoiseModel",
    *,
    trusted: object = None,
    model: object = None,
    training: Training = Training(),
    seed: int = 0,
) -> Sanitized:
    """Judge rows by a sanitizer. Nothing is deleted; the result holds the rows to keep and the indices of the suspects.

    Args:
        data: a source, or any value of which `antivenom.data.source_of` makes one: a Dataset, (X, y), "module:function", or
            the name of a data set, whose training rows are judged.
        sanitizer: a sanitizer, or its name.
        trusted: clean rows in any of these forms, which some sanitizers use as a reference; or None.
        model: the model that a sanitizer fits if it needs one: an estimator, a torch module, or anything else that a scenario
            takes. None stands for logistic regression on the encoded rows; `LabelNoiseModel` and `ConfidentLearning` get a
            model for the form of the rows instead (see `suspects`).
        training: how a torch model is trained.
        seed: the seed of the sanitizer's and the model's randomness.

    Raises:
        NotApplicable: the sanitizer cannot judge such rows, for example token rows if it measures distances.

    >>> import numpy as np
    >>> x = np.concatenate([np.zeros((40, 2)), np.ones((40, 2))]) + np.random.default_rng(0).normal(0, 0.1, (80, 2))
    >>> y = np.repeat([0, 1], 40)
    >>> y[[3, 50]] = [1, 0]  # two wrong labels
    >>> found = sanitize((x, y))
    >>> sorted(found.suspects.tolist()), len(found.kept)
    ([3, 50], 78)
    """
    rows, streams = rows_of(data, seed), Streams(seed)
    known = None if trusted is None else like(rows_of(trusted, seed), rows)
    defence = build(sanitizer, Kind.SANITIZER)
    judged, estimator = rows, model
    if model is None and isinstance(defence, (ConfidentLearning, LabelNoiseModel)):
        judged, estimator, _ = numbers_for(rows)
    elif model is None:
        judged, estimator = rows.encoded, default_model()
        known = None if known is None else known.encoded
    context = context_of(estimator, streams.child("defence"), known, training)
    verdict = defence(judged, context)
    if not isinstance(verdict, Verdict) or len(verdict) != len(rows):
        raise PluginError(f"a Verdict over {len(rows)} rows from {type(defence).__name__}", type(verdict).__name__)
    return Sanitized(rows, verdict)


def numbers_for(rows: Dataset) -> tuple[Dataset, Any, Features]:
    """The rows as numbers, an unfitted estimator for them, and how they were encoded (see `features_of`)."""
    found = features_of(rows)
    x = found.x if is_sparse(found.x) else np.asarray(found.x, dtype=np.float32)
    return Dataset(x, rows.y, rows.classes, rows.name), model_for(found, len(rows)), found


def rows_of(data: object, seed: int = 0) -> Dataset:
    """All rows of a value that `source_of` accepts, in their own order; of a source that is not `Unsplit`, the training rows."""
    source = source_of(data)
    return source.unsplit() if isinstance(source, Unsplit) else source(Streams(seed)).train


def like(trusted: Dataset, rows: Dataset) -> Dataset:
    """The trusted rows with the schema and the classes of the rows to judge.

    Raises:
        DataError: the trusted rows have other columns, or a class that the rows to judge do not have.
    """
    if trusted.is_regression or rows.is_regression:
        return replace(trusted, classes=rows.classes, schema=rows.schema)
    return Dataset(trusted.x, np.array(trusted.classes)[trusted.y], rows.classes, trusted.name, schema=rows.schema)


def default_model() -> Any:
    """The model that is used if the user gives none: logistic regression on columns scaled to unit variance."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(with_mean=False), LogisticRegression(max_iter=1000))


def context_of(
    model: object,
    streams: Streams,
    trusted: Dataset | None = None,
    training: Training = Training(),
    device: str = "cpu",
) -> DefenceContext:
    """A defence's context outside of a scenario, with this model in place of the pipeline's."""

    def fit(data: Dataset, name: str = "", loss: Loss = cross_entropy) -> Model:
        own = streams.child("fit")
        return learner(model, training, device, train_fastest).fit(data, own.child(name) if name else own, loss)

    def refit(start: Model, data: Dataset, epochs: int) -> Model:
        maker = learner(model, replace(training, epochs=epochs), device, train_fastest)
        return maker.fit(data, streams.child("refit"), start=start)

    return DefenceContext(streams, fit, refit, trusted)
