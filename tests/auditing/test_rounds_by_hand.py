"""What the figures of the rounds draw, from records made by hand: means, bands and the table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from antivenom.auditing.report import rounds as module
from antivenom.auditing.results import State
from antivenom.core.goals import BACKDOOR


def cell(attack: str, defence: str, state: State, *curves: list[float | None]) -> Any:
    """A cell with one record for each seed, of which the curve of the attack success rate is given."""
    records = [{"curves": {"asr": curve, "accuracy": [0.9] * 3}} for curve in curves]
    named = {"group": "g", "kind": "federated", "attack": attack, "defence": defence, "limit": 0.2, "metric": BACKDOOR}
    judged = {"state": state, "harm": None, "records": records, "finished": len(records)}
    return SimpleNamespace(**named, **judged)


def test_the_first_line_has_a_band_over_the_seeds_and_the_others_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(module, "curves", lambda panels, name, title, said: drawn.append((panels, name, said)) or name)
    cells = [
        cell("A", "none", State.BREACHED, [0.1, 0.4, 0.8], [0.3, 0.6, None]),
        cell("A", "D", State.HELD, [0.0, 0.1, 0.1], [0.2, 0.3, 0.1]),
        cell("B", "none", State.INCONCLUSIVE, [0.0, 0.0, 0.0]),
    ]
    plan = {"curves": {"federated": {"charts": [], "table": []}}}
    found = module.rounds(SimpleNamespace(attacks=cells, plan=plan))
    assert [one["title"] for one in found["shown"]] == ["A in g, round by round", "B in g, round by round"]
    (panel,), name, said = drawn[0]
    assert (name, said.split(";")[0]) == ("rounds0", "Attack success rate ends at 80% without defence")
    bare, defended = panel.lines
    assert [bare.name, defended.name] == ["no defence", "D"]
    assert bare.mean == pytest.approx([0.2, 0.5, 0.8])
    assert (bare.low, bare.high) == ([0.1, 0.4, 0.8], [0.3, 0.6, 0.8])
    assert defended.mean == pytest.approx([0.1, 0.2, 0.1])
    assert (defended.low, defended.high) == (None, None)
    assert found["shown"][0]["heads"] == ["attack success rate"]
    assert found["shown"][0]["rows"] == [("20%",), ("50%",), ("80%",)]
