"""The settings of a scenario file at the edges of what they may be; the tables are by hand."""

from __future__ import annotations

import pytest

from antivenom.auditing.plan import plan_of
from antivenom.auditing.settings import _LONGEST, MOST_SEEDS
from antivenom.core.errors import ScenarioError

TEXT = """
version: 1
scenarios:
  - kind: central
    goal: availability
    attacks: [LabelFlip]
"""
ALLOWED = [
    "seeds: 1",
    "seeds: [0]",
    "limits: {availability: 0}",
    "limits: {availability: 1}",
    "fail_if: {availability: 1}",
    "timeout: 0.001",
    f"timeout: {_LONGEST}",
    "seeds: {first: 1, most: 1}",
    "seeds: {first: 3, most: 3, trials: 6, confirm: 0}",
    f"seeds: {{first: 1, most: {MOST_SEEDS}, confirm: {MOST_SEEDS}}}",
]
REFUSED = [
    "seeds: 0",
    "seeds: true",
    "limits: {availability: -0.001}",
    "limits: {availability: 1.001}",
    "limits: {availability: true}",
    "limits: {availability: half}",
    "limits: [availability]",
    "fail_if: {speed: 0.1}",
    "timeout: 0",
    "timeout: true",
    "timeout: soon",
    f"timeout: {_LONGEST + 1}",
    "seeds: {first: 0, most: 3}",
    "seeds: {first: 3, most: 2}",
    "seeds: {first: 1.0, most: 3}",
    "seeds: {first: 1, most: 3, trials: 0}",
    "seeds: {first: 3, most: 3, trials: 5}",
    "seeds: {first: 1, most: 3, trials: 2.5}",
    "seeds: {first: 1, most: 3, confirm: -1}",
    "seeds: {first: 1, most: 3, confirm: true}",
    f"seeds: {{first: 1, most: 3, confirm: {MOST_SEEDS + 1}}}",
    f"seeds: {{first: 1, most: {MOST_SEEDS + 1}}}",
    "claim: words",
]


@pytest.mark.parametrize("line", ALLOWED, ids=range(len(ALLOWED)))
def test_allowed(line: str) -> None:
    assert plan_of(f"{TEXT}{line}\n", "a.yaml").cells


@pytest.mark.parametrize("line", REFUSED, ids=range(len(REFUSED)))
def test_refused_with_the_name_of_the_field(line: str) -> None:
    with pytest.raises(ScenarioError, match=line.split(":")[0]):
        plan_of(f"{TEXT}{line}\n", "a.yaml")
