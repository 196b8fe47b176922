"""More rows that are shown to do less harm are said so, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from antivenom.auditing.evidence import fall
from antivenom.auditing.report.budget import _least


@pytest.mark.parametrize(
    ("lows", "highs", "expected"),
    [
        ([0.0, 0.5, 0.1], [0.2, 0.7, 0.4], (1, 2)),
        ([0.0, 0.5, 0.1, 0.0], [0.2, 0.7, 0.4, 0.3], (1, 3)),  # the largest gap
        ([0.0, 0.3], [0.2, 0.6], None),
        ([0.4, 0.1], [0.6, 0.4], None),  # they touch
        ([0.4], [0.5], None),
        ([], [], None),
    ],
    ids=range(6),
)
def test_a_fall_beyond_the_bounds(lows: list[float], highs: list[float], expected: Any) -> None:
    assert fall(lows, highs) == expected


def test_the_page_says_that_more_rows_did_less_harm() -> None:
    curve = [
        {"rows": 8, "share": 0.08, "harm": 0.6, "low": 0.5, "high": 0.7, "seeds": 9},
        {"rows": 16, "share": 0.16, "harm": 0.2, "low": 0.1, "high": 0.4, "seeds": 9},
    ]
    smallest = {"rows": 8, "share": 0.08, "harm": 0.6}
    said = _least({"smallest": smallest, "curve": curve}, 0.2)
    assert said.endswith("More rows are not always worse: 16 did less harm (20%) than 8 (60%), beyond chance.")
    assert "not always" not in _least({"smallest": smallest, "curve": curve[:1]}, 0.2)
