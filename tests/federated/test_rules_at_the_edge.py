"""Rules at the edges of what their fields allow, and at the fewest updates that they serve; the tables are by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from antivenom import federated
from antivenom.core.errors import PluginError

RANGES = [  # rule, field, least and largest value that are allowed
    ("Bulyan", "f", 0, math.inf),
    ("CAF", "f", 0, math.inf),
    ("CGE", "f", 0, math.inf),
    ("CappedMean", "f", 0, math.inf),
    ("DnC", "f", 0, math.inf),
    ("Krum", "f", 0, math.inf),
    ("MDA", "f", 0, math.inf),
    ("Meamed", "f", 0, math.inf),
    ("MoNNA", "f", 0, math.inf),
    ("MultiKrum", "f", 0, math.inf),
    ("SLSGD", "f", 0, math.inf),
    ("SMEA", "f", 0, math.inf),
    ("TrimmedMean", "f", 0, math.inf),
    ("Auror", "alpha", 0.0, math.inf),
    ("Auror", "tau", 0.0, 1.0),
    ("CenteredClipping", "steps", 1, math.inf),
    ("CenteredClipping", "tau", 0.0, math.inf),
    ("DeepSight", "repeats", 1, math.inf),
    ("DeepSight", "samples", 1, math.inf),
    ("DeepSight", "tau", 0.0, 1.0),
    ("DnC", "c", 0.0, math.inf),
    ("DnC", "coordinates", 1, math.inf),
    ("DnC", "repeats", 1, math.inf),
    ("FLAME", "noise", 0.0, math.inf),
    ("GeometricMedian", "most_steps", 1, math.inf),
    ("GeometricMedian", "nu", 0.0, 1.0),
    ("GeometricMedian", "tolerance", 0.0, 1.0),
    ("LASA", "norm_bound", 0.0, math.inf),
    ("LASA", "sign_bound", 0.0, math.inf),
    ("LASA", "sparsity", 0.0, 1.0),
    ("MoNNA", "trusted", 0, math.inf),
    ("MultiKrum", "m", 1, math.inf),
    ("RLR", "threshold", 0, math.inf),
    ("SLSGD", "alpha", 0.0, 1.0),
    ("SignGuard", "lower", 0.0, 1.0),
    ("SignGuard", "share", 0.0, 1.0),
    ("SignGuard", "upper", 1.0, math.inf),
    ("WBC", "scale", 0.0, math.inf),
]
FEWEST = {  # rule -> (a, b): it needs a f + b updates
    "Bulyan": (4, 3),
    "CAF": (2, 1),
    "CGE": (2, 1),
    "CappedMean": (1, 1),
    "DnC": (2, 1),
    "Krum": (2, 3),
    "MDA": (2, 1),
    "Meamed": (2, 1),
    "MoNNA": (2, 1),
    "MultiKrum": (2, 3),
    "SLSGD": (2, 1),
    "SMEA": (2, 1),
    "TrimmedMean": (2, 1),
}


@pytest.mark.parametrize(
    ("name", "field", "least", "most"), RANGES, ids=[f"{rule}-{field}" for rule, field, *_ in RANGES]
)
def test_a_field_is_allowed_up_to_its_ends_and_no_further(name: str, field: str, least: Any, most: Any) -> None:
    rule, step = getattr(federated, name), 1 if isinstance(least, int) else 1e-6
    for allowed in (least, most):
        if allowed < math.inf:
            rule(**{field: allowed})
    for refused in (least - step, most + step):
        if refused < math.inf:
            with pytest.raises(PluginError, match=f"{name}.{field} "):
                rule(**{field: refused})


@pytest.mark.parametrize("f", [0, 1, 2])
@pytest.mark.parametrize("name", FEWEST)
def test_the_fewest_updates_are_enough_and_one_less_is_not(name: str, f: int) -> None:
    a, b = FEWEST[name]
    rule = getattr(federated, name)(f=f, **({"trusted": 0} if name == "MoNNA" else {}))
    updates = torch.randn(a * f + b, 4, generator=torch.Generator().manual_seed(f), dtype=torch.float64)
    assert rule(updates).shape == (4,)
    if len(updates) > 1:
        with pytest.raises(PluginError, match=f"for {name} with f = {f}, got n = {len(updates) - 1}"):
            rule(updates[1:])


def test_capped_mean_takes_a_share_above_0_up_to_1() -> None:
    assert federated.CappedMean(share=1.0).share == 1
    for share in (0.0, 1.0 + 1e-6):
        with pytest.raises(PluginError, match=r"CappedMean\.share"):
            federated.CappedMean(share=share)
