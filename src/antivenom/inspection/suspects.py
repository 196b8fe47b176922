"""The classes that an inspection suspects, and the triggers that were recovered for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from antivenom.core.protocols import Model, Trigger
from antivenom.core.verdict import ModelVerdict
from antivenom.data import Dataset
from antivenom.inspection.checks import Measured
from antivenom.inspection.result import Check, Suspect

SHOWN = 3  # classes


def suspects(
    model: Model,
    found: Sequence[Measured],
    checks: Sequence[Check],
    whole: ModelVerdict | None,
    references: Sequence[Model],
    held_out: Dataset,
) -> tuple[Suspect, ...]:
    """The most suspicious classes: those that the answer names or, if it names none, the first one.

    Args:
        model: the inspected model.
        found: what the checks measured, with the recovered triggers.
        checks: the verdict of each check.
        whole: the verdict of the deciding checks together; None without references.
        references: the clean reference models.
        held_out: clean rows that no search has seen.
    """
    recovering = [
        (one.recovery, check.verdict.classes)
        for one, check in zip(found, checks, strict=True)
        if one.recovery is not None and check.verdict is not None and check.verdict.classes is not None
    ]
    if not recovering:
        return ()
    distances = np.array([classes.scores for _, classes in recovering])
    flags = whole.classes.flags if whole is not None and whole.classes is not None else np.zeros(distances.shape[1])
    order = np.argsort(-distances.max(axis=0), kind="stable")
    named = [c for c in order if flags[c]] or list(order[:1])
    told = []
    for c in named[:SHOWN]:
        recovery, _ = recovering[int(distances[:, c].argmax())]
        trigger = recovery.triggers[c]
        rates = [hit(other, trigger, int(c), held_out) for other in references]
        told.append(
            Suspect(
                int(c),
                held_out.classes[c],
                float(distances[:, c].max()),
                bool(flags[c]),
                recovery.form,
                trigger,
                float(recovery.sizes[c]),
                hit(model, trigger, int(c), held_out),
                float(np.mean(rates)) if rates else float("nan"),
            )
        )
    return tuple(told)


def hit(model: Model, trigger: Trigger, target: int, rows: Dataset) -> float:
    """Share of the rows of other classes that get the target class with the trigger; nan if there are no such rows."""
    others = rows[rows.y != target]
    if not len(others):
        return float("nan")
    return float((model.predict_proba(trigger(others.dense)).argmax(axis=1) == target).mean())
