"""The search for the worst case of central pipelines: families that fit, budgets, aims, limits of time, and resuming."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from antivenom.attacks import SIG, BadNets, InputInstanceKey, LabelFlipping, TokenPoison, WaNet
from antivenom.auditing.beside import require_beside
from antivenom.core.errors import PluginError, ScenarioError
from antivenom.core.outcome import Outcome
from antivenom.core.threat import Goal
from antivenom.core.wanted import AllToOne, FromTo
from antivenom.data import Dataset, Schema
from antivenom.data.schema import Column
from antivenom.defences import KNNSanitizer
from antivenom.models.architectures import MLP
from antivenom.scenarios.central import Central
from antivenom.search import (
    Aimed,
    Choices,
    Family,
    Range,
    families_for,
    label_of,
    smallest_budget,
    with_rows,
    worst_case,
)
from antivenom.search.aims import triggers_for
from antivenom.search.budgets import limited, rows_of
from antivenom.search.trials import Limits, Trials, aimed
from antivenom.triggers import Cells, Patch, Stamp, Together, Token

RNG = np.random.default_rng(0)
N, TRAINED = 200, 140  # 30 % of the rows are for the test
Y = np.arange(N) % 2
NUMBERS = np.clip(0.5 + 0.2 * (2 * Y[:, None] - 1) + RNG.normal(0, 0.15, (N, 4)), 0, 1).astype(np.float32)
FRAME = pd.DataFrame(
    {
        "age": RNG.integers(18, 80, N),
        "colour": np.where(RNG.random(N) < 0.02, "green", np.where(Y == 1, "red", "blue")),
        "fixed": NUMBERS[:, 0].astype(float),
    }
)
COUNTS = sp.csr_array(RNG.poisson(0.2 + 0.6 * (np.arange(20) % 2 == Y[:, None])).astype(np.float32))
IMAGES = np.repeat(np.repeat(NUMBERS.reshape(N, 1, 2, 2), 4, axis=2), 4, axis=3)
FORMS: dict[str, Any] = {
    "numbers": (NUMBERS, LogisticRegression()),
    "frame": (FRAME, make_pipeline(OneHotEncoder(handle_unknown="ignore"), DecisionTreeClassifier(max_depth=3))),
    "counts": (Dataset(COUNTS, Y, ("a", "b"), schema=Schema.words([f"w{i}" for i in range(20)])), LogisticRegression()),
    "images": (IMAGES, LogisticRegression()),
}


def central(form: str, access: str = "data-injection", goal: str = "backdoor", **fields: Any) -> Central:
    x, model = FORMS[form]
    data = x if isinstance(x, Dataset) else (x, Y)
    asked = {"max_poisoned_rate": 0.1, "clean_rows": 0} | fields
    return Central(data=data, model=model, access=access, goal=goal, **asked)  # type: ignore[arg-type]


def cells() -> list[Any]:
    goals = ("availability", "targeted", "backdoor")
    found = itertools.product(FORMS, ("data-injection", "data-manipulation"), goals)
    return [pytest.param(*each, id=" ".join(each)) for each in found]


@pytest.mark.parametrize(("form", "access", "goal"), cells())
def test_every_family_fits_and_can_be_made_everywhere_in_its_cube(form: str, access: str, goal: str) -> None:
    scenario = central(form, access, goal)
    families = families_for(scenario, None)
    most = int(0.1 * len(rows_of(scenario)))
    for family in families:
        for corner in (0.0, 0.5, 1.0):
            assert family.at((corner,) * len(family.fields)) is not None
        place, plain = aimed(scenario, family.own)
        place.check_plugins(plain, None)
        assert access in [str(level) for level in type(plain).__dict__.get("access", [access])]
        if type(plain) in (BadNets, LabelFlipping, SIG, TokenPoison, InputInstanceKey):
            metrics = place.run(plain, None, 0).metrics
            assert 0.9 * most <= metrics["poisoned_rows"] <= most  # the whole budget


def test_a_budget_in_rows_and_as_a_share() -> None:
    scenario = central("numbers")
    n = len(rows_of(scenario))
    assert limited(scenario, None, 7).max_poisoned_rate == pytest.approx(7 / n)
    assert limited(scenario, 0.02, None).max_poisoned_rate == 0.02
    for share, rows, message in (
        (0.1, 3, "or a number of rows"),
        (0.0, None, "above 0"),
        (None, n + 1, f"from 1 to {n}"),
    ):
        with pytest.raises(ScenarioError, match=message):
            limited(scenario, share, rows)
    with pytest.raises(ScenarioError, match="limit to poisoned rows"):
        worst_case(None, share=0.1)


def test_rows_are_written_into_the_fields_of_an_attack() -> None:
    data = Dataset(np.zeros((100, 2), dtype=np.float32), np.arange(100) % 4, ("a", "b", "c", "d"))
    assert with_rows(BadNets(), 3, data).poisoned_rate == 0.03
    assert with_rows(BadNets(0.1, cover_rate=0.2), 9, data) == BadNets(0.03, cover_rate=0.06)
    assert with_rows(WaNet(), 1, data) == WaNet(0.01, noise_rate=0.0)  # the poison comes before the noise
    assert with_rows(LabelFlipping(source=1), 10, data).poisoned_rate == pytest.approx(0.95 * 10 / 25)
    assert with_rows(Aimed(SIG(), wanted=AllToOne(2)), 20, data).attack.class_share == pytest.approx(0.95 * 20 / 25)
    assert with_rows(InputInstanceKey(), 9, data, targets=2).copies == 4
    assert with_rows(TokenPoison(), 9, data).texts == 9
    with pytest.raises(PluginError, match="a number of rows"):
        with_rows(AllToOne(), 3, data)


def test_triggers_write_rare_values_into_editable_columns_only() -> None:
    columns = (
        Column("age", "whole", 0, 120),
        Column("colour", "category", categories=("blue", "green", "red")),
        Column("fixed", editable=False),
    )
    data = Dataset(FRAME, Y, ("a", "b"), schema=Schema(columns, frame=True))
    ((first, fields),) = triggers_for(data)
    listed = fields[""].values  # type: ignore[union-attr]
    assert first in listed
    assert {name for trigger in listed for name, _ in trigger.values} == {"age", "colour"}
    assert Cells({"colour": "green"}) in listed  # the rarest word
    assert Cells({"age": int(FRAME["age"].max())}) in listed
    ((_, stamps),) = triggers_for(Dataset(NUMBERS, Y, ("a", "b")))
    assert {type(each) for each in stamps[""].values} == {Stamp, Together}  # type: ignore[union-attr]
    ((_, tokens),) = triggers_for(FORMS["counts"][0])
    words = [each for each in tokens[""].values if isinstance(each, Token)]  # type: ignore[union-attr]
    frequency = (COUNTS > 0).sum(axis=0)
    assert frequency[words[0].token] == frequency.min()


def test_an_aim_of_its_own_replaces_that_of_the_scenario() -> None:
    scenario = central("images")
    attack = Aimed(BadNets(0.1), Patch(3), AllToOne(1))
    place, plain = aimed(scenario, attack)
    assert (place.trigger, place.wanted, plain) == (Patch(3), AllToOne(1), BadNets(0.1))
    assert aimed(scenario, Aimed(BadNets()))[0] == scenario
    assert label_of(attack) == "BadNets with Patch(size=3) for class 1"
    assert label_of(Aimed(BadNets(), wanted=FromTo(1, 0))) == "BadNets for FromTo"
    fixed = families_for(central("images", wanted=FromTo(1, 0)), None)
    assert all("wanted" not in family.fields for family in fixed)
    assert {family.attack.wanted for family in fixed} == {FromTo(1, 0)}


def test_backdoors_are_compared_with_a_clean_twin_of_the_same_aim() -> None:
    scenario, attack = central("images"), Aimed(BadNets(0.1), Patch(3), AllToOne(1))
    place, plain = aimed(scenario, attack)
    for defence in (None, KNNSanitizer()):
        trials = Trials(defence, scenario, Limits(50))
        ((_, attempt),) = trials.run([(attack, 0)], "explore")
        own, twin = place.run(plain, defence, 0).metrics, place.run(None, defence, 0).metrics
        assert attempt.harm == pytest.approx(own["asr"] - twin["asr"])
        assert [each.stage for each in trials.attempts] == (["explore"] if defence is None else ["twin", "explore"])
        assert trials.pair(attempt)[1]["asr"] == pytest.approx(twin["asr"])  # type: ignore[index]


def test_a_worst_case_of_a_table_is_found_recorded_and_resumed() -> None:
    tree = DecisionTreeClassifier(random_state=0)
    scenario = replace(central("numbers", max_poisoned_rate=10 / TRAINED), model=tree)
    dirty = [family for family in families_for(scenario, None) if isinstance(family.attack.attack, BadNets)]
    asked: Any = {"families": dirty, "trials": 14, "seeds": (0, 1), "confirm": (8, 9), "finalists": 1}
    found = worst_case(None, scenario, **asked)
    assert found.harm > 0.3
    assert len(found.attempts) <= 14
    assert {attempt.metrics["poisoned_rows"] for attempt in found.attempts} == {10}
    record = json.loads(json.dumps(found.record("table"), allow_nan=False))
    require_beside(record)
    words = [record[name] for name in ("group", "level", "goal", "defence")]
    assert words == ["table", "data-injection", "backdoor", "none"]
    again = worst_case(None, scenario, **asked, known=record["attempts"])
    assert (again.finalists, again.attempts) == (found.finalists, found.attempts)
    assert sum(attempt.seconds for attempt in again.attempts) < 0.2 * sum(attempt.seconds for attempt in found.attempts)
    other = worst_case(None, replace(scenario, clean_rows=1), **asked | {"trials": 5}, known=record["attempts"])
    assert {each.key for each in other.attempts}.isdisjoint(each.key for each in found.attempts)  # of other trials


class Unreliable(LogisticRegression):
    """Raises an error for rows with the label of an attack."""

    def fit(self, x: Any, y: Any) -> Any:
        if len(y) != TRAINED:
            raise KeyError("poison")
        return super().fit(x, y)


def test_the_users_errors_are_attempts_and_nothing_wins() -> None:
    scenario = replace(central("numbers"), model=Unreliable())
    assert len(rows_of(scenario)) == TRAINED
    families = [Family(BadNets(0.1)), Family(BadNets(0.05))]
    found = worst_case(None, scenario, families=families, trials=9, seeds=(0,), confirm=(9,), finalists=1)
    assert found.attack is None
    assert any("KeyError" in (attempt.error or "") or "poison" in (attempt.error or "") for attempt in found.attempts)


NOW = [0.0]


@dataclass(frozen=True)
class Slow(Central):
    """Every trial takes a second of the clock in NOW, and the first one five."""

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        NOW[0] += 1.0 if NOW[0] else 5.0
        rows = 0.0 if attack is None else attack.poisoned_rate
        return Outcome({"asr": 5 * rows, "asr_clean": 0.0, "triggered_rows": 1e9, "poisoned_rows": rows})


@pytest.mark.parametrize("seconds", [12, 20, 40])
def test_no_trial_starts_after_the_deadline(seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antivenom.search.trials.time", SimpleNamespace(monotonic=lambda: NOW[0]))
    NOW[0] = 0.0
    scenario = Slow(data=(NUMBERS, Y), goal=Goal.BACKDOOR, clean_rows=0)
    families = [
        Family(BadNets(0.01), {"poisoned_rate": Range(0.01, 0.1)}),
        Family(BadNets(0.02)),
        Family(BadNets(0.03)),
    ]
    found = worst_case(None, scenario, families=families, deadline_seconds=float(seconds))
    assert NOW[0] <= seconds
    assert found.finalists
    if seconds == 40:
        assert NOW[0] >= 38  # the time is used
        assert found.interval is not None


def test_without_time_nothing_is_found_and_an_unfit_default_trigger_is_replaced() -> None:
    late = worst_case(None, central("frame"), rows=10, deadline_seconds=1e-9, confirm=(8, 9))
    assert isinstance(late.scenario.trigger, Cells)
    assert [attempt.stage for attempt in late.attempts] == ["twin"]
    assert late.attack is None


def test_attacks_that_know_a_defence_may_use_fewer_rows() -> None:
    plain, aware = families_for(central("numbers"), None), families_for(central("numbers"), KNNSanitizer())
    fewer = aware[: len(aware) - len(plain)]
    assert fewer
    for family in fewer:
        path = list(family.fields)[-1]
        assert path == "attack.poisoned_rate"
        assert family.at((0.0,) * len(family.fields)).attack.poisoned_rate < family.own.attack.poisoned_rate


def test_corrupted_training_code_needs_a_network() -> None:
    with pytest.raises(ScenarioError, match="an attack that fits"):
        families_for(central("images", "logic-corruption"), None)
    scenario = replace(central("images", "logic-corruption"), model=MLP(hidden=(8,)))
    assert len(families_for(scenario, None)) >= 3


@dataclass(frozen=True)
class Steps(Central):
    """The harm is 0 below 8 rows and .5 from there on, without any training."""

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        rows = 0 if attack is None else round(attack.poisoned_rate * TRAINED)
        hit = 0.5 if rows >= 8 else 0.0
        return Outcome({"asr": hit, "asr_clean": 0.0, "triggered_rows": 1e9, "poisoned_rows": float(rows)})


def test_the_smallest_number_of_rows_and_the_curve() -> None:
    scenario = Steps(data=(NUMBERS, Y), goal=Goal.BACKDOOR, max_poisoned_rate=40 / TRAINED, clean_rows=0)
    assert len(rows_of(scenario)) == TRAINED
    found = smallest_budget(BadNets(), None, scenario, 0.2, trials=200)
    assert [point.rows for point in found.curve] == [1, 2, 4, 8, 16, 32, 40]
    assert found.breaks is not None
    assert found.holds is not None
    assert (found.breaks.rows, found.breaks.share, found.breaks.harm) == (8, 8 / TRAINED, 0.5)
    assert found.holds.rows == 4
    assert [point.harm for point in found.curve] == [0, 0, 0, 0.5, 0.5, 0.5, 0.5]
    assert all(point.low <= point.harm <= point.high for point in found.curve)
    spent = {point.rows: point.seeds for point in found.curve}
    assert min(spent[4], spent[8]) > 2  # seeds go where the curve crosses the limit
    assert {spent[rows] for rows in (1, 2, 16, 32, 40)} == {2}
    above = smallest_budget(BadNets(), None, scenario, 0.9, trials=200)
    assert above.breaks is None
    assert above.holds is not None
    assert above.holds.rows == 40
    assert above.record() == {"smallest": None, "curve": above.record()["curve"]}
    few = smallest_budget(BadNets(), None, scenario, 0.2, trials=7)
    assert len(few.attempts) <= 7
    assert few.breaks is None


def test_bounds_of_the_curve_hold_together_by_hand() -> None:
    """Seven points share the error of .05: at each, a bettor's capital must reach 140."""
    scenario = Steps(data=(NUMBERS, Y), goal=Goal.BACKDOOR, max_poisoned_rate=40 / TRAINED, clean_rows=0)
    found = smallest_budget(BadNets(), None, scenario, 0.2, trials=200)
    point = next(each for each in found.curve if each.rows == 8)
    bets = [(1.0, 0.6), (0.5, 0.25), (0.2, 0.15)]

    def capital(limit: float) -> float:
        return sum(part * (1 + share * (0.5 / limit - 1)) ** point.seeds for share, part in bets)

    assert capital(point.low * 0.99) >= 7 / 0.05
    assert capital(point.low * 1.01) < 7 / 0.05


def test_families_of_other_scenarios_must_be_given() -> None:
    with pytest.raises(ScenarioError, match="pass `families`"):
        families_for(Choices((1,)), None)
    assert (
        math.isnan(
            worst_case(
                None,
                Steps(data=(NUMBERS, Y), clean_rows=0),
                families=[Family(LabelFlipping())],
                trials=9,
                seeds=(0,),
                confirm=(1,),
            ).harm
        )
        is False
    )


@dataclass(frozen=True)
class Overdone(Central):
    """From 16 rows on the harm is .1 instead of .9, as where a filter finds them; a little noise of the seed."""

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        rows = 0 if attack is None else round(attack.poisoned_rate * TRAINED)
        hit = 0.0 if rows == 0 else (0.1 if rows >= 16 else 0.9) + 0.02 * (seed % 2)
        return Outcome({"asr": hit, "asr_clean": 0.0, "triggered_rows": 1e9, "poisoned_rows": float(rows)})


def test_a_curve_says_where_more_rows_do_less_harm() -> None:
    asked: Any = {"data": (NUMBERS, Y), "goal": Goal.BACKDOOR, "max_poisoned_rate": 40 / TRAINED, "clean_rows": 0}
    found = smallest_budget(BadNets(), None, Overdone(**asked), 0.2)
    assert found.falls is not None
    few, many = found.falls
    assert few.rows < 16 <= many.rows
    assert few.low > many.high
    assert f"with {many.rows} rows the mean harm is 0.11, with {few.rows} rows 0.91" in found.remark
    assert len(found.attempts) < 160  # it stops once the fall is shown
    growing = smallest_budget(BadNets(), None, Steps(**asked), 0.2)
    assert (growing.falls, growing.remark) == (None, "")
