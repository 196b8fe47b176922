"""Defences at the edges of what their fields allow; the table is by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from antivenom import defences
from antivenom.core.errors import PluginError

TINY = 1e-9
SHARE = ((0.0, 1.0), (-TINY, 1 + TINY))  # allowed, refused
RANGES: list[tuple[str, str, tuple[float, ...], tuple[float, ...]]] = [
    ("ANP", "alpha", *SHARE),
    ("ANP", "epsilon", (0.0,), (-TINY, math.inf)),
    ("ANP", "iterations", (0,), (-1,)),
    ("ANP", "learning_rate", (TINY,), (0.0, math.inf)),
    ("ANP", "max_drop", *SHARE),
    ("ActivationClustering", "components", (1,), (0,)),
    ("ActivationClustering", "max_share", (0.0, 0.5), (-TINY, 0.5 + TINY)),
    ("ActivationClustering", "min_silhouette", (-1.0, 1.0), (-1 - TINY, 1 + TINY)),
    ("AdversaryAwareNaiveBayes", "add_cost", (TINY,), (0.0, math.inf)),
    ("AdversaryAwareNaiveBayes", "smoothing", (TINY,), (0.0, math.inf)),
    ("AdversaryAwareNaiveBayes", "utility", (TINY,), (0.0, math.inf)),
    ("BNP", "deviations", (TINY,), (0.0, math.inf)),
    ("CLP", "deviations", (TINY,), (0.0, math.inf)),
    ("DynamicThresholds", "g", (0.0, 0.5 - TINY), (-TINY, 0.5)),
    ("FST", "alpha", (0.0,), (-TINY, math.inf)),
    ("FST", "epochs", (0,), (-1,)),
    ("FST", "learning_rate", (TINY,), (0.0, math.inf)),
    ("FTSAM", "epochs", (0,), (-1,)),
    ("FTSAM", "learning_rate", (TINY,), (0.0, math.inf)),
    ("FTSAM", "rho", (0.0,), (-TINY, math.inf)),
    ("FTSAM", "smoothing", (0.0, 1 - TINY), (-TINY, 1.0)),
    ("FinePruning", "epochs", (0,), (-1,)),
    ("FinePruning", "max_drop", *SHARE),
    ("FineTuning", "epochs", (0,), (-1,)),
    ("FineTuning", "learning_rate", (TINY,), (0.0, math.inf)),
    ("IBAU", "ascent", (1,), (0,)),
    ("IBAU", "batch_size", (1,), (0,)),
    ("IBAU", "inner_rate", (TINY,), (0.0, math.inf)),
    ("IBAU", "learning_rate", (TINY,), (0.0, math.inf)),
    ("IBAU", "strength", (TINY,), (0.0, math.inf)),
    ("IBAU", "rounds", (0,), (-1,)),
    ("IBAU", "steps", (1,), (0,)),
    ("KNNDistanceSanitizer", "share", *SHARE),
    ("KNNSanitizer", "agreement", (TINY, 1.0), (0.0, 1 + TINY)),
    ("KNNSanitizer", "k", (1,), (0,)),
    ("LinearProbe", "alpha", (TINY, 1 - TINY), (0.0, 1.0)),
    ("LinearProbe", "folds", (2,), (1,)),
    ("LinearProbe", "min_separability", *SHARE),
    ("LinearProbe", "min_share", *SHARE),
    ("LinearProbe", "penalty", (TINY,), (0.0,)),
    ("LossSanitizer", "share", *SHARE),
    ("MMBD", "level", (TINY, 1 - TINY), (0.0, 1.0)),
    ("MMBD", "references", (0, 2), (-1, 1)),
    ("MMBD", "starts", (1,), (0,)),
    ("MMBD", "steps", (1,), (0,)),
    ("Micromodels", "slices", (2,), (1,)),
    ("Micromodels", "threshold", (TINY, 1.0), (0.0, 1 + TINY)),
    ("NAD", "epochs", (0,), (-1,)),
    ("NAD", "learning_rate", (TINY,), (0.0, math.inf)),
    ("NAD", "power", (TINY,), (0.0,)),
    ("NAD", "teacher_epochs", (0,), (-1,)),
    ("NeuralCleanse", "penalty", (0.0,), (-TINY,)),
    ("NeuralCleanse", "references", (0, 2), (-1, 1)),
    ("NeuralCleanse", "rows", (1,), (0,)),
    ("NeuralCleanse", "steps", (1,), (0,)),
    ("NeuralCleanse", "success", (TINY, 1.0), (0.0, 1 + TINY)),
    ("NeuralCleanse", "threshold", (TINY,), (0.0,)),
    ("ProvenanceGroups", "deviations", (0.0,), (-TINY, math.inf)),
    ("ProvenanceGroups", "min_drop", *SHARE),
    ("ProvenanceGroups", "repeats", (1,), (0,)),
    ("RNP", "iterations", (0,), (-1,)),
    ("RNP", "learning_rate", (TINY,), (0.0, math.inf)),
    ("RNP", "max_drop", *SHARE),
    ("RNP", "unlearn_accuracy", *SHARE),
    ("RNP", "unlearn_epochs", (0,), (-1,)),
    ("RNP", "unlearn_rate", (TINY,), (0.0, math.inf)),
    ("RONI", "batch", (1,), (0,)),
    ("RONI", "deviations", (0.0,), (-TINY, math.inf)),
    ("RONI", "min_drop", *SHARE),
    ("RONI", "repeats", (1,), (0,)),
    ("RONI", "train_rows", (1,), (0,)),
    ("RONI", "validation_rows", (1,), (0,)),
    ("SAU", "adversarial", (0.0,), (-TINY,)),
    ("SAU", "epochs", (0,), (-1,)),
    ("SAU", "epsilon", (TINY,), (0.0,)),
    ("SAU", "learning_rate", (TINY,), (0.0,)),
    ("SAU", "shared", (0.0,), (-TINY,)),
    ("SAU", "steps", (1,), (0,)),
    ("SAU", "unlearning", (0.0,), (-TINY,)),
    ("SEVER", "rounds", (1,), (0,)),
    ("SEVER", "share", *SHARE),
    ("STRIP", "false_rejection", *SHARE),
    ("STRIP", "overlays", (1,), (0,)),
    ("STRIP", "share", (TINY, 1 - TINY), (0.0, 1.0)),
    ("SVDSanitizer", "max_components", (1,), (0,)),
    ("SVDSanitizer", "residual", (TINY, 1 - TINY), (0.0, 1.0)),
    ("SVDSanitizer", "share", *SHARE),
    ("SlabSanitizer", "share", *SHARE),
    ("SphereSanitizer", "share", *SHARE),
    ("TRIM", "poisoned_rate", *SHARE),
    ("TRIM", "starts", (1,), (0,)),
    ("TRIM", "steps", (1,), (0,)),
    ("TriggerUnlearning", "classes", (1,), (0,)),
    ("TriggerUnlearning", "epochs", (0,), (-1,)),
    ("TriggerUnlearning", "learning_rate", (TINY,), (0.0, math.inf)),
    ("TriggerUnlearning", "rows", (1,), (0,)),
    ("TriggerUnlearning", "share", *SHARE),
    ("TriggerUnlearning", "steps", (1,), (0,)),
    ("WeightScreen", "references", (0, 2), (-1, 1)),
    ("WeightScreen", "threshold", (TINY,), (0.0,)),
]


@pytest.mark.parametrize(("name", "field", "allowed", "refused"), RANGES, ids=[f"{row[0]}-{row[1]}" for row in RANGES])
def test_a_field_is_allowed_up_to_its_ends_and_no_further(name: str, field: str, allowed: Any, refused: Any) -> None:
    made = getattr(defences, name)
    for value in allowed:
        assert getattr(made(**{field: value}), field) == value
    for value in refused:
        with pytest.raises(PluginError):
            made(**{field: value})
