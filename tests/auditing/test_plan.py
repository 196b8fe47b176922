"""Scenario files: grids, and messages that name line, field and the nearest right name."""

from __future__ import annotations

import json

import pytest

from antivenom.auditing.grid import label
from antivenom.auditing.plan import embedded, plan_of, read_plan
from antivenom.auditing.trial import Trial, key_of
from antivenom.core.errors import AntivenomError, ScenarioError
from antivenom.federated import AlternatingMinimization, BenignEstimation, ExplicitBoosting, Krum

SMALL = """
version: 1
name: small
seeds: 2
scenarios:
  - kind: federated
    name: ten
    federation: {rounds: 2, training: {epochs: 1}}
    attacks: [ExplicitBoosting, {name: AlternatingMinimization, epochs: 1}]
    defences: [{name: Krum, f: 1}, Median]
    deployed: Krum
"""


def test_cells_are_clean_twins_and_attacks_times_defences() -> None:
    plan = plan_of(SMALL, "small.yaml")
    pairs = [(label(cell.attack), label(cell.defence)) for cell in plan.cells]
    attacks = ["none", "ExplicitBoosting", "AlternatingMinimization(epochs=1)"]
    assert pairs == [(a, d) for a in attacks for d in ("none", "Krum", "Median")]
    assert [cell.deployed for cell in plan.cells] == [False, True, False] * 3
    assert {cell.level for cell in plan.cells} == {"federated"}
    assert len(list(plan.trials())) == 18
    assert [t.seed for t in plan.trials()] == [0] * 9 + [1] * 9


def test_lists_are_axes_also_inside_plugins_and_nested_fields() -> None:
    text = SMALL.replace("rounds: 2", "rounds: [2, 3]").replace("epochs: 1}]", "epochs: [1, 2], boost: [null, 5]}]")
    plan = plan_of(text, "grid.yaml")
    assert {cell.group for cell in plan.cells} == {"ten [rounds=2]", "ten [rounds=3]"}
    attacks = [label(c.attack) for c in plan.cells if c.group == "ten [rounds=3]" and c.defence is None]
    assert attacks == [
        "none",
        "ExplicitBoosting",
        "AlternatingMinimization(epochs=1)",
        "AlternatingMinimization(epochs=1, boost=5.0)",
        "AlternatingMinimization(epochs=2)",
        "AlternatingMinimization(epochs=2, boost=5.0)",
    ]


def test_a_field_that_holds_several_numbers_is_an_axis_only_when_its_items_are_lists() -> None:
    one = plan_of(SMALL.replace("name: ten", "name: ten\n    model: {name: MLP, hidden: [8, 4]}"), "x.yaml")
    assert one.cells[0].scenario.model.hidden == (8, 4)
    two = plan_of(SMALL.replace("name: ten", "name: ten\n    model: {name: MLP, hidden: [[8], [4, 4]]}"), "x.yaml")
    assert {cell.scenario.model.hidden for cell in two.cells} == {(8,), (4, 4)}


def test_nested_plugins_are_built_and_labelled() -> None:
    text = SMALL.replace(
        "attacks: [ExplicitBoosting, ",
        "attacks: [{name: BenignEstimation, agent: {name: ExplicitBoosting, steps: 3}}, ",
    )
    attack = plan_of(text, "x.yaml").cells[3].attack
    assert attack == BenignEstimation(ExplicitBoosting(steps=3))
    assert label(attack) == "BenignEstimation(ExplicitBoosting(steps=3))"


def test_the_key_depends_on_the_specification_and_nothing_else() -> None:
    trials = list(plan_of(SMALL, "a.yaml").trials())
    assert len({t.key for t in trials}) == len(trials)
    for trial in trials[:4]:
        spec = json.loads(json.dumps(trial.spec))
        assert Trial.from_spec(spec) == trial
        assert key_of(dict(reversed(spec.items()))) == trial.key
    reordered = SMALL.replace("[{name: Krum, f: 1}, Median]", "[Median, {f: 1, name: Krum}]").replace(
        "name: ten", "name: other"
    )
    assert {t.key for t in plan_of(reordered, "b.yaml").trials()} == {t.key for t in trials}


def test_changing_one_field_changes_only_its_trials() -> None:
    before = {t.key for t in plan_of(SMALL, "a.yaml").trials()}
    after = {t.key for t in plan_of(SMALL.replace("epochs: 1}]", "epochs: 2}]"), "a.yaml").trials()}
    assert len(before & after) == 12  # the clean twins and ExplicitBoosting: 2 attacks x 3 defences x 2 seeds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("ExplicitBoosting,", "ExplicitBosting,"),
            "bad.yaml line 9, scenarios[0].attacks[0]: expected the name of a ",
        ),
        (("ExplicitBoosting,", "ExplicitBosting,"), "did you mean 'ExplicitBoosting'?"),
        (
            ("epochs: 1}]", "epoch: 1}]"),
            "bad.yaml line 9, scenarios[0].attacks[1].epoch: expected a field of AlternatingMinimization",
        ),
        (("epochs: 1}]", "epoch: 1}]"), "did you mean 'epochs'?"),
        (("epochs: 1}]", "epochs: many}]"), "scenarios[0].attacks[1].epochs: expected a valid"),
        (
            ("{name: Krum, f: 1}", "{name: Krum, f: x}"),
            "bad.yaml line 10, scenarios[0].defences[0].f: expected a valid",
        ),
        (("rounds: 2", "runds: 2"), "bad.yaml line 8, scenarios[0].federation.runds: expected a field of Federation"),
        (
            ("rounds: 2", "rounds: 0"),
            "bad.yaml line 8, scenarios[0].federation: expected num_agents >= 1 and rounds >= 1",
        ),
        (
            ("rounds: 2", "num_malicious: 11"),
            "expected num_malicious from 0 to num_agents = 10, got 11: lower num_malicious",
        ),
        (
            ("name: ten", "wanted: {name: FromTo, source: 3, target: 3}"),
            "expected FromTo.source and target that differ",
        ),
        (
            ("kind: federated", "kind: federal"),
            "bad.yaml line 6, scenarios[0].kind: expected the name of a scenario, got 'federal': did you mean 'federated'?",
        ),
        (("kind: federated", "knd: federated"), "expected `kind` in the scenario"),
        (("deployed: Krum", "deployed: Krumm"), "bad.yaml line 11, scenarios[0].deployed: expected deployed"),
        (("deployed: Krum", "deployd: Krum"), "did you mean 'deployed'?"),
        (("seeds: 2", "seeds: none"), "bad.yaml line 4, seeds: expected seeds"),
        (("seeds: 2", "seeds: [1, 1]"), "bad.yaml line 4, seeds: expected seeds"),
        (
            ("seeds: 2", "seedz: 2"),
            "bad.yaml line 4, seedz: expected a known field, got 'seedz': did you mean 'seeds'?",
        ),
        (("version: 1", "version: 7"), "bad.yaml line 2, version: expected version: 1, got 7"),
        (("name: small", "fail_if: {backdor: 0.1}"), "bad.yaml line 3, fail_if.backdor: expected a goal"),
        (("name: small", "fail_if: {backdoor: 20}"), "bad.yaml line 3, fail_if.backdoor: expected a share from 0 to 1"),
        (("name: small", "timeout: -1"), "bad.yaml line 3, timeout: expected timeout: seconds > 0"),
        (("seeds: 2", "seeds: 2\nseeds: 3"), "bad.yaml line 5, seeds: expected each field once"),
        (("seeds: 2", "seeds: [2"), "bad.yaml line"),
        (("ExplicitBoosting,", "Krum,"), "scenarios[0].attacks[0]: expected the name of a"),
    ],
)
def test_mistakes_are_one_line_that_names_the_place(change: tuple[str, str], message: str) -> None:
    text = SMALL.replace(*change)
    assert text != SMALL
    with pytest.raises(AntivenomError) as caught:
        plan_of(text, "bad.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "scenarios: []", "scenarios: 3", "a: &a [*a]"])
def test_files_that_ask_for_nothing_are_one_line(text: str) -> None:
    with pytest.raises(AntivenomError) as caught:
        plan_of(text, "bad.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line() -> None:
    with pytest.raises(ScenarioError, match="antivenom init writes one"):
        read_plan("no/such/file.yaml")


def test_the_embedded_scenario_covers_every_access_level_and_the_federation() -> None:
    plan = plan_of(embedded(), "digits.yaml")
    assert {cell.level for cell in plan.cells} == {
        "logic-corruption",
        "data-manipulation",
        "data-injection",
        "transfer-learning",
        "federated",
    }


def test_limits_and_thresholds() -> None:
    plan = plan_of(SMALL.replace("name: small", "name: small\nfail_if: {targeted: 0.3}"), "x.yaml")
    assert plan.fail_if == {"targeted": 0.3}
    assert plan.limits == {"availability": 0.1, "targeted": 0.3, "backdoor": 0.2, "privacy": 0.1}


def test_labels_show_what_differs_from_the_defaults() -> None:
    assert label(Krum()) == "Krum"
    assert label(Krum(f=2, squared=False)) == "Krum(f=2, squared=False)"
    assert label(AlternatingMinimization(centre="none")) == "AlternatingMinimization(centre=none)"  # type: ignore[arg-type]
    assert label(None) == "none"
