"""Goals own their metric, scenarios declare themselves, and both come from one decorator."""

from __future__ import annotations

import copy
import json
import math
import pickle

import pytest

from antivenom.core.errors import PluginError, ThreatError
from antivenom.core.outcome import Outcome
from antivenom.core.registry import Kind, build, describe, entries, entry_of, find, goal, ladder, scenario
from antivenom.core.threat import Access, Goal, Level, ThreatModel, goals


def test_a_goal_is_its_name_and_there_is_one_of_each() -> None:
    assert Goal("backdoor") is Goal.BACKDOOR
    assert Goal.BACKDOOR == "backdoor"
    assert f"{Goal.BACKDOOR}" == str(Goal.BACKDOOR) == "backdoor"
    assert json.dumps({"goal": Goal.BACKDOOR}) == '{"goal": "backdoor"}'
    assert pickle.loads(pickle.dumps(Goal.BACKDOOR)) is Goal.BACKDOOR  # noqa: S301 - our own bytes
    assert copy.deepcopy(Goal.BACKDOOR) is Goal.BACKDOOR
    assert ThreatModel(Access.DATA_INJECTION, "backdoor").goal is Goal.BACKDOOR  # type: ignore[arg-type]
    with pytest.raises(ThreatError, match="expected a goal, got 'backdor': did you mean 'backdoor'"):
        Goal("backdor")


def test_our_goals_are_registered_with_their_limits() -> None:
    assert [entry.name for entry in entries(Kind.GOAL)] == ["availability", "backdoor", "privacy", "targeted"]
    assert {str(each): each.metric.limit for each in goals()} == {
        "availability": 0.1,
        "targeted": 0.2,
        "backdoor": 0.2,
        "privacy": 0.1,
    }


@pytest.mark.parametrize(
    ("name", "own", "twin", "harm"),
    [
        ("availability", {"clean_accuracy": 0.5}, {"clean_accuracy": 0.9, "chance_accuracy": 0.1}, 0.5),
        ("availability", {"clean_accuracy": 0.0}, {"clean_accuracy": 0.9, "chance_accuracy": 0.1}, 1.0),
        ("availability", {"clean_accuracy": 0.5}, {"clean_accuracy": 0.1, "chance_accuracy": 0.1}, math.nan),
        ("backdoor", {"asr": 0.75}, {"asr": 0.05}, 0.7),
        ("targeted", {"targets_hit": 0.9, "target_confidence": 0.4}, {"targets_hit": 0.2}, 0.7),
        ("privacy", {"tpr_at_1": 0.31}, {"tpr_at_1": 0.01}, 0.3),
        ("privacy", {}, {"tpr_at_1": 0.01}, math.nan),
    ],
)
def test_harm_by_hand(name: str, own: dict[str, float], twin: dict[str, float], harm: float) -> None:
    assert Goal(name).metric.value(own, twin) == pytest.approx(harm, nan_ok=True)


def test_a_test_row_in_the_unit_of_harm() -> None:
    twin = {"clean_accuracy": 0.92, "chance_accuracy": 0.9}
    assert Goal.AVAILABILITY.metric.row({"test_rows": 100}, twin) == pytest.approx(0.5)
    assert Goal.BACKDOOR.metric.row({"triggered_rows": 400}, twin) == pytest.approx(1 / 400)
    assert Goal.TARGETED.metric.row({"test_rows": 100}, twin) == 0
    assert Goal.AVAILABILITY.metric.row({}, twin) == 0


@pytest.mark.usefixtures("plugins")
def test_a_goal_is_added_by_its_decorator() -> None:
    @goal(name="one-class", word="accuracy lost in one class", about="the accuracy lost", limit=0.3, cite="none")
    class OneClass:
        """Ruins the answers for one class."""

        name: str = "clean_accuracy"

        def __call__(self, own: dict[str, float], twin: dict[str, float]) -> float:
            return twin.get(self.name, math.nan) - own.get(self.name, math.nan)

    assert find("one-class").kind is Kind.GOAL
    made = ThreatModel(Access.DATA_INJECTION, "one-class").goal  # type: ignore[arg-type]
    assert (made, made.metric.limit, made.metric.word) == ("one-class", 0.3, "accuracy lost in one class")
    assert made.metric.value({"clean_accuracy": 0.5}, {"clean_accuracy": 0.75}) == 0.25
    assert build(describe(OneClass("asr"))) == OneClass("asr")
    with pytest.raises(PluginError, match=r"a limit from 0 to 1 for the goal x, got 20: 0.2 means 20 %"):
        goal(name="x", word="x", about="x", limit=20, cite="none")
    with pytest.raises(PluginError, match="a new plugin name, got one-class, taken by"):
        goal(name="one-class", word="x", about="x", limit=0.1, cite="none")(type("Other", (OneClass,), {}))


@pytest.mark.usefixtures("plugins")
def test_a_scenario_is_added_by_its_decorator() -> None:
    level = Level("tossed", "tosses a coin", (Access.LOGIC_CORRUPTION,))

    @scenario(name="coin", arrows=(Kind.LOGIC_ATTACK,), levels=(level, Access.DATA_INJECTION), cite="none")
    class Coin:
        """A coin."""

        goal: Goal = Goal.BACKDOOR

        def run(self, attack: object, defence: object, seed: int, device: str = "cpu") -> Outcome:
            return Outcome({})

    entry = entry_of(Coin())
    assert (entry.name, entry.kind) == ("coin", Kind.SCENARIO)
    assert entry.traits is not None
    assert [each.name for each in entry.traits.levels] == ["tossed", "data-injection"]
    assert entry.traits.levels[1].about == "adds rows of their own"
    assert build({"name": "coin", "goal": "privacy"}) == Coin(Goal.PRIVACY)
    assert {step.level.name: step.add for step in ladder()} == {
        "logic-corruption": "kind: central, access: logic-corruption",
        "data-manipulation": "kind: central, access: data-manipulation",
        "data-injection": "kind: central, access: data-injection",
        "transfer-learning": "kind: transfer",
        "federated": "kind: federated",
        "tossed": "kind: coin, access: tossed",
    }
    with pytest.raises(PluginError, match="kind by a known name, got 'agents': did you mean 'agent'"):
        scenario(name="still", arrows=("agents",), levels=(), cite="none")
    with pytest.raises(PluginError, match="access by a known name, got 'injection': did you mean 'data-injection'"):
        scenario(name="still", arrows=(), levels=("injection",), cite="none")
    with pytest.raises(PluginError, match="a run in Still, got none"):
        scenario(name="still", arrows=(), levels=(), cite="none")(type("Still", (), {}))
