"""Examples of bringing one's own data, model or agent stay short."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
OWN = "agent_with_memory", "black_box", "frozen_base", "own_network", "own_table", "own_text", "targeted_poison"


@pytest.mark.parametrize("name", OWN)
def test_what_one_brings_oneself_needs_twelve_lines(name: str) -> None:
    lines = (line.strip() for line in (FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines())
    assert sum(bool(line) and not line.startswith('"""') for line in lines) <= 12
