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
    ("ActivationClustering", "components", (1,), (0,)),
    ("ActivationClustering", "max_share", (0.0, 0.5), (-TINY, 0.5 + TINY)),
    ("ActivationClustering", "min_silhouette", (-1.0, 1.0), (-1 - TINY, 1 + TINY)),
    ("AdversaryAwareNaiveBayes", "add_cost", (TINY,), (0.0, math.inf)),
    ("AdversaryAwareNaiveBayes", "smoothing", (TINY,), (0.0, math.inf)),
    ("AdversaryAwareNaiveBayes", "utility", (TINY,), (0.0, math.inf)),
    ("Beatrix", "share", *SHARE),
    ("CognitiveDistillation", "learning_rate", (TINY,), (0.0, math.inf)),
    ("CognitiveDistillation", "share", *SHARE),
    ("CognitiveDistillation", "size", (0.0,), (-TINY, math.inf)),
    ("CognitiveDistillation", "smoothness", (0.0,), (-TINY, math.inf)),
    ("CognitiveDistillation", "steps", (1,), (0,)),
    ("ConfusionTraining", "epochs", (1,), (0,)),
    ("ConfusionTraining", "kept", (TINY, 1.0), (0.0, 1 + TINY)),
    ("ConfusionTraining", "rounds", (1,), (0,)),
    ("ConfusionTraining", "share", *SHARE),
    ("ConfusionTraining", "weight", (TINY,), (0.0,)),
    ("DeepKNN", "k", (1,), (0,)),
    ("DynamicThresholds", "g", (0.0, 0.5 - TINY), (-TINY, 0.5)),
    ("FinePruning", "epochs", (0,), (-1,)),
    ("FinePruning", "max_drop", *SHARE),
    ("KNNDistanceSanitizer", "share", *SHARE),
    ("KNNSanitizer", "agreement", (TINY, 1.0), (0.0, 1 + TINY)),
    ("KNNSanitizer", "k", (1,), (0,)),
    ("LinearProbe", "alpha", (TINY, 1 - TINY), (0.0, 1.0)),
    ("LinearProbe", "folds", (2,), (1,)),
    ("LinearProbe", "min_separability", *SHARE),
    ("LinearProbe", "min_share", *SHARE),
    ("LinearProbe", "penalty", (TINY,), (0.0,)),
    ("LossSanitizer", "share", *SHARE),
    ("Micromodels", "slices", (2,), (1,)),
    ("Micromodels", "threshold", (TINY, 1.0), (0.0, 1 + TINY)),
    ("NeuralCleanse", "penalty", (0.0,), (-TINY,)),
    ("NeuralCleanse", "rows", (1,), (0,)),
    ("NeuralCleanse", "steps", (1,), (0,)),
    ("NeuralCleanse", "threshold", (TINY,), (0.0,)),
    ("ProvenanceGroups", "deviations", (0.0,), (-TINY, math.inf)),
    ("ProvenanceGroups", "min_drop", *SHARE),
    ("ProvenanceGroups", "repeats", (1,), (0,)),
    ("RONI", "batch", (1,), (0,)),
    ("RONI", "deviations", (0.0,), (-TINY, math.inf)),
    ("RONI", "min_drop", *SHARE),
    ("RONI", "repeats", (1,), (0,)),
    ("RONI", "train_rows", (1,), (0,)),
    ("RONI", "validation_rows", (1,), (0,)),
    ("ReferenceDistance", "k", (1,), (0,)),
    ("ReferenceDistance", "share", *SHARE),
    ("SCAn", "components", (1,), (0,)),
    ("SCAn", "threshold", (TINY,), (0.0,)),
    ("SEVER", "rounds", (1,), (0,)),
    ("SEVER", "share", *SHARE),
    ("SPECTRE", "alpha", (0.0,), (-TINY,)),
    ("SPECTRE", "rounds", (1,), (0,)),
    ("SPECTRE", "share", *SHARE),
    ("STRIP", "false_rejection", *SHARE),
    ("STRIP", "overlays", (1,), (0,)),
    ("STRIP", "share", (TINY, 1 - TINY), (0.0, 1.0)),
    ("SVDSanitizer", "max_components", (1,), (0,)),
    ("SVDSanitizer", "residual", (TINY, 1 - TINY), (0.0, 1.0)),
    ("SVDSanitizer", "share", *SHARE),
    ("SlabSanitizer", "share", *SHARE),
    ("SpectralSignatures", "share", *SHARE),
    ("SphereSanitizer", "share", *SHARE),
    ("TRIM", "poisoned_rate", *SHARE),
    ("TRIM", "starts", (1,), (0,)),
    ("TRIM", "steps", (1,), (0,)),
]


@pytest.mark.parametrize(("name", "field", "allowed", "refused"), RANGES, ids=[f"{row[0]}-{row[1]}" for row in RANGES])
def test_a_field_is_allowed_up_to_its_ends_and_no_further(name: str, field: str, allowed: Any, refused: Any) -> None:
    made = getattr(defences, name)
    for value in allowed:
        assert getattr(made(**{field: value}), field) == value
    for value in refused:
        with pytest.raises(PluginError):
            made(**{field: value})
