"""`recommend`: the ranking is that of the numbers in the matrix, and a rule that cannot be used says why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from antivenom.audit.recommend import assuming, interpolated, measured, recommend
from antivenom.cli import run
from antivenom.errors import ScenarioError
from antivenom.registry import describe


def mean(values: Any) -> float:
    return sum(values) / len(values)


def test_the_order_and_the_worst_attack_are_those_of_the_records() -> None:
    setting = next(s for s in measured()["settings"] if not s["iid"])
    found = recommend(11, 2, root_data=True)
    by_label = {row["label"]: row for row in setting["defences"]}
    assert {choice.name for choice in found.choices} == set(by_label)
    expected = {
        name: max(mean(cell["values"]) for cell in row["harm"]) + max(mean(row["cost"]), 0)
        for name, row in by_label.items()
    }
    assert [choice.name for choice in found.choices] == sorted(by_label, key=expected.__getitem__)
    for choice in found.choices:
        worst = max(by_label[choice.name]["harm"], key=lambda cell: mean(cell["values"]))
        assert (choice.attack, list(choice.seeds)) == (worst["attack"], worst["values"])
        assert worst["attack"] in choice.why
        assert f"{len(choice.seeds)} seeds" in choice.why


@pytest.mark.parametrize("iid", [False, True])
def test_every_attack_of_the_matrix_was_measured_against_every_rule(iid: bool) -> None:
    setting = next(s for s in measured()["settings"] if s["iid"] == iid)
    assert len(setting["defences"]) == 13
    attacks = {tuple(cell["attack"] for cell in row["harm"]) for row in setting["defences"]}
    assert [len(names) for names in attacks] == [12]
    seeds = len(measured()["seeds"])
    assert all(len(cell["values"]) == seeds for row in setting["defences"] for cell in row["harm"])


def test_a_rule_that_cannot_be_used_says_why() -> None:
    refused = dict(recommend(12, 3).refused)
    assert "root rows" in refused["FLTrust"]
    assert "n >= 4f + 3" in refused["Bulyan(f=3)"]
    assert set(dict(recommend(15, 3).refused)) == {"FLTrust"}
    assert "asked for 300 rows" in dict(recommend(5000, 1500).refused)["Bulyan(f=1500)"]  # in no time
    assert "FLTrust" in [choice.name for choice in recommend(15, 3, root_data=True).choices]


def test_f_reaches_every_rule_that_assumes_one() -> None:
    def assumed(spec: Any) -> list[int]:
        if isinstance(spec, dict):
            return [v for key, value in spec.items() for v in ([value] if key == "f" else assumed(value))]
        return [v for item in spec for v in assumed(item)] if isinstance(spec, list) else []

    found = [f for c in recommend(30, 4).choices if c.rule is not None for f in assumed(describe(c.rule))]
    assert len(found) >= 6  # the chain holds two
    assert set(found) == {4}
    assert assuming({"name": "X", "f": 1, "rules": [{"f": 2, "tau": 3}]}, 7) == {
        "name": "X",
        "f": 7,
        "rules": [{"f": 7, "tau": 3}],
    }


def test_seconds_between_the_measured_sizes() -> None:
    points = [[n, d, 1e-9 * n**2 * d] for n in (10, 50) for d in (10_000, 1_000_000)]
    assert interpolated(points, 20, 100_000) == pytest.approx(1e-9 * 400 * 100_000)
    assert interpolated(points, 100, 10_000_000) == pytest.approx(1e-9 * 10_000 * 10_000_000)
    assert interpolated(points, 20, None) is None
    assert interpolated([], 20, 100) is None


def test_the_budget_leaves_the_slow_ones_out() -> None:
    everything = recommend(20, 4, 1_000_000)
    times = sorted(choice.seconds for choice in everything.choices if choice.seconds is not None)
    middle = times[len(times) // 2]
    fast = recommend(20, 4, 1_000_000, budget=middle)
    assert {c.name for c in fast.choices} == {
        c.name for c in everything.choices if c.seconds is None or c.seconds <= middle
    }
    assert any("per round" in reason for _, reason in fast.refused)


def test_one_goal_is_no_worse_than_all_and_a_larger_share_is_said() -> None:
    overall = {choice.name: choice.harm for choice in recommend(11, 2).choices}
    for goal in ("availability", "backdoor", "targeted"):
        for choice in recommend(11, 2, goal=goal).choices:
            assert choice.harm <= overall[choice.name] + 1e-12
    assert "larger share" not in recommend(11, 2).basis
    assert "larger share" in recommend(11, 4).basis


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0, "f": 0}, "n >= 1"),
        ({"n": 5, "f": 6}, "f = 6"),
        ({"n": 5, "f": 1, "d": 0}, "d >= 1"),
        ({"n": 5, "f": 1, "budget": 1.0}, "budget"),
        ({"n": 5, "f": 1, "d": 5, "budget": 0.0}, "budget"),
        ({"n": 5, "f": 1, "goal": "backdor"}, "backdoor"),
    ],
)
def test_mistakes(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        recommend(**arguments)


def test_the_command(capsys) -> None:
    assert run(["recommend", "--agents", "12", "--malicious", "2", "--top", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    best = recommend(12, 2).choices[0]
    assert best.name in lines[1]
    assert any(line.startswith("not FLTrust") for line in lines)
    assert any(" Mean" in line for line in lines)
    assert run(["recommend", "--agents", "12", "--malicious", "2", "--root-data", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [choice["name"] for choice in document["choices"]] == [
        choice.name for choice in recommend(12, 2, root_data=True).choices
    ]
    assert run(["recommend", "--agents", "2", "--malicious", "3"]) == 4
    assert capsys.readouterr().err.count("\n") == 1


def test_list_by_kind_tells_access_and_reference(capsys) -> None:
    assert run(["list", "--kind", "detector"]) == 0
    out = capsys.readouterr().out
    assert {"FLDetector", "FLANDERS", "LeaveOneOut", "NormBound"} <= set(out.split())
    assert "logic-corruption; Zhang et al. 2022" in out
    assert "Krum" not in out
    assert run(["list", "--kind", "reducr"]) == 4
    assert "reducer" in capsys.readouterr().err
