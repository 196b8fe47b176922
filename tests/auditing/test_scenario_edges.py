"""Scenario files that are wrong, hostile or absurd end as one line with file, line and field, before anything runs."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import numpy as np
import pytest

from antivenom.auditing.checking import check
from antivenom.auditing.plan import embedded, plan_of, read_plan
from antivenom.auditing.trial import Trial
from antivenom.core.errors import AntivenomError, PluginError
from antivenom.core.registry import attack, describe, load_builtin, load_file
from antivenom.core.registry import entry as registry
from antivenom.data import Named

TOP = "version: 1\nseeds: 1\n"
CENTRAL = TOP + "scenarios:\n  - kind: central\n    data: digits\n    model: {name: MLP, hidden: [8]}\n"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


def with_line(line: str) -> str:
    """The central scenario with one more field of its own, in line 7."""
    return CENTRAL + f"    {line}\n"


CASES = {
    "an unknown data set": (
        CENTRAL.replace("digits", "digit"),
        "line 5, scenarios[0].data: ",
        "did you mean 'digits'?",
    ),
    "a deployed mapping": (
        with_line("defences: [KNNSanitizer]").rstrip("\n") + "\n    deployed: {name: Krum, f: 3}\n",
        "line 8, scenarios[0].deployed: expected deployed: none or the name of one of `defences`",
        "KNNSanitizer",
    ),
    "a deployed list": (with_line("deployed: [none]"), "line 7, scenarios[0].deployed: ", "choose from none"),
    "a gate on an absent goal": (
        CENTRAL.replace("seeds: 1", "fail_if: {privacy: 0.1}"),
        "line 2, fail_if.privacy: expected a goal of one of the scenarios",
        "backdoor",
    ),
    "an empty axis of an attack": (
        with_line("attacks: [{name: LabelFlipping, poisoned_rate: []}]"),
        "line 7, scenarios[0].attacks[0].poisoned_rate: ",
        "at least one value",
    ),
    "an empty axis of the scenario": (
        with_line("num_targets: []"),
        "line 7, scenarios[0].num_targets: ",
        "at least one",
    ),
    "a thousand million seeds": (
        CENTRAL.replace("seeds: 1", "seeds: 1000000000"),
        "line 2, seeds: expected seeds: ",
        "write seeds: 5",
    ),
    "a grid of a million cells": (
        with_line("train_rows: [" + ", ".join(map(str, range(100, 1100))) + "]")
        + "    clean_rows: ["
        + ", ".join(map(str, range(1000)))
        + "]\n",
        "scenarios[0]: expected at most ",
        "shorter lists",
    ),
    "more cells than an audit can run": (
        with_line("attacks: [{name: LabelFlipping, poisoned_rate: [" + ", ".join(["0.1"] * 1100) + "]}]")
        + "    defences: [{name: KNNSanitizer, k: ["
        + ", ".join(["3"] * 1100)
        + "]}]\n",
        "line 4, scenarios[0]: expected at most ",
        "shorter lists",
    ),
    "a time limit that is no number": (
        CENTRAL.replace("seeds: 1", "timeout: .nan"),
        "line 2, timeout: ",
        "timeout: 600",
    ),
    "a time limit without end": (CENTRAL.replace("seeds: 1", "timeout: .inf"), "line 2, timeout: ", "timeout: 600"),
    "a time limit of 400 digits": (
        CENTRAL.replace("seeds: 1", f"timeout: {'9' * 400}"),
        "line 2, timeout: ",
        "at most 18 digits",
    ),
    "a share that is no number": (
        CENTRAL.replace("seeds: 1", "limits: {backdoor: .nan}"),
        "line 2, limits.backdoor: ",
        "",
    ),
    "a billion laughs": (BOMB + CENTRAL, "expected at most ", "aliases"),
    "nesting of 5,000 lists": (
        "a: " + "[" * 5000 + "]" * 5000 + "\n" + CENTRAL,
        "line 1: expected at most 20 levels",
        "",
    ),
    "nesting of 5,000 mappings": ("a: " + "{a: " * 5000 + "}" * 5000, "line 1: expected at most 20 levels", ""),
    "an alias that contains itself": ("a: &a [*a]\n" + CENTRAL, "line 1", "levels of nesting"),
    "a list as a key": ("[a]: 1\n" + CENTRAL, "line 1: expected a word as a key", "a list"),
    "a mapping as a key": ("{a: 1}: 1\n" + CENTRAL, "line 1: expected a word as a key", "a mapping"),
    "a nested list as a key": (
        CENTRAL.replace("seeds: 1", "limits: {[a]: 1}"),
        "line 2, limits: expected a word",
        "a list",
    ),
    "a number as a key": ("3: 1\n" + CENTRAL, "line 1, [3]: expected a known field", ""),
    "an impossible date": (CENTRAL.replace("seeds: 1", "seeds: 2020-13-45"), "line 2, seeds: ", "'2020-13-45'"),
    "an impossible date in a list": (
        with_line("attacks: [2020-13-45]"),
        "line 7, scenarios[0].attacks[0]: ",
        "'2020-13-45'",
    ),
    "an impossible date as a key": ("2020-13-45: 1\n" + CENTRAL, "line 1, 2020-13-45: expected a known field", ""),
    "a word that is tagged as a number": (CENTRAL.replace("seeds: 1", "seeds: !!int abc"), "line 2, seeds: ", "tag"),
    "a tag on a scalar": (CENTRAL.replace("seeds: 1", "seeds: !!binary aGk="), "line 2, seeds: ", "tag"),
    "a tag for Python": (CENTRAL.replace("digits", "!!python/name:os.system x"), "line 5, scenarios[0].data: ", "tag"),
    "a tag on a list": (CENTRAL.replace("seeds: 1", "seeds: !!set {a, b}"), "line 2, seeds: ", "tag"),
    "a number of 5,000 digits": (
        CENTRAL.replace("seeds: 1", "seeds: " + "9" * 5000),
        "line 2, seeds: ",
        "digits",
    ),
    "a plugin's number of 5,000 digits": (
        with_line("num_targets: " + "9" * 5000),
        "line 7, scenarios[0].num_targets: ",
        "",
    ),
    "a plugin's number of 4,000 digits": (
        with_line("num_targets: " + "9" * 4000),
        "line 7, scenarios[0].num_targets: ",
        "",
    ),
    "a claim that is a list": (
        CENTRAL.replace("seeds: 1", "claim: [1]"),
        "line 2, claim: expected claim: ",
        "claim: {",
    ),
    "a claim that is a word": (
        CENTRAL.replace("seeds: 1", "claim: word"),
        "line 2, claim: expected claim: ",
        "claim: {",
    ),
    "a name that is a list": (CENTRAL.replace("seeds: 1", "name: [1]"), "line 2, name: expected name: ", ""),
    "a group's name that is a mapping": (with_line("name: {a: 1}"), "line 7, scenarios[0].name: expected name: ", ""),
    "a kind that is a list": (CENTRAL.replace("kind: central", "kind: [central]"), "line 4, scenarios[0].kind: ", ""),
    "fields that are a list": (with_line("fields: [1]"), "line 7, scenarios[0].fields: expected `fields: ", ""),
    "attacks that are a number": (with_line("attacks: 3"), "line 7, scenarios[0].attacks: ", ""),
    "attacks that are empty": (with_line("attacks:"), "line 7, scenarios[0].attacks: ", ""),
    "an attack that is empty": (with_line("attacks: [null]"), "line 7, scenarios[0].attacks[0]: ", ""),
    "an attack that is a list of lists": (
        with_line("attacks: " + "[" * 15 + "]" * 15),
        "line 7, scenarios[0].attacks",
        "",
    ),
    "an attack whose name is a list": (
        with_line("attacks: [{name: [BadNets]}]"),
        "line 7, scenarios[0].attacks[0]",
        "",
    ),
    "a plugin's field that is not a number": (
        with_line("attacks: [{name: LabelFlipping, poisoned_rate: .nan}]"),
        "line 7, scenarios[0].attacks[0]",
        "poisoned_rate",
    ),
    "a plugin's field that is a mapping": (
        with_line("attacks: [{name: LabelFlipping, poisoned_rate: {a: 1}}]"),
        "line 7, scenarios[0].attacks[0].poisoned_rate: ",
        "",
    ),
    "a plugin's field that is a date": (
        with_line("attacks: [{name: LabelFlipping, poisoned_rate: 2020-10-10}]"),
        "line 7, scenarios[0].attacks[0].poisoned_rate: ",
        "",
    ),
    "a version that is a list": (
        CENTRAL.replace("version: 1", "version: [1]"),
        "line 1, version: expected version: 1",
        "",
    ),
    "limits that are a list": (CENTRAL.replace("seeds: 1", "limits: [1]"), "line 2, limits: expected limits: ", ""),
    "a share of 5,000 digits": (CENTRAL.replace("seeds: 1", "limits: {backdoor: " + "9" * 5000 + "}"), "line 2, ", ""),
    "control characters": ("a: \x07\n" + CENTRAL, "expected valid YAML", ""),
    "a lone surrogate": ('name: "\\ud800"\n' + CENTRAL, "line 1", ""),
    "two documents": (CENTRAL + "---\na: 1\n", "line 7", ""),
    "merge keys": (CENTRAL + "    <<: {a: 1}\n", "line 7, scenarios[0].<<: ", ""),
}


@pytest.mark.parametrize(("text", "place", "rest"), CASES.values(), ids=list(CASES))
def test_a_wrong_scenario_is_one_line_with_its_place(text: str, place: str, rest: str) -> None:
    load_builtin()
    started = time.process_time()
    with pytest.raises(AntivenomError) as caught:
        plan_of(text, "bad.yaml")
    message = str(caught.value)
    assert message.startswith("bad.yaml "), message
    assert place in message
    assert rest in message
    assert "\n" not in message
    assert len(message) < 2000, "a long value is quoted whole"
    assert time.process_time() - started < 10


def test_many_seeds_on_the_command_line_are_refused_as_well() -> None:
    with pytest.raises(AntivenomError, match="at most 10000 seeds"):
        plan_of(CENTRAL, "s.yaml").with_seeds(1_000_000_000)


def test_one_of_several_defences_of_a_class_is_deployed_by_its_label() -> None:
    text = with_line("defences: [{name: KNNSanitizer, k: [3, 5]}, AbsoluteTrim]".replace(", AbsoluteTrim", ""))
    with pytest.raises(AntivenomError, match="of which there are several: write deployed: ") as caught:
        plan_of(text + "    deployed: KNNSanitizer\n", "s.yaml")
    label = str(caught.value).split('deployed: "')[1].split('"')[0]
    cells = plan_of(text + f'    deployed: "{label}"\n', "s.yaml").cells
    assert [cell.deployed for cell in cells].count(True) == 1


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "long", "binary", "missing", "zero"])
def test_a_scenario_that_is_no_ordinary_file_is_one_line(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "s.yaml"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place = Path("/dev/zero")
    elif kind == "folder":
        place.mkdir()
    elif kind == "long":
        with place.open("wb") as file:
            file.truncate(1 << 40)
    elif kind == "binary":
        place.write_bytes(b"\xff\xfe\x00")
    elif kind == "zero":
        place = Path("a\0b")
    with pytest.raises(AntivenomError) as caught:
        read_plan(place)
    assert "\n" not in str(caught.value)


@pytest.fixture
def odd() -> type:
    """A plugin with a field for anything."""
    load_builtin()
    before = dict(registry._ENTRIES)

    @attack(goal="backdoor", cite="none")
    class Odd:
        """Keeps one value."""

        anything: object = None

        def __call__(self, data: object, context: object) -> object:
            return data

    yield Odd  # type: ignore[misc]
    registry._ENTRIES.clear()
    registry._ENTRIES.update(before)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.arange(3), [0, 1, 2]),
        (frozenset({3, 1, 2}), [1, 2, 3]),
        ((1, (2, frozenset({"b"}))), [1, [2, ["b"]]]),
        ({"a": np.float32(0.5)}, {"a": 0.5}),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
    ],
    ids=str,
)
def test_values_of_plugins_are_recorded_as_plain_json(odd: type, value: object, plain: object) -> None:
    described = describe(odd(value))
    assert described == {"name": "Odd", "anything": plain}
    assert json.loads(json.dumps(described, allow_nan=False)) == described


@pytest.mark.parametrize(
    "value", [lambda x: x, math.nan, np.float64("nan"), (1.0, math.nan), np.array([math.nan]), len, b"x", object, 1j]
)
def test_a_value_that_no_record_can_hold_is_one_line(odd: type, value: object) -> None:
    scenario = plan_of(CENTRAL, "s.yaml").cells[0].scenario
    with pytest.raises(PluginError, match=r"a value of Odd.anything that a record can hold, got") as caught:
        _ = Trial(scenario, odd(value), None, 0).spec
    assert "\n" not in str(caught.value)


def test_an_infinite_field_comes_back_from_its_record(tmp_path: Path) -> None:
    plugin = tmp_path / "unbounded_of_edges.py"
    plugin.write_text(
        "from antivenom import sanitizer\n@sanitizer(goal='availability', cite='none')\nclass UnboundedOfEdges:\n"
        "    bound: float = 1.0\n    bounds: tuple[float, ...] = ()\n    def __call__(self, data, context): return None\n"
    )
    load_builtin()
    before = dict(registry._ENTRIES)
    load_file(plugin)
    try:
        text = with_line("defences: [{name: UnboundedOfEdges, bound: .inf, bounds: [1, -.inf]}]")
        trial = plan_of(text, "s.yaml").cells[1].trial(0)
        spec = json.loads(json.dumps(trial.spec, allow_nan=False))
        assert Trial.from_spec(spec) == trial
        assert trial.defence.bounds == (1.0, -math.inf)
    finally:
        registry._ENTRIES.clear()
        registry._ENTRIES.update(before)


FEDERATED = TOP + "scenarios:\n  - kind: federated\n    data: digits\n    model: {name: MLP, hidden: [8]}\n"
TRANSFER = CENTRAL.replace("kind: central", "kind: transfer")
MEMBERSHIP = CENTRAL.replace("kind: central", "kind: membership")
CANCER = CENTRAL.replace("digits", "breast-cancer").replace("{name: MLP, hidden: [8]}", "RandomForest")
UNFIT = {
    "a class that the data lack": (
        CANCER + "    wanted: 7\n",
        "line 7, scenarios[0].wanted: expected target from 0 to 1",
    ),
    "a class below 0": (CENTRAL + "    wanted: -1\n", "line 7, scenarios[0].wanted: expected target from 0 to 9"),
    "a source class that the data lack": (
        FEDERATED + "    wanted: {name: FromTo, source: 12}\n",
        "line 7, scenarios[0].wanted: expected source from 0 to 9",
    ),
    "a class in a list": (
        CENTRAL + "    wanted: [0, 10]\n",
        "line 7, scenarios[0].wanted: expected target from 0 to 9",
    ),
    "a shift by all classes": (
        CENTRAL + "    wanted: {name: AllToAll, shift: 10}\n",
        "line 7, scenarios[0].wanted: expected AllToAll.shift",
    ),
    "classes that the data lack": (CENTRAL + "    classes: [0, 11]\n", "line 7, scenarios[0].classes: "),
    "Krum with n < 2f + 3": (
        FEDERATED + "    federation: {num_agents: 8}\n    defences: [Median, {name: Krum, f: 3}]\n",
        "line 8, scenarios[0].defences[1]: expected n >= 2f + 3 updates for Krum with f = 3, got n = 8: use f <= 2",
    ),
    "Krum with few chosen clients": (
        FEDERATED + "    federation: {num_agents: 20, agents_per_round: 4}\n    defences: {name: Krum, f: 1}\n",
        "line 8, scenarios[0].defences: expected n >= 2f + 3 updates for Krum with f = 1, got n = 4",
    ),
    "more training rows than there are": (CENTRAL + "    train_rows: 99999\n", "line 7, scenarios[0].train_rows: "),
    "more trusted rows than there are": (CENTRAL + "    clean_rows: 99999\n", "line 7, scenarios[0].clean_rows: "),
    "more agents than rows": (FEDERATED + "    federation: {num_agents: 5000}\n", "line 7, scenarios[0].federation: "),
    "more rows for a federation than there are": (
        FEDERATED + "    train_rows: 99999\n",
        "line 7, scenarios[0].train_rows: ",
    ),
    "more targets than test rows": (
        CENTRAL + "    goal: targeted\n    num_targets: 99999\n",
        "line 8, scenarios[0].num_targets: ",
    ),
    "more targets of inference than rows": (MEMBERSHIP + "    targets: 5000\n", "line 7, scenarios[0].targets: "),
    "a share that leaves no rows": (
        TRANSFER + "    train_rows: 3\n    pretrain_share: 0.01\n",
        "line 8, scenarios[0].pretrain_share: ",
    ),
    "a network for larger images": (
        CENTRAL.replace("{name: MLP, hidden: [8]}", "FashionCNN"),
        "line 6, scenarios[0].model: ",
    ),
    "an estimator without trees": (
        CANCER.replace("RandomForest", "{name: RandomForest, n_estimators: 0}"),
        "line 6, scenarios[0].model: expected valid parameters of RandomForestClassifier",
    ),
    "an unknown estimator": (
        CANCER.replace("RandomForest", "{name: Sklearn, estimator: sklearn.svm.SVCC}"),
        "line 6, scenarios[0].model: ",
    ),
    "a regressor for classes": (
        CANCER.replace("RandomForest", "{name: Sklearn, estimator: sklearn.svm.SVR}"),
        "line 6, scenarios[0].model: expected a classifier",
    ),
    "a row that should get a class that the data lack": (
        CENTRAL + "    goal: targeted\n    wanted: {name: Rows, indices: [0], labels: [11]}\n",
        "line 8, scenarios[0].wanted: expected label from 0 to 9",
    ),
    "a file that is not there": (
        CENTRAL.replace("digits", "{name: TableFile, path: no/such.csv, label: y}"),
        "line 5, scenarios[0].data: expected a readable file no/such.csv, got No such file",
    ),
    "the second scenario": (
        CENTRAL + "  - kind: central\n    wanted: 11\n",
        "line 8, scenarios[1].wanted: expected target from 0 to 9",
    ),
}


@pytest.mark.parametrize(("text", "said"), UNFIT.values(), ids=list(UNFIT))
def test_what_does_not_suit_the_data_is_refused_before_anything_runs(text: str, said: str) -> None:
    with pytest.raises(AntivenomError) as caught:
        check(plan_of(text, "s.yaml"))
    message = str(caught.value)
    assert message.startswith(f"s.yaml {said}")
    assert "\n" not in message


def test_a_column_that_the_table_lacks_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,y\n" + "1,2,0\n3,4,1\n" * 20)
    for field, said in (("label: z", "'z'"), ("label: y, ignore: [c]", "'c'"), ("label: y, group: d", "'d'")):
        text = CENTRAL.replace("digits", f"{{name: TableFile, path: '{tmp_path}/t.csv', {field}}}")
        with pytest.raises(AntivenomError, match=rf"s.yaml line 5, scenarios\[0\].data: .* got {said}"):
            check(plan_of(text, "s.yaml"))


@pytest.mark.parametrize(
    "text",
    [
        embedded(),
        CENTRAL + "    attacks: [RIPPLe]\n",
        FEDERATED + "    attacks: [{name: DirtyLabel}]\n    goal: backdoor\n    defences: [Median]\n",
        CANCER + "    goal: availability\n    wanted: 7\n",
    ],
    ids=["embedded", "an attack of another scenario", "an agent with another goal", "a class that nobody wants"],
)
def test_plans_whose_trials_can_run_or_say_why_not_pass(text: str) -> None:
    check(plan_of(text, "s.yaml"))


def test_each_data_set_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = Named.__call__

    def noting(self: Named, streams: object) -> object:
        read.append(self.dataset)
        return whole(self, streams)  # type: ignore[arg-type]

    monkeypatch.setattr(Named, "__call__", noting)
    check(
        plan_of(with_line("max_poisoned_rate: [0.1, 0.2]\n    attacks: [BadNets]\n    defences: [KNNSanitizer]"), "s")
    )
    assert read == ["digits"]
