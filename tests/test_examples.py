"""Examples of bringing one's own data and model stay short."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("name", ["own_table", "own_text"])
def test_what_one_brings_oneself_needs_twelve_lines(name: str) -> None:
    lines = (FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()[1:]
    assert sum(bool(line.strip()) for line in lines) <= 12
