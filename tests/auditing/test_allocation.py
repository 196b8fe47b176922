"""Seeds are spent where the verdict is open. No model is trained: a made-up runner says what each trial measured.

There are five distinct trials a seed: the clean twin (of both groups, which are the same scenario), the clean twin with
FinePruning, the strong attack without and with FinePruning, and the weak attack. The strong attack succeeds always, which is
a breach after four seeds. The other two succeed in every fifth seed, which is the limit, so that they are never decided.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antivenom.auditing import terminal
from antivenom.auditing.allocation import Step
from antivenom.auditing.executors import serial
from antivenom.auditing.plan import Plan, plan_of
from antivenom.auditing.records import Store
from antivenom.auditing.report import render
from antivenom.auditing.results import Summary
from antivenom.auditing.run import audit, missing
from antivenom.auditing.stopping import Stop, stops
from antivenom.auditing.summary import summary_of
from antivenom.auditing.trial import Record, blank
from antivenom.core.errors import ScenarioError

TEXT = """
version: 1
name: seeds
seeds: {first: 4, most: 12, confirm: 0}
limits: {backdoor: 0.2}
scenarios:
  - {kind: central, name: one, goal: backdoor, wanted: 0, attacks: [{name: BadNets, poisoned_rate: 0.9}], defences: [FinePruning]}
  - {kind: central, name: two, goal: backdoor, wanted: 0, attacks: [{name: BadNets, poisoned_rate: 0.1}]}
"""
HERE = {"device": "cpu", "started": "2026-01-01T00:00:00+00:00"}
STRONG, PRUNED, WEAK = "strong", "strong, pruned", "weak"


def run(spec: Any) -> Record:
    """The made-up record of a trial."""
    strong = spec["attack"] is not None and spec["attack"]["poisoned_rate"] == 0.9
    if spec["attack"] is None:
        rate = 0.0
    elif strong and spec["defence"] is None:
        rate = 1.0
    else:
        rate = float(spec["seed"] % 5 == 0)
    metrics = {"asr": rate, "clean_accuracy": 0.95, "chance_accuracy": 0.1, "test_rows": 500}
    return blank(spec) | {"status": "ok", "metrics": metrics, **HERE}


def planned(trials: int | None = None, *changes: tuple[str, str]) -> Plan:
    text = TEXT if trials is None else TEXT.replace("most: 12", f"most: 12, trials: {trials}")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return plan_of(text, "seeds.yaml")


def audited(folder: Path, plan: Plan, runner: Callable[[Any], Record] = run) -> Summary:
    with Store(folder, write=True) as store:
        for _ in audit(plan, store, serial, runner, "antivenom audit"):
            pass
    return summary_of(Store(folder))


def named(summary: Summary) -> dict[str, Any]:
    """The results of the three cells with an attack."""
    found = {}
    for cell in summary.attacks:
        name = WEAK if cell.group == "two" else STRONG if cell.defence == "none" else PRUNED
        found[name] = cell
    return found


def seeds(summary: Summary) -> dict[str, int]:
    return {name: cell.planned for name, cell in named(summary).items()}


def twins(summary: Summary) -> list[int]:
    return [cell.planned for cell in summary.cells if cell.is_clean_twin]


def reasons(summary: Summary) -> dict[str, Stop]:
    found = stops(summary)
    return {name: found[c.group, c.attack, c.defence] for name, c in named(summary).items()}


def test_open_cells_get_seeds_and_decided_ones_none(tmp_path: Path) -> None:
    summary = audited(tmp_path, planned())
    assert seeds(summary) == {STRONG: 4, PRUNED: 12, WEAK: 12}
    assert twins(summary) == [12, 12, 12]  # of group one without and with FinePruning, of group two
    # 4 + 12 + 12 trials with an attack, 12 clean twins without a defence, which both groups share, and 12 with it
    assert summary.trials["planned"] == summary.trials["ok"] == 52
    assert summary.trials["missing"] == 0
    assert reasons(summary) == {STRONG: Stop.DECIDED, PRUNED: Stop.MOST, WEAK: Stop.MOST}


@pytest.mark.parametrize(
    ("trials", "weak", "pruned", "weak_stop"),
    [
        (20, 4, 4, Stop.BUDGET),  # 5 trials for each of the first 4 seeds
        (21, 4, 4, Stop.BUDGET),  # a further seed of the weak attack takes two trials, the attack and its clean twin
        (24, 6, 4, Stop.BUDGET),
        (30, 9, 4, Stop.BUDGET),  # 20, 28 with a block of four, 30 with a single seed
        (36, 12, 4, Stop.MOST),
        (40, 12, 6, Stop.MOST),  # the clean twins without a defence are there, so a seed takes two trials again
        (52, 12, 12, Stop.MOST),
        (99, 12, 12, Stop.MOST),
    ],
)
def test_the_budget(tmp_path: Path, trials: int, weak: int, pruned: int, weak_stop: Stop) -> None:
    summary = audited(tmp_path, planned(trials))
    assert seeds(summary) == {STRONG: 4, PRUNED: pruned, WEAK: weak}
    assert summary.trials["planned"] == min(trials - trials % 2, 52)
    assert reasons(summary) == {
        STRONG: Stop.DECIDED,
        PRUNED: Stop.MOST if pruned == 12 else Stop.BUDGET,
        WEAK: weak_stop,
    }


def test_the_deployed_defence_comes_first(tmp_path: Path) -> None:
    deployed = ("defences: [FinePruning]", "defences: [FinePruning], deployed: FinePruning")
    # 20 trials at first; four more seeds of the deployed defence take 12, with both clean twins; then each further seed of
    # the weak attack takes one trial, because its clean twins are there
    summary = audited(tmp_path, planned(34, deployed))
    assert seeds(summary) == {STRONG: 4, PRUNED: 8, WEAK: 6}


class Killed(Exception):
    """Stands for the end of the process."""


def dies_after(count: int) -> Callable[[Callable[[Any], Record], Iterable[Any]], Iterator[Record]]:
    left = iter(range(count))

    def execute(runner: Callable[[Any], Record], specs: Iterable[Any]) -> Iterator[Record]:
        for spec in specs:
            if next(left, None) is None:
                raise Killed
            yield runner(spec)

    return execute


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """The results of an audit that nobody kills."""
    return audited(tmp_path_factory.mktemp("whole"), planned(48))


@pytest.mark.parametrize("after", [0, 13, 20, 25, 39, 51])
def test_a_killed_audit_goes_on_to_the_same_allocation(tmp_path: Path, whole: Summary, after: int) -> None:
    with Store(tmp_path / "killed", write=True) as store, pytest.raises(Killed):
        for _ in audit(planned(48), store, dies_after(min(after, 47)), run, "antivenom audit"):
            pass
    interrupted = summary_of(Store(tmp_path / "killed"))
    assert interrupted.trials["missing"] > 0
    resumed = audited(tmp_path / "killed", planned(48))
    assert seeds(resumed) == seeds(whole) == {STRONG: 4, PRUNED: 10, WEAK: 12}
    assert [c.keys for c in resumed.cells] == [c.keys for c in whole.cells]
    assert resumed.trials | {"reused": 0, "run": 0} == whole.trials | {"reused": 0, "run": 0}
    assert resumed.trials["reused"] == min(after, 47)
    assert not missing(planned(48), Store(tmp_path / "killed"))


def test_an_interrupted_cell_has_no_reason_to_have_stopped(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store, pytest.raises(Killed):
        for _ in audit(planned(), store, dies_after(23), run, "antivenom audit"):
            pass
    summary = summary_of(Store(tmp_path))
    assert summary.trials["planned"] == 28  # the second round was asked for
    assert summary.trials["missing"] == 5
    found = stops(summary)
    one = named(summary)
    assert found[one[STRONG].group, one[STRONG].attack, "none"] is Stop.DECIDED
    assert {(c.group, c.attack, c.defence) for c in (one[PRUNED], one[WEAK])}.isdisjoint(found)


def test_failed_seeds_are_missing_and_get_no_more(tmp_path: Path) -> None:
    def fails(spec: Any) -> Record:
        if spec["seed"] == 2 and (spec["attack"] or {}).get("poisoned_rate") == 0.1:
            return blank(spec) | {"error": "out of memory", **HERE}
        return run(spec)

    calls: list[Any] = []
    summary = audited(tmp_path, planned(), lambda spec: (calls.append(spec), fails(spec))[1])
    assert seeds(summary) == {STRONG: 4, PRUNED: 12, WEAK: 4}
    assert reasons(summary)[WEAK] is Stop.CLOSED
    assert summary.trials["error"] == 1
    assert len(calls) == len({blank(spec)["key"] for spec in calls})  # the failed trial was tried once in all rounds
    again = audited(tmp_path, planned())  # the cause is gone
    assert seeds(again) == {STRONG: 4, PRUNED: 12, WEAK: 12}
    assert again.trials["run"] == 1 + 8  # the failed trial, and 8 more seeds, whose clean twins are there


def test_fixed_seeds_stay_fixed(tmp_path: Path) -> None:
    summary = audited(tmp_path, planned().with_seeds(6))
    assert seeds(summary) == {STRONG: 6, PRUNED: 6, WEAK: 6}
    assert stops(summary) == {}
    assert summary.plan["more"] is None


def test_views_say_how_many_seeds_and_why_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = audited(tmp_path, planned(40))
    terminal.print_summary(summary, [])
    out = " ".join(capsys.readouterr().out.split())
    assert "40 of 40 trials finished, 4 to 12 seeds" in out
    terminal.print_json(summary, [])
    found = capsys.readouterr().out
    for stop in ("decided", "the most seeds that a cell may have", "the budget of trials is spent"):
        assert f'"stopped": "{stop}"' in found
    page = render(summary)
    assert "12 seeds: the most seeds that a cell may have" in page
    assert "6 seeds: the budget of trials is spent" in page
    assert "raise trials under `seeds` in the scenario file" in page


def test_the_one_line_names_every_planned_level_or_says_that_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = audited(tmp_path, planned().with_seeds(6))
    terminal.print_quiet(summary)
    terminal.print_quiet(dataclasses.replace(summary, levels=()))
    named, without = capsys.readouterr().out.splitlines()
    assert named == "data-injection BREACHED; exit 0"
    assert without == "no attack was planned; exit 0"


def test_the_dry_run_says_how_many_at_first_and_at_most(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned()
    terminal.print_plan(plan, plan.size, plan.size)
    assert "4 to 12 seeds: 0 trials on disk, 20 to run at first, at most 60" in capsys.readouterr().out
    plan = planned(40)
    terminal.print_plan(plan, plan.size, plan.size)
    assert "20 to run at first, at most 40" in capsys.readouterr().out


def test_the_progress_has_a_growing_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path, write=True) as store:
        steps = list(audit(planned(), store, serial, run, "antivenom audit"))
    assert [step.total for step in steps] == [20] * 20 + [28] * 8 + [36] * 8 + [44] * 8 + [52] * 8
    err = io.StringIO()
    monkeypatch.setattr("sys.stderr", err)
    assert len(list(terminal.watch(iter(steps), 20, quiet=False, verbose=True))) == 52
    assert "[20/20]" in err.getvalue()
    assert "[21/28]" in err.getvalue()
    assert len(list(terminal.watch(iter([Step({}, 1)]), 1, quiet=True, verbose=False))) == 1


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{first: 4}", "expected numbers with 1 <= first <= most <= 10000, got first: 4, most: None"),
        ("{first: 4, most: 3}", "expected numbers with 1 <= first <= most <= 10000, got first: 4, most: 3"),
        ("{first: true, most: 3}", "expected numbers with 1 <= first <= most <= 10000, got first: True, most: 3"),
        ("{first: 1, most: 100000}", "expected numbers with 1 <= first <= most <= 10000, got first: 1, most: 100000"),
        ("{first: 4, most: 8, trials: 0}", "expected trials: a number >= 1, got 0"),
        (
            "{first: 4, most: 8, trials: 19}",
            "expected trials >= 20, the first seeds of every cell, got 19: raise trials",
        ),
        (
            "{first: 4, mots: 8}",
            "seeds.mots: expected a known field of `seeds`, got 'mots': did you mean 'most'?",
        ),
        ("1000000000", "expected seeds: a number from 1 to 10000"),
    ],
    ids=[
        "most absent",
        "most below first",
        "a boolean",
        "too many",
        "no trials",
        "budget too small",
        "a slip",
        "a billion",
    ],
)
def test_invalid_seeds(written: str, message: str) -> None:
    with pytest.raises(ScenarioError) as error:
        plan_of(TEXT.replace("{first: 4, most: 12, confirm: 0}", written), "seeds.yaml")
    assert str(error.value).startswith("seeds.yaml line 4, seeds")
    assert message in str(error.value)
