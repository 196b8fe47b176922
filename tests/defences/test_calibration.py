"""Ranks of a model among clean references, by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.streams import Streams
from antivenom.core.verdict import ModelVerdict, Verdict
from antivenom.data import load
from antivenom.defences import NeuralCleanse
from antivenom.defences.acceptance.calibration import Statistics, compared, judged, trained
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios.pipeline import Pipeline


def of(*values: float) -> Statistics:
    found = np.array(values, dtype=float)
    return Statistics(found, np.isfinite(found), lowest=-9.0)


def test_the_rank_and_the_distance_by_hand() -> None:
    """Both references have a mean of 1 and 5, with deviations of 1 in class 0 and 0 in class 1 around it.

    The pooled variance is (1 + 1 + 0 + 0) / (2 classes x 1) = 1, so that the model's class 0 lies 6 deviations above.
    """
    verdict = judged(of(7, 5), [of(0, 5), of(2, 5)])
    assert verdict.classes is not None
    assert verdict.classes.scores.tolist() == [6, 0]
    assert verdict.classes.flags.tolist() == [True, False]
    assert (verdict.flag, verdict.p_value) == (True, pytest.approx(1 / 3))
    assert "at most 1 of 3" in verdict.notes[0]
    middle = judged(of(1, 5), [of(0, 5), of(2, 5)])
    assert (middle.flag, middle.p_value) == (False, 1)  # 0, as reference (0, 5); a tie counts against the flag


def test_only_the_suspicious_side_counts() -> None:
    """Class 0 of this model has a far larger mask than that of the references, which is harmless."""
    references = [of(0.1 * i, 0.1 * (i % 3)) for i in range(6)]
    assert not judged(of(-50, 0.1), references).flag
    assert not judged(of(-50, 0.1, 0.2, 0.0, 0.15)).flag
    assert judged(of(50, 0.1, 0.2, 0.0, 0.15)).classes.flags.tolist() == [True] + 4 * [False]  # type: ignore[union-attr]


def test_a_clean_model_is_flagged_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    flagged = []
    for _ in range(400):
        models = [Statistics(row, np.ones(10, bool)) for row in rng.standard_t(3, (5, 10)) * np.linspace(1, 5, 10)]
        flagged.append(judged(models[0], models[1:]).flag)
    assert np.mean(flagged) < 0.2 + 3 * np.sqrt(0.16 / 400)
    assert np.mean(flagged) > 0.1  # the rank test has a level of 1 / 5, and is no empty promise either


def test_a_class_without_a_statistic_counts_as_harmless_in_references_and_is_not_judged_in_the_model() -> None:
    nan = float("nan")
    found = judged(of(nan, 1), [of(0, 0.9), of(1, 1.1), of(2, 1.2)])
    assert found.classes is not None
    assert found.classes.scores[0] == 0
    assert "not reached, and not judged: classes 0" in found.notes
    only_here = judged(of(5, 1), [of(nan, 0.9), of(nan, 1.1), of(nan, 1.2)])  # no reference reaches class 0: -9 there
    assert only_here.classes is not None
    assert only_here.classes.flags.tolist() == [True, False]
    nothing = judged(of(nan, nan), [of(0, 0.9), of(1, 1.1)])
    assert (nothing.flag, nothing.p_value, nothing.score) == (False, 1.0, 0.0)


def test_references_differ_and_too_few_are_refused() -> None:
    data = load("digits", Streams(0)).train[:120]
    context = Pipeline(MLP((8,)), Training(epochs=1), "cpu", Streams(0)).context(data)
    one, other = trained(context, data, 2)
    assert not np.allclose(one.predict_proba(data.x), other.predict_proba(data.x))
    assert np.array_equal(trained(context, data, 1)[0].predict_proba(data.x), one.predict_proba(data.x))
    with pytest.raises(DataError, match="at least 2 clean reference models, got 1"):
        compared(NeuralCleanse(steps=1), one, data, [other])
    narrow = Pipeline(MLP((8,)), Training(epochs=1), "cpu", Streams(0)).fit(
        load("breast-cancer", Streams(0)).train, "x"
    )
    with pytest.raises(NotApplicable, match="reference models of 10 classes, got one of 2"):
        compared(NeuralCleanse(steps=1), one, data, [other, narrow])
    with pytest.raises(DataError, match="64 clean rows, half of them for the references, got 60"):
        NeuralCleanse(references=2)(one, data[:60], context)
    with pytest.raises(PluginError, match="a p-value above 0"):
        ModelVerdict.of_classes(Verdict(np.zeros(2), np.zeros(2, bool)), p_value=0.0)
