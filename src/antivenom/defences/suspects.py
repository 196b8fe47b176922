"""Did it happen already? Rows whose label is probably wrong, with the number of false alarms to expect and a warning."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset, Schema
from antivenom.defences.crossfit import keys_of
from antivenom.defences.labels import LARGEST_PART, JudgedLabels, check_rate, judged_labels
from antivenom.defences.sanitize import context_of, numbers_for, rows_of
from antivenom.defences.views import contradiction
from antivenom.models.training import Training

MOST_FLAGGED, SAMPLE, LONGEST = 0.2, 20, 200


@dataclass(frozen=True)
class Suspect:
    """One suspicious row.

    Fields:
        row: its number, from 0.
        score: the probability that its label is wrong.
        why: the reason, as a phrase.
        label: the name of its class.
        suggested: the name of the class that it probably has; empty if unknown.
        cells: its cells as text, by column; empty for rows that are not tables or text.
    """

    row: int
    score: float
    why: str
    label: str
    suggested: str
    cells: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Suspects:
    """The rows of a data set whose labels are probably wrong.

    Fields:
        method: how they were found, in a few words.
        rows: number of rows that were looked at.
        expected_false_alarms: number of honest rows that are expected among the flagged ones.
        warning: one sentence if the result is implausible or cannot be relied on, otherwise empty.
        sample: the most suspicious of the flagged rows, at most 20.
        verdict: a score and a flag for each row.
        suggested: (n,) the most probable class of each row.
        conflicts: (n,) bool: rows of which an exact copy has another label.
        probabilities: (n, c) the out-of-sample probabilities on which the verdict rests.
        data: the rows.
        notes: whole sentences on columns and classes that were treated in a special way.
    """

    method: str
    rows: int
    expected_false_alarms: float
    warning: str
    sample: tuple[Suspect, ...]
    verdict: Verdict
    suggested: np.ndarray
    conflicts: np.ndarray
    probabilities: np.ndarray
    data: Dataset
    notes: tuple[str, ...] = ()

    @property
    def flagged(self) -> int:
        """The number of flagged rows."""
        return int(self.verdict.flags.sum())

    @property
    def indices(self) -> np.ndarray:
        """The numbers of the flagged rows, the most suspicious first."""
        order = np.argsort(-self.verdict.scores, kind="stable")
        return np.asarray(order[self.verdict.flags[order]])

    def why(self, row: int) -> str:
        """The reason for a row's score, as a phrase."""
        label, best, p = int(self.data.y[row]), int(self.suggested[row]), self.probabilities[row]
        said = f"models that did not see this row give {self.data.classes[label]!r} {p[label]:.0%}"
        if best != label:
            said += f" and {self.data.classes[best]!r} {p[best]:.0%}"
        return said + ("; an exact copy has another label" if self.conflicts[row] else "")

    def suspect(self, row: int) -> Suspect:
        """One row, with its reason and its cells."""
        label, best = int(self.data.y[row]), int(self.suggested[row])
        return Suspect(
            row,
            float(self.verdict.scores[row]),
            self.why(row),
            self.data.classes[label],
            self.data.classes[best] if best != label else "",
            _cells(self.data, row),
        )

    @property
    def exit_code(self) -> int:
        """0 if no row is suspicious, 1 if some are, 3 if the result cannot be relied on."""
        return 3 if self.warning else int(self.flagged > 0)

    def record(self) -> dict[str, Any]:
        """The line of a record."""
        return {
            "type": "suspects",
            "method": self.method,
            "rows": self.rows,
            "flagged": self.flagged,
            "expected_false_alarms": round(self.expected_false_alarms, 1),
            "warning": self.warning,
            "sample": [
                {
                    "row": each.row,
                    "score": round(each.score, 4),
                    "why": each.why,
                    "label": each.label,
                    "suggested": each.suggested,
                    "cells": dict(each.cells),
                }
                for each in self.sample
            ],
        }


def suspects(
    rows: object,
    model: object = None,
    *,
    false_alarms: float = 0.01,
    seed: int = 0,
    seconds: float | None = None,
    training: Training = Training(),
) -> Suspects:
    """Look for rows whose label is probably wrong.

    Models are trained on four fifths of the rows and judge the others, in turn. A model of label noise then separates wrong
    labels from rows that are hard; see `antivenom.defences.LabelNoiseModel`.

    Args:
        rows: a source, or any value of which `antivenom.data.source_of` makes one.
        model: the model of your pipeline. None takes one that fits the form of the rows: logistic regression, averaged with
            trees for tables of numbers and words and with the nearest neighbours for images. Free text becomes TF-IDF.
        false_alarms: largest share of the honest rows that is flagged, above 0 and below 1.
        seed: the seed of the folds and of the models.
        seconds: time for the training, or None. Large data are then judged by models that saw fewer rows.
        training: how a torch model is trained.

    Raises:
        NotApplicable, DataError: a regression, one class only, or no column that varies.

    >>> import numpy as np
    >>> x = np.concatenate([np.zeros((40, 2)), np.ones((40, 2))]) + np.random.default_rng(0).normal(0, 0.1, (80, 2))
    >>> y = np.repeat([0, 1], 40)
    >>> y[[3, 50]] = [1, 0]  # two wrong labels
    >>> found = suspects((x, y))
    >>> sorted(found.indices.tolist()), found.sample[0].suggested in ("0", "1"), found.exit_code
    ([3, 50], True, 1)
    """
    check_rate(false_alarms)
    data, streams = rows_of(rows, seed), Streams(seed)
    data.num_classes  # noqa: B018 - refuses a regression
    judged, estimator, name = data, model, "the given model"
    notes: tuple[str, ...] = ()
    if model is None:
        judged, estimator, features = numbers_for(data)
        notes, name = features.notes, f"a model for {features.form} rows"
    context = context_of(estimator, streams.child("defence"), None, training)
    begun = time.monotonic()
    found = judged_labels(judged, context.fit, context.streams, false_alarms, seconds)
    doubt, remark = "", ""
    if model is None and (seconds is None or time.monotonic() - begun < seconds / 2):
        doubt, remark = contradiction(judged, found, features.form, streams.child("views"))
    return _described(
        data,
        found,
        f"label-noise model on out-of-sample probabilities of {name}",
        (*notes, *([remark] if remark else [])),
        doubt,
    )


def _described(data: Dataset, found: JudgedLabels, method: str, notes: tuple[str, ...], doubt: str) -> Suspects:
    conflicts = _conflicts(data)
    more = [*notes]
    if found.unjudged:
        names = ", ".join(data.classes[j] for j in found.unjudged)
        more.append(f"Too few rows to judge the labels of the classes: {names}.")
    if conflicts.any():
        more.append(f"{int(conflicts.sum())} rows have an exact copy with another label.")
    if found.cut:
        more.append("The time was short, so that models were trained on a part of the rows.")
    result = Suspects(
        method,
        len(data),
        found.expected,
        _warning(data, found) or doubt,
        (),
        found.verdict,
        found.suggested,
        conflicts,
        found.probabilities,
        data,
        tuple(more),
    )
    return replace(result, sample=tuple(result.suspect(int(row)) for row in result.indices[:SAMPLE]))


def implausible(flags: np.ndarray, y: np.ndarray, classes: tuple[str, ...]) -> str:
    """One sentence if so many rows are flagged that the result is implausible, otherwise nothing."""
    if len(flags) and flags.mean() > MOST_FLAGGED:
        return (
            f"{flags.mean():.0%} of the rows are flagged, which is implausible: the method does not fit these rows, or the "
            "labels follow a rule that it cannot learn."
        )
    for c, name in enumerate(classes):
        own = flags[y == c]
        if len(own) and own.mean() >= LARGEST_PART:
            return f"{int(own.sum())} of the {len(own)} rows of class {name!r} are flagged, which is implausible."
    return ""


def _warning(data: Dataset, found: JudgedLabels) -> str:
    if found.noise is None:
        return "The classes have too few rows to judge any label."
    if found.capped:
        names = ", ".join(repr(data.classes[j]) for j in found.capped[:3])
        return (
            f"More than half of the rows of class {names} look mislabelled, which is implausible; the model may not be able to "
            "tell this class from the others, and only half of its rows are flagged."
        )
    return implausible(found.verdict.flags, data.y, data.classes)


def _conflicts(data: Dataset) -> np.ndarray:
    """(n,) bool: rows with an exact copy that has another label."""
    _, group = np.unique(keys_of(data), return_inverse=True)
    low, high = np.full(group.max() + 1, data.num_classes), np.full(group.max() + 1, -1)
    np.minimum.at(low, group, data.y)
    np.maximum.at(high, group, data.y)
    return np.asarray(low[group] != high[group])


def _cells(data: Dataset, row: int) -> dict[str, str]:
    """The cells of a row as text, cut to a readable length; no cells for images, tokens and sparse rows."""
    if data.is_frame:
        return {str(name): _short(str(data.x[name].iloc[row])) for name in data.x.columns}
    if data.is_image or data.is_tokens or data.is_sparse or np.ndim(data.x) != 2:
        return {}
    schema: Schema = data.columns
    names = [column.name for column in schema.columns]
    if len(names) != data.shape[0]:
        names = [f"column {i}" for i in range(data.shape[0])]
    return {name: f"{value:.6g}" for name, value in zip(names[:50], data.x[row], strict=False)}


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
