"""`recommend`: the ranking is that of the numbers in the matrix, and a rule that cannot be used says why."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

import pytest

from antivenom.auditing import recommend as module
from antivenom.auditing.grid import label
from antivenom.auditing.recommend import assuming, interpolated, measured, recommend
from antivenom.cli import run
from antivenom.core.errors import ScenarioError
from antivenom.core.registry import describe


def mean(values: Any) -> float:
    return sum(values) / len(values)


def regret(row: Any) -> float:
    return max(mean(cell["values"]) for cell in row["harm"]) + max(mean(row["cost"]), 0)


def test_the_order_and_the_worst_attack_are_those_of_the_records() -> None:
    settings = [s for s in measured()["settings"] if not s["iid"] and s["malicious"] == s["assumed"] == 2]
    found = recommend(11, 2, root_data=True)
    by_data = {s["data"]: {row["label"]: row for row in s["defences"]} for s in settings}
    names = set(by_data["digits"])
    assert {choice.name for choice in found.choices} == names
    expected = {name: max(regret(rows[name]) for rows in by_data.values()) for name in names}
    assert [expected[choice.name] for choice in found.choices] == sorted(expected.values())
    for choice in found.choices:
        row = by_data[choice.data][choice.name]
        assert regret(row) == expected[choice.name]
        worst = max(row["harm"], key=lambda cell: mean(cell["values"]))
        assert (choice.attack, list(choice.seeds)) == (worst["attack"], worst["values"])
        assert worst["attack"] in choice.why
        assert choice.data in choice.why
        assert f"{len(choice.seeds)} seeds" in choice.why


def test_every_attack_of_a_grid_was_measured_against_every_rule() -> None:
    seeds, settings = len(measured()["seeds"]), measured()["settings"]
    for setting in settings:
        attacks = {tuple(cell["attack"] for cell in row["harm"]) for row in setting["defences"]}
        assert len(attacks) == 1
        assert (len(*attacks) >= 12) == (setting["malicious"] > 0)
        assert all(len(cell["values"]) == seeds for row in setting["defences"] for cell in row["harm"])
    documented = [s for s in settings if (s["data"], s["malicious"], s["assumed"]) == ("digits", 2, 2)]
    assert sorted(s["iid"] for s in documented) == [False, True]
    assert all(len(s["defences"]) == 13 for s in documented)


def grid(data: str, malicious: int, harms: dict[str, float], iid: bool = False, cost: float = 0.0) -> dict[str, Any]:
    """A setting in which the rules, by name, were harmed so by one attack."""
    attack = [{"attack": "SignFlip", "goal": "availability"}] if malicious else []
    rows = [
        {
            "defence": None if name == "none" else {"name": name},
            "label": name,
            "cost": [0.0 if name == "none" else cost] * 2,
            "harm": [cell | {"values": [harm, harm]} for cell in attack],
        }
        for name, harm in harms.items()
    ]
    own = {"data": data, "agents": 11, "malicious": malicious, "assumed": malicious, "iid": iid, "partition": "some"}
    return own | {"date": "today", "parameters": 2000, "defences": rows}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [
        grid("digits", 0, {"none": 0.0, "Median": 0.0, "GeometricMedian": 0.0}, cost=-0.01),
        grid("digits", 2, {"none": 0.9, "Median": 0.1, "GeometricMedian": 0.2}),
        grid("spambase", 2, {"none": 0.5, "Median": 0.3, "GeometricMedian": 0.1}),
        grid("digits", 4, {"none": 1.0, "Median": 0.6}),
        grid("digits", 4, {"none": 1.0, "Median": 0.0}) | {"assumed": 2},
        grid("digits", 2, {"none": 0.4, "Median": 0.0}, iid=True),
    ]
    points = [[n, d, 0.001] for n in (11, 55) for d in (10_000, 1_000_000)]
    seconds = [{"defence": {"name": "Median"}, "label": "Median", "points": points}]
    made = {"seeds": [0, 1], "settings": settings, "seconds": seconds}
    monkeypatch.setattr(module, "measured", lambda: made)
    monkeypatch.setattr(module, "stored_needs", lambda: [(need["rule"], need) for need in module.current_needs()])


@pytest.mark.usefixtures("small")
def test_a_rule_counts_by_the_data_set_on_which_it_did_worst() -> None:
    found = recommend(11, 2)
    assert [(c.name, c.harm, c.data) for c in found.choices] == [
        ("GeometricMedian", 0.2, "digits"),
        ("Median", 0.3, "spambase"),
        ("none", 0.9, "digits"),
    ]
    assert "digits and spambase: 2 of 11" in found.basis
    assert found.cautions == ()


@pytest.mark.usefixtures("small")
def test_the_next_larger_share_with_a_right_f_counts() -> None:
    found = recommend(12, 3)
    assert [(c.name, c.harm) for c in found.choices] == [("Median", 0.6), ("none", 1.0)]
    assert "4 of 11 agents malicious and f = 4" in found.basis
    assert found.refused == (("GeometricMedian", "not measured with 4 of 11 agents malicious"),)
    assert recommend(12, 3, iid=True).choices[0].harm == 0.0  # only 2 of 11 was measured with equal shards


@pytest.mark.usefixtures("small")
def test_what_the_same_rule_left_of_more_malicious_agents_is_said() -> None:
    by_name = {choice.name: choice.why for choice in recommend(11, 2, goal="availability").choices}
    assert by_name["none"].endswith("; if 4 of 11 were malicious 1.00 by SignFlip")
    assert "were malicious" not in by_name["GeometricMedian"]  # not measured with more
    assert all("were malicious" not in choice.why for choice in recommend(11, 4).choices)  # nor more than that
    assert all("were malicious" not in choice.why for choice in recommend(11, 0).choices)


@pytest.mark.usefixtures("small")
def test_without_malicious_agents_only_the_cost_counts_and_the_mean_is_first_of_equals() -> None:
    found = recommend(11, 0)
    assert [(c.name, c.harm, c.attack) for c in found.choices] == [
        ("none", 0.0, "none"),
        ("Median", 0.0, "none"),
        ("GeometricMedian", 0.0, "none"),
    ]
    assert found.choices[1].why == "without attack +0.010 accuracy on digits"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("asked", "caution"),
    [
        ({"n": 11, "f": 5}, "5 of 11 is a larger share than any measured, 4 of 11: expect worse"),
        ({"n": 20, "f": 2}, "2 of 20 was not measured; these are the harms of a larger share, 2 of 11"),
        ({"n": 23, "f": 4}, "23 agents are far from the 11 that were measured"),
        ({"n": 5, "f": 0}, "5 agents are far from the 11"),
        ({"n": 11, "f": 2, "d": 20_001}, "20,001 parameters are far from the 2,000 and 2,000 of the measured networks"),
        ({"n": 11, "f": 2, "d": 9_999}, "seconds were measured for 11 to 55 agents and 10,000 to 1,000,000 parameters"),
        ({"n": 11, "f": 4}, "measured on one data set only, digits"),
    ],
)
def test_what_is_far_from_the_measured_is_said(asked: dict[str, Any], caution: str) -> None:
    assert any(caution in line for line in recommend(**asked).cautions)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("asked", [{"n": 11, "f": 2}, {"n": 22, "f": 4}, {"n": 12, "f": 2, "d": 20_000}])
def test_what_is_near_is_not(asked: dict[str, Any]) -> None:
    assert recommend(**asked).cautions == ()


def test_a_rule_that_cannot_be_used_says_why() -> None:
    refused = dict(recommend(12, 3).refused)
    assert "root rows" in refused["FLTrust"]
    assert "n >= 4f + 3" in refused["Bulyan(f=3)"]
    assert "Bulyan(f=3)" not in [name for name, reason in recommend(15, 3).refused if "4f + 3" in reason]
    assert "asked for 300 rows" in dict(recommend(5000, 1500).refused)["Bulyan(f=1500)"]  # in no time
    assert "FLTrust" in [choice.name for choice in recommend(11, 2, root_data=True).choices]


def test_f_reaches_every_rule_that_assumes_one() -> None:
    def assumed(spec: Any) -> list[int]:
        if isinstance(spec, dict):
            return [v for key, value in spec.items() for v in ([value] if key == "f" else assumed(value))]
        return [v for item in spec for v in assumed(item)] if isinstance(spec, list) else []

    found = [f for c in recommend(30, 5).choices if c.rule is not None for f in assumed(describe(c.rule))]
    assert len(found) >= 6  # the chain holds two
    assert set(found) == {5}
    assert assuming({"name": "X", "f": 1, "rules": [{"f": 2, "tau": 3}]}, 7) == {
        "name": "X",
        "f": 7,
        "rules": [{"f": 7, "tau": 3}],
    }


@pytest.mark.parametrize("f", [0, 1, 2, 3, 5])
def test_names_are_the_labels_of_the_rules(f: int) -> None:
    for choice in recommend(40, f, root_data=True).choices:
        assert choice.name == label(choice.rule)


@pytest.mark.parametrize(("n", "f"), [(1, 1), (2, 1), (10, 5), (11, 6), (12, 12)])
@pytest.mark.parametrize("options", [{}, {"root_data": True}, {"iid": True}, {"goal": "backdoor"}], ids=str)
def test_half_or_more_malicious_leave_no_rule(n: int, f: int, options: dict[str, Any]) -> None:
    found = recommend(n, f, **options)
    assert found.choices == ()
    assert found.no_rule == f"{f} of {n} updates may be malicious: no rule withstands half or more (breakdown point)"
    assert {reason for _, reason in found.refused} == {found.no_rule}


@pytest.mark.parametrize(("n", "f"), [(1, 0), (3, 1), (11, 5), (12, 5)])
def test_below_one_half_there_are_rules(n: int, f: int) -> None:
    found = recommend(n, f)
    assert found.no_rule is None
    assert len(found.choices) > 1


def test_if_only_the_plain_mean_is_left_no_rule_is_recommended() -> None:
    found = recommend(20, 4, 1_000_000, budget=1e-9)
    assert [choice.name for choice in found.choices if choice.rule is not None] == []
    assert found.no_rule == "every measured rule is refused, and the plain mean withstands no malicious agent"
    assert recommend(20, 0, 1_000_000, budget=1e-9).no_rule is None


def test_a_goal_without_data_is_refused() -> None:
    with pytest.raises(ScenarioError, match="expected a goal that was measured: availability, backdoor, targeted, got"):
        recommend(11, 2, goal="privacy")


@pytest.mark.usefixtures("small")
def test_a_rule_without_data_for_the_goal_in_its_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = copy.deepcopy(module.measured())
    for setting in matrix["settings"]:
        for row in setting["defences"]:
            if row["label"] == "Median":
                row["harm"] = [cell for cell in row["harm"] if cell["goal"] != "availability"]
    monkeypatch.setattr(module, "measured", lambda: matrix)
    found = recommend(11, 2, goal="availability")
    assert "Median" not in [choice.name for choice in found.choices]
    assert "not measured against availability attacks" in dict(found.refused)["Median"]


def test_no_rule_is_printed_and_nothing_imports_torch() -> None:
    code = (
        "import sys\nfrom antivenom.cli import run\n"
        "for asked in (['6'], ['3'], ['3', '--json']):\n"
        "    assert run(['recommend', '--agents', '12', '--malicious', *asked]) == 0\n"
        "    assert not {'torch', 'numba', 'scipy', 'sklearn'} & set(sys.modules)\n"
        "    print('next')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = done.stdout.split("next\n")
    assert len(said) == 4
    for text, first in zip(said, ("NO RULE: 6 of 12", "    harm  cost", ' "choices": ['), strict=False):
        assert any(line.startswith(first) for line in text.splitlines())


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
    assert not any("larger share" in caution for caution in recommend(11, 2).cautions)
    assert any("larger share than any" in caution for caution in recommend(11, 5).cautions)


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
    best, *_ = recommend(12, 2).choices
    assert best.name in next(line for line in lines if line.startswith("  1 "))
    assert any(line.startswith("not FLTrust") for line in lines)
    assert any(" Mean" in line for line in lines)
    assert run(["recommend", "--agents", "12", "--malicious", "2", "--root-data", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [choice["name"] for choice in document["choices"]] == [
        choice.name for choice in recommend(12, 2, root_data=True).choices
    ]
    assert document["cautions"] == list(recommend(12, 2, root_data=True).cautions)
    assert run(["recommend", "--agents", "500", "--malicious", "90"]) == 0
    assert capsys.readouterr().out.startswith("CAUTION: 500 agents are far from the 11")
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
